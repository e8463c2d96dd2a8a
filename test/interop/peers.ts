/**
 * Programs that nobody here wrote, as counterparts of our sources and targets: Python scripts of this
 * folder around pymodbus, asyncua and the OTLP classes of opentelemetry-proto.
 *
 *   test ──startPeer──▶ python SCRIPT ──▶ {"ready": {port}} ──▶ test talks the protocol to it
 *     └──commands (stdin, JSON lines)──▶  ──records (stdout, JSON lines)──▶ peer.next(...)
 *
 * Python is found in $LINESIDE_PEERS (a virtual environment) or .cache/venv; requirements.txt says how
 * to make that. Where it is missing, tests are skipped with that advice; in CI they fail.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join, resolve } from "node:path";
import type { TestContext } from "node:test";

const HERE = import.meta.dirname;
const ROOT = resolve(HERE, "..", "..");
const READY_TIMEOUT_MS = 30_000;
const NEXT_TIMEOUT_MS = 10_000;
const STOP_TIMEOUT_MS = 3_000;
/** Records that a test has not asked for; more than that is a peer gone mad. */
const RECORDS_MAX = 100_000;

export type Json = Record<string, unknown>;

export interface Peer {
  readonly pid: number;
  /** What the script said of itself when it was ready: ports, paths. */
  readonly ready: Json;
  /** Gives the script a command; it reads JSON lines. */
  send(command: Json): void;
  /** Sends a command and resolves with what its handler returned. */
  ask(command: Json, timeout_ms?: number): Promise<unknown>;
  /** Takes the first record, past or to come, that `match` accepts; rejects after `timeout_ms`. */
  next(match?: (record: Json) => boolean, timeout_ms?: number): Promise<Json>;
  /** Kills it without a goodbye, as a power cut would, and resolves when it is gone. */
  kill(): Promise<void>;
  /** Ends it and resolves when it is gone; safe to call twice. */
  stop(): Promise<void>;
}

/** Where a virtual environment may be; a git worktree may link node_modules to its main checkout. */
function environments(): string[] {
  const named = process.env.LINESIDE_PEERS;
  if (named !== undefined && named !== "") return [resolve(named)];
  const modules = join(ROOT, "node_modules");
  const owner = existsSync(modules) ? dirname(realpathSync(modules)) : ROOT;
  return [...new Set([join(ROOT, ".cache", "venv"), join(owner, ".cache", "venv")])];
}

let found: { readonly python: string; readonly packages: ReadonlyMap<string, string> } | null | undefined;

/** The Python of the peers and what is installed there; looked for once. */
function environment(): typeof found {
  if (found !== undefined) return found;
  found = null;
  const script =
    "import importlib.metadata as m, json; print(json.dumps([[d.metadata['Name'].lower(), d.version] for d in m.distributions()]))";
  for (const folder of environments()) {
    const python = join(folder, "bin", "python3");
    if (!existsSync(python)) continue;
    const run = spawnSync(python, ["-c", script], { encoding: "utf8", timeout: READY_TIMEOUT_MS });
    if (run.status !== 0) continue;
    found = { python, packages: new Map(JSON.parse(run.stdout) as [string, string][]) };
    break;
  }
  return found;
}

/** The versions that requirements.txt pins. */
function pinned(): Map<string, string> {
  const lines = readFileSync(join(HERE, "requirements.txt"), "utf8").split("\n");
  return new Map(
    lines.flatMap((line) => (/^[a-z]/i.test(line) ? [line.trim().toLowerCase().split("==") as [string, string]] : [])),
  );
}

/**
 * For a test's `skip` option: false where the packages are there in the pinned versions, else what is
 * missing and what to do. Throws instead under CI=true: there, a skipped peer would be a broken promise.
 */
export function missing(...packages: readonly string[]): string | false {
  const wanted = pinned();
  for (const name of packages) assert(wanted.has(name), `${name} is not in test/interop/requirements.txt`);
  const have = environment();
  const lacks = packages.filter((name) => have?.packages.get(name) !== wanted.get(name));
  if (lacks.length === 0) return false;
  const list = lacks.map((name) => `${name} ${wanted.get(name)}`).join(", ");
  const text = `needs the Python packages ${list}: python3 -m venv .cache/venv && .cache/venv/bin/pip install -r test/interop/requirements.txt`;
  if (process.env.CI === "true") throw new Error(text);
  return text;
}

/** A TCP port of loopback that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done, fail) => server.once("error", fail).listen(0, "127.0.0.1", done));
  const address = server.address();
  assert(address !== null && typeof address === "object");
  await new Promise((done) => server.close(done));
  return address.port;
}

/** Starts a script of this folder, waits until it is ready, and ends it with the test `t`. */
export async function startPeer(
  t: Pick<TestContext, "after">,
  script: string,
  args: readonly string[] = [],
): Promise<Peer> {
  const python = environment()?.python;
  assert(python !== undefined, "no Python for peers: guard the test with { skip: missing(...) }");
  const child = spawn(python, ["-u", join(HERE, script), ...args], { stdio: ["pipe", "pipe", "pipe"] });
  const gone = new Promise<void>((done) => child.once("close", () => done()));
  const waiting: { match: (record: Json) => boolean; take: (record: Json) => void }[] = [];
  let records: Json[] = [];
  let errors = "";
  let rest = "";
  let running = true;

  child.stdin.on("error", () => {}); // It may be gone already: `gone` tells.
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors = (errors + text).slice(-4000)));
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (!line.startsWith("{")) continue; // A library that prints for people.
      const record = JSON.parse(line) as Json;
      const index = waiting.findIndex((wait) => wait.match(record));
      if (index >= 0) waiting.splice(index, 1)[0]?.take(record);
      else if (records.length < RECORDS_MAX) records.push(record);
    }
  });
  void gone.then(() => (running = false));

  async function next(match: (record: Json) => boolean = () => true, timeout_ms = NEXT_TIMEOUT_MS): Promise<Json> {
    const past = records.find(match);
    if (past !== undefined) {
      records = records.filter((record) => record !== past);
      return past;
    }
    return new Promise((take, fail) => {
      const wait = { match, take: (record: Json) => (clearTimeout(timer), take(record)) };
      const give = (why: string) => {
        const index = waiting.indexOf(wait);
        if (index < 0) return;
        waiting.splice(index, 1);
        clearTimeout(timer);
        fail(new Error(`${script} ${why}${errors === "" ? "" : `; it wrote:\n${errors}`}`));
      };
      const timer = setTimeout(() => give(`sent no such record within ${timeout_ms} ms`), timeout_ms);
      waiting.push(wait);
      void gone.then(() => give("ended"));
    });
  }

  async function kill(): Promise<void> {
    if (running) child.kill("SIGKILL");
    await gone;
  }

  async function stop(): Promise<void> {
    child.stdin.end();
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await gone;
    clearTimeout(timer);
  }

  t.after(stop);
  child.once("error", (error) => (errors += error.message));
  const { ready } = await next((record) => "ready" in record, READY_TIMEOUT_MS);
  const send = (command: Json) => void child.stdin.write(`${JSON.stringify(command)}\n`);
  return {
    pid: child.pid ?? 0,
    ready: ready as Json,
    send,
    ask: async (command, timeout_ms) => {
      send(command);
      return (await next((record) => "reply" in record, timeout_ms)).reply;
    },
    next,
    kill,
    stop,
  };
}
