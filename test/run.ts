/**
 * `npm test` and its siblings: runs the test files of the suites named, and nothing but them.
 *
 *   node test/run.ts [SUITE...] [FILTER...] [--node-option...]
 *
 * SUITE is unit (default), interop or faults. FILTER is a part of a path: `npm test -- modbus`.
 * Options go to `node --test`: `npm test -- buffer --test-name-pattern=torn`.
 *
 * What `node --test` alone lets through, fails here: a suite that finds fewer files than it had, and
 * a process that outlives the run. The closing lines of node's reporter stay the last ones of a good run.
 */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { globSync, readFileSync, readdirSync } from "node:fs";
import { relative, resolve, sep } from "node:path";

interface Suite {
  readonly files: readonly string[];
  /** Files that must at least be found; raise it as the suite grows, so that a broken glob is noticed. */
  readonly files_min: number;
  /** Of one test, and of one file as a whole. */
  readonly timeout_ms: number;
  /** Files that run at the same time. Suites that kill processes and watch the clock run alone. */
  readonly concurrency: number;
}

const ROOT = resolve(import.meta.dirname, "..");
const APART = ["interop", "faults", "bench"];

const SUITES: Record<string, Suite> = {
  unit: {
    files: ["{agent,adapters,buffer,firmware-profiles,deploy}/**/*.test.ts", "test/**/*.test.ts"],
    files_min: 50,
    timeout_ms: 60_000,
    concurrency: 2,
  },
  interop: { files: ["test/interop/**/*.test.ts"], files_min: 1, timeout_ms: 120_000, concurrency: 2 },
  faults: { files: ["test/faults/**/*.test.ts"], files_min: 3, timeout_ms: 900_000, concurrency: 1 },
};

/** Every process of this run carries it in its environment, however often it forks or detaches. */
const MARK = `LINESIDE_TEST_RUN=${randomUUID()}`;

function filesOf(name: string, suite: Suite): string[] {
  const files = suite.files.flatMap((pattern) => globSync(pattern, { cwd: ROOT }));
  const apart = APART.map((folder) => `test${sep}${folder}${sep}`);
  const own = name === "unit" ? files.filter((file) => !apart.some((folder) => file.startsWith(folder))) : files;
  return [...new Set(own)].toSorted();
}

function fail(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

/** Processes of this run that are still there, with their command lines (Linux; elsewhere none is seen). */
function survivors(): { pid: number; command: string }[] {
  if (process.platform !== "linux") return [];
  const found: { pid: number; command: string }[] = [];
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      if (!readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").includes(MARK)) continue;
      const command = readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ").trim();
      // A zombie has no command line: it is dead and only waits to be collected.
      if (command !== "") found.push({ pid, command });
    } catch {
      // It ended while we looked, or belongs to somebody else.
    }
  }
  return found;
}

async function run(files: readonly string[], suite: Suite, options: readonly string[]): Promise<number> {
  const [name = "", value = ""] = MARK.split("=");
  const child = spawn(
    process.execPath,
    [
      "--test",
      "--test-reporter=spec",
      `--test-concurrency=${suite.concurrency}`,
      `--test-timeout=${suite.timeout_ms}`,
      ...options,
      ...files,
    ],
    { cwd: ROOT, stdio: "inherit", env: { ...process.env, [name]: value } },
  );
  const pass = (signal: NodeJS.Signals) => child.kill(signal);
  process.on("SIGINT", pass).on("SIGTERM", pass);
  const code = await new Promise<number>((done) => child.on("close", (status) => done(status ?? 1)));
  process.off("SIGINT", pass).off("SIGTERM", pass);
  return code;
}

const words = process.argv.slice(2);
const options = words.filter((word) => word.startsWith("-"));
const named = words.filter((word) => word in SUITES);
const filters = words.filter((word) => !word.startsWith("-") && !(word in SUITES));

let exitCode = 0;
for (const name of named.length > 0 ? named : ["unit"]) {
  const suite = SUITES[name];
  if (suite === undefined) fail(`no suite named ${name}`);
  const all = filesOf(name, suite);
  if (all.length < suite.files_min) {
    fail(
      `suite ${name}: ${all.length} test files found, at least ${suite.files_min} expected: is the glob in test/run.ts right?`,
    );
  }
  const files = all.filter((file) => filters.length === 0 || filters.some((part) => file.includes(part)));
  if (files.length === 0) fail(`suite ${name}: no test file matches ${filters.join(" or ") || "it"}`);
  exitCode =
    (await run(
      files.map((file) => relative(ROOT, resolve(ROOT, file))),
      suite,
      options,
    )) || exitCode;
  const left = survivors();
  for (const { pid, command } of left) {
    process.stderr.write(`left behind by suite ${name}: process ${pid}: ${command}\n`);
    process.kill(pid, "SIGKILL");
  }
  if (left.length > 0) exitCode = 1;
}
process.exit(exitCode);
