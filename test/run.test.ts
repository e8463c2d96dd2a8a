import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";

/** A repository of its own with the runner and these test files. */
function repository(t: { after(run: () => void): void }, files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), "lineside-run-"));
  t.after(() => rmSync(root, { recursive: true }));
  for (const [path, text] of Object.entries({ "package.json": `{ "type": "module" }`, ...files })) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  mkdirSync(join(root, "test"), { recursive: true });
  copyFileSync(join(import.meta.dirname, "run.ts"), join(root, "test/run.ts"));
  return root;
}

function run(root: string, ...words: string[]): { code: number | null; out: string; err: string } {
  // Without what node's test runner sets for this very file: the inner run would report to it.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const args = [join(root, "test/run.ts"), ...words];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", env });
  return { code: status, out: stdout, err: stderr };
}

const PASSING = `import { test } from "node:test"; test("fine", () => {});`;
const FAILING = `import { test } from "node:test"; test("broken", () => { throw new Error("broken"); });`;
const many = (count: number): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`agent/${i}.test.ts`, PASSING]));
/** At least as many files as the unit suite asks for. */
const ENOUGH = 60;

/** A killed process may stay as a zombie, which has no command line, until somebody collects it. */
async function ended(pid: number): Promise<boolean> {
  for (let i = 0; i < 100; i++) {
    if (!existsSync(`/proc/${pid}`) || readFileSync(`/proc/${pid}/cmdline`, "latin1") === "") return true;
    await new Promise((done) => setTimeout(done, 20));
  }
  return false;
}

describe("test runner", () => {
  test("ends with node's closing lines; exit 0 where all pass, 1 where one fails", (t) => {
    const root = repository(t, { ...many(ENOUGH), "buffer/broken.test.ts": FAILING });
    const good = run(root, "agent/1");
    assert.equal(good.code, 0, good.err);
    assert.match(good.out, /ℹ tests \d+\n(ℹ .*\n)*ℹ fail 0\n(ℹ .*\n)*ℹ duration_ms [\d.]+\n$/);
    const failing = run(root, "buffer");
    assert.equal(failing.code, 1);
    assert.match(failing.out, /ℹ tests 1\n/);
  });

  test("leaves out the suites that stand apart, and runs them where they are named", (t) => {
    const root = repository(t, { ...many(ENOUGH), "test/interop/peer.test.ts": PASSING, "test/own.test.ts": PASSING });
    assert.match(run(root, "test/").out, /ℹ tests 1\n/);
    assert.match(run(root, "interop").out, /ℹ tests 1\n/);
  });

  test("fails where the glob finds too little, or a filter nothing", (t) => {
    const few = run(repository(t, many(1)));
    assert.equal(few.code, 1);
    assert.match(few.err, /suite unit: 1 test files found, at least \d+ expected/);
    const none = run(repository(t, many(ENOUGH)), "no-such-file");
    assert.equal(none.code, 1);
    assert.match(none.err, /no test file matches no-such-file/);
  });

  test("fails where a process outlives the run, and ends it", { skip: process.platform !== "linux" }, async (t) => {
    const leak = `
      import { spawn } from "node:child_process";
      import { writeFileSync } from "node:fs";
      import { test } from "node:test";
      test("leaks", () => {
        const child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 60_000)"], { detached: true, stdio: "ignore" });
        child.unref();
        writeFileSync("leaked", String(child.pid));
      });`;
    const root = repository(t, { ...many(ENOUGH), "agent/leak.test.ts": leak });
    const { code, err } = run(root, "leak");
    const pid = Number(readFileSync(join(root, "leaked"), "utf8"));
    assert.equal(code, 1);
    assert.match(err, new RegExp(`left behind by suite unit: process ${pid}: .*setTimeout`));
    assert.ok(await ended(pid), "it still runs");
  });
});
