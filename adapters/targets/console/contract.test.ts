import { Writable } from "node:stream";
import type { AdapterContext } from "../../contract.ts";
import { recordsOfLines } from "#test/contract/lines.ts";
import { type Stand, targetSuite } from "#test/contract/target.ts";
import { createTarget } from "./target.ts";

targetSuite("console, JSON", { timeout_ms: null, open });

async function open(context: AdapterContext): Promise<Stand> {
  let text = "";
  // As a pipe whose reader is stopped: what is written waits.
  let stopped = false;
  let go_on = (): void => {};
  const output = new Writable({
    decodeStrings: false,
    write(chunk: string, _encoding, done) {
      const take = (): void => {
        text += chunk;
        done();
      };
      if (stopped) go_on = take;
      else take();
    },
  });
  const target = await createTarget({ format: "json" }, context, output);
  return {
    target,
    received: () => Promise.resolve(recordsOfLines(text)),
    refuse: null,
    postpone: null,
    tooLarge: null,
    silence: () => (stopped = true),
    heal: () => {
      stopped = false;
      go_on();
    },
    lose: null,
    regain: null,
    stop: () => Promise.resolve(),
  };
}
