/**
 * A process that commits without end and prints each number once it is acknowledged; it is there to be killed.
 *   node committer.ts DIR FIRST_ID [PAYLOAD_BYTES [PAUSE_MS]]
 */
import { writeSync } from "node:fs";
import { argv } from "node:process";
import { setTimeout } from "node:timers/promises";
import { numbered, openAt } from "./journals.ts";

const [, , dir = "", first = "1", bytes = "2000", pause_ms = "0"] = argv;
const { journal } = await openAt(dir, { segment_bytes: 64 * 1024 });
await journal.cursor("check", { from: "start" });
const description = journal.describe(Buffer.from("a description"));
for (let id = Number(first); ; id += 3) {
  const entries = [id, id + 1, id + 2].map((one) => numbered(one, Number(bytes), [description]));
  await journal.commit({ entries });
  // Written at once, whatever becomes of us.
  writeSync(1, `${id + 2}\n`);
  if (pause_ms !== "0") await setTimeout(Number(pause_ms));
}
