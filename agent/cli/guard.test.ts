import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, test } from "node:test";
import guard from "./guard.cjs";

const fine = {
  version: "v24.21.0",
  engines: ">=24.20.0 <26",
  npm: "11.19.1",
  platform: "linux",
  arch: "x64",
  installed: true,
  packaged: true,
  linked: true,
};

describe("guard", () => {
  test("compares versions by number, not by text", () => {
    const verdicts = [
      "v8.17.0",
      "v20.20.2",
      "v24.9.0",
      "v24.19.9",
      "v24.20.0",
      "v24.100.0",
      "v25.0.0",
      "v26.0.0",
      "v100.0.0",
    ].map((version) => guard.compare(version, fine.engines));
    assert.deepEqual(verdicts, [-1, -1, -1, -1, 0, 0, 0, 1, 1]);
  });

  test("says nothing where the Node fits, wherever it comes from", () => {
    assert.equal(guard.advice(fine), null);
    assert.equal(guard.advice({ ...fine, packaged: false, linked: false }), null);
  });

  test("asks for npm ci where nothing is installed, whatever the Node", () => {
    assert.match(guard.advice({ ...fine, installed: false }) ?? "", /not installed yet.*\n {2}npm ci\n$/);
    const old = guard.advice({ ...fine, installed: false, npm: "10.8.2" }) ?? "";
    assert.match(old, /\n {2}npm install --global npm@11\n {2}npm ci\n$/);
  });

  test("names npm where it left the lockfile's Node unlinked", () => {
    const text = guard.advice({ ...fine, version: "v20.20.2", npm: "10.8.2", linked: false }) ?? "";
    assert.match(text, /needs Node >=24\.20\.0 <26; this is Node 20\.20\.2\./);
    assert.match(text, /npm 10\.8\.2 did not link it\. Run\n {2}npm install --global npm@11\n {2}npm ci\n$/);
  });

  test("says that no Node came along for this machine", () => {
    const text = guard.advice({
      ...fine,
      version: "v22.1.0",
      platform: "darwin",
      arch: "arm64",
      packaged: false,
      linked: false,
    });
    assert.match(text ?? "", /None came with the lockfile for darwin-arm64.*Install Node 24/s);
  });

  test("warns of serial ports on a Node that is too new", () => {
    const text = guard.advice({ ...fine, version: "v26.4.0", packaged: false, linked: false });
    assert.match(text ?? "", /this is Node 26\.4\.0.*serial ports do not work/s);
  });

  test("lets this checkout run, silently", () => {
    const run = spawnSync(process.execPath, [fileURLToPath(new URL("guard.cjs", import.meta.url))], {
      encoding: "utf8",
    });
    assert.deepEqual([run.status, run.stdout, run.stderr], [0, "", ""]);
  });
});
