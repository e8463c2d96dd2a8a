import assert from "node:assert/strict";
import { test } from "node:test";
import { createLog } from "./log.ts";

test("an error with a code is logged without a stack, one of ours with it", () => {
  const lines: string[] = [];
  const log = createLog({ level: "info", format: "json", destination: { write: (line) => void lines.push(line) } });
  const full = Object.assign(new Error("the disk is full", { cause: new Error("ENOSPC") }), { code: "journal_write" });
  log.error({ err: full }, "not written");
  log.error({ err: new TypeError("x is undefined") }, "a defect");
  const [expected, defect] = lines.map((line) => JSON.parse(line) as { err: { stack?: string } });
  assert.deepEqual(expected?.err, { code: "journal_write", message: "the disk is full", cause: "ENOSPC" });
  assert.match(defect?.err.stack ?? "", /log\.test\.ts/);
});
