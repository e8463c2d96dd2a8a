/** The first thing that anybody does with Lineside, exactly as the README says it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { resolve } from "node:path";
import { test } from "node:test";

interface Summary {
  readonly read: number;
  readonly delivered: number;
  readonly queued: number;
  readonly dropped: number;
  readonly sources: Readonly<Record<"modbus" | "opcua" | "serial", number>>;
}

test("npm start -- --for 15s --json", async () => {
  const started_ms = performance.now();
  const child = spawn("npm", ["start", "--", "--for", "15s", "--json"], {
    cwd: resolve(import.meta.dirname, "../.."),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  let errors = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  const code = await new Promise((done) => child.once("close", done));
  assert.equal(code, 0, errors);

  const summary = JSON.parse(output.trimEnd().split("\n").at(-1) ?? "") as Summary;
  for (const source of ["modbus", "opcua", "serial"] as const) {
    assert.ok(summary.sources[source] > 0, `${source} read nothing: ${JSON.stringify(summary)}`);
  }
  assert.equal(summary.read, summary.delivered + summary.queued + summary.dropped, JSON.stringify(summary));
  assert.equal(summary.dropped, 0);
  assert.ok(summary.delivered > 0);
  assert.ok(performance.now() - started_ms >= 15_000, "it ran for less than it was asked to");
});
