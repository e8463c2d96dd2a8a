import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, test } from "node:test";

const UNIT = join(import.meta.dirname, "lineside.service");
const ROOT = resolve(import.meta.dirname, "..", "..");
const absent = spawnSync("systemd-analyze", ["--version"]).status !== 0 && "systemd-analyze is not installed";

/** The unit as a file of its own, with paths of this checkout, since verify wants to see the program. */
function unitHere(t: { after(run: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), "lineside-unit-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "lineside.service");
  writeFileSync(file, readFileSync(UNIT, "utf8").replaceAll("/opt/lineside", ROOT));
  return file;
}

describe("systemd unit", () => {
  test("has no fault that systemd-analyze finds", { skip: absent }, (t) => {
    const run = spawnSync("systemd-analyze", ["verify", "--man=no", unitHere(t)], { encoding: "utf8" });
    const ours = run.stderr.split("\n").filter((line) => line.includes("lineside"));
    assert.deepEqual(ours, []);
  });

  test("exposes little", { skip: absent }, (t) => {
    const run = spawnSync("systemd-analyze", ["security", "--offline=true", "--no-pager", unitHere(t)], {
      encoding: "utf8",
    });
    const exposure = Number(/exposure level for \S+: ([\d.]+)/.exec(run.stdout)?.[1]);
    assert.ok(exposure <= 3, `exposure level ${exposure}: ${run.stdout.slice(-500)}`);
  });

  test("starts the command that this repository has", () => {
    const start = /^ExecStart=(.*)$/m.exec(readFileSync(UNIT, "utf8"))?.[1]?.split(" ") ?? [];
    const { bin } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { bin: { lineside: string } };
    assert.deepEqual(start.slice(0, 4), [
      "/opt/lineside/node_modules/.bin/node",
      // As guard.cjs has it.
      "--max-semi-space-size=4",
      resolve("/opt/lineside", bin.lineside),
      "run",
    ]);
  });
});
