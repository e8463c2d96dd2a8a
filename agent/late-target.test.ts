import { type Batch, LinesideError, type Outcome, type Target } from "#adapters/contract.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { LateTarget } from "./late-target.ts";

test("a target is made when it is needed, as soon as it can be, and once", async () => {
  const batch: Batch = { frames: [], events: [], readings: 0 };
  const { signal } = new AbortController();
  const calls: string[] = [];
  const made: Target = {
    deliver: async (): Promise<Outcome> => ({ kind: "delivered", rejected: 0 }),
    close: async () => void calls.push("close"),
  };
  let missing = true;
  const target = new LateTarget(async () => {
    calls.push("make");
    if (missing) throw new LinesideError("config", "otlp: tls.ca: there is no such file");
    return made;
  });
  await assert.rejects(target.open(), { code: "config" });
  const outcome = await target.deliver(batch, signal);
  assert.deepEqual(outcome, { kind: "retry", reason: "otlp: tls.ca: there is no such file", wait_ms: 10_000 });
  await target.close();
  missing = false;
  assert.equal((await target.deliver(batch, signal)).kind, "delivered");
  assert.equal((await target.deliver(batch, signal)).kind, "delivered");
  await target.close();
  assert.deepEqual(calls, ["make", "make", "make", "close"]);
});
