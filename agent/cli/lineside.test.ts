import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, test } from "node:test";

const LINESIDE = fileURLToPath(new URL("lineside.js", import.meta.url));
const shell = (script: string) =>
  spawnSync("sh", ["-c", script, "sh", process.execPath, LINESIDE], { encoding: "utf8" });

describe("lineside, the command", () => {
  test("a reader that has seen enough ends it quietly", () => {
    const { stdout, stderr } = shell('"$1" "$2" schema | head -c 2');
    assert.deepEqual([stdout.slice(0, 1), stderr], ["{", ""]);
  });

  test("its exit code is the command's", () => {
    assert.deepEqual([shell('"$1" "$2" --version').status, shell('"$1" "$2" no-such-command').status], [0, 2]);
  });
});
