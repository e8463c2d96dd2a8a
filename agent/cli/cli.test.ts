import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const LINESIDE = fileURLToPath(new URL("lineside.js", import.meta.url));

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

let folder = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "lineside-cli-"));
});
after(async () => await rm(folder, { recursive: true, force: true }));

interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Resolves when what it has printed so far, on either stream, matches. */
  said(pattern: RegExp): Promise<void>;
}

const running: ChildProcess[] = [];
after(() => {
  for (const child of running) child.kill("SIGKILL");
});

function start(args: readonly string[]): Started {
  const child = spawn(process.execPath, [LINESIDE, ...args], { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  running.push(child);
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  const ended = once(child, "close").then(([code]) => ({ code: code as number | null, out, err }));
  const said = async (pattern: RegExp): Promise<void> => {
    for (let tries = 0; tries < 400; tries++) {
      if (pattern.test(out) || pattern.test(err)) return;
      await setTimeout(25);
    }
    assert.fail(`never said ${String(pattern)}:\n${out}\n${err}`);
  };
  return { child, ended, said };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const lineside = async (...args: string[]): Promise<Ended> => await start(args).ended;

const file = async (name: string, text: string): Promise<string> => {
  await writeFile(join(folder, name), text);
  return name;
};

const SITE = `gateway: { id: gw }
devices:
  - id: meter
    modbus: { host: 127.0.0.1, port: 9, unit: 1 }
    points:
      - { name: voltage, address: 0, type: f32, unit: V }
      - { name: state, address: 4, kind: state, states: { 0: stopped, 1: running } }
targets:
  - file: { path: out.jsonl }
agent: { http: false, metrics_interval: false, commit_interval: 100ms }
`;

describe("the command line", () => {
  test("help tells every command; a mistake is exit 2 with a suggestion", async () => {
    const help = await lineside("--help");
    assert.equal(help.code, 0);
    for (const command of ["run", "check", "read", "sim", "buffer", "schema"])
      assert.match(help.out, new RegExp(`^  ${command} `, "m"));
    const typo = await lineside("chek");
    assert.equal(typo.code, 2);
    assert.match(typo.err, /Did you mean check\?/);
    assert.equal((await lineside("check")).code, 2);
    assert.equal((await lineside("read", "--nonsense", "x.yaml")).code, 2);
  });

  test("check: 0 and a summary, or 1 and every fault at its place", async () => {
    const good = await lineside("check", await file("good.yaml", SITE));
    assert.deepEqual([good.code, good.out], [0, "good.yaml: valid (1 device, 2 points, 1 target)\n"]);
    const bad = await lineside(
      "check",
      await file("bad.yaml", SITE.replace("unit: V }", "unit: Vlot }").replace("id: gw", "idd: gw")),
    );
    assert.equal(bad.code, 1);
    assert.match(bad.out, /^bad\.yaml:1:12: .*'id'/m);
    assert.match(bad.out, /^bad\.yaml:6:55: /m);
    const json = JSON.parse((await lineside("check", "--json", "bad.yaml")).out) as {
      valid: boolean;
      faults: unknown[];
    };
    assert.equal(json.valid, false);
    assert.ok(json.faults.length >= 2);
    const none = await lineside("check", "none.yaml");
    assert.deepEqual([none.code, none.out], [1, "none.yaml:1:1: there is no such file\n"]);
    assert.equal(none.err, "", "no stack trace");
  });

  test("read: a device that is not there is exit 3 with its reason", async () => {
    const read = await lineside("read", await file("dead.yaml", SITE));
    assert.equal(read.code, 3);
    assert.match(read.out, /connect_refused/);
    // A program that takes the JSON must not find good readings without a value.
    const json = await lineside("read", "dead.yaml", "--json");
    assert.equal(json.code, 3);
    const [{ readings }] = JSON.parse(json.out) as [{ readings: { value: null; quality: string; reason: string }[] }];
    assert.deepEqual(
      readings.map(({ value, quality, reason }) => [value, quality, reason]),
      [
        [null, "bad", "connect_refused"],
        [null, "bad", "connect_refused"],
      ],
    );
    assert.equal((await lineside("read", "dead.yaml", "--device", "nobody")).code, 2);
  });

  test("sim serves a site, read reads it, run journals it, buffer looks into it", async () => {
    await file("plant.yaml", SITE.replace("port: 9", `port: ${await freePort()}`));
    const sim = start(["sim", "plant.yaml", "--write", "sim.yaml", "--json"]);
    await sim.said(/^\[/m);
    const read = await lineside("read", "sim.yaml", "--json");
    assert.equal(read.code, 0, read.err);
    const [meter] = JSON.parse(read.out) as { readings: { point: string; quality: string; label: string }[] }[];
    assert.deepEqual(
      meter?.readings.map(({ point, quality }) => [point, quality]),
      [
        ["voltage", "good"],
        ["state", "good"],
      ],
    );
    assert.match(meter?.readings[1]?.label ?? "", /^(stopped|running)$/);
    const table = await lineside("read", "sim.yaml");
    assert.match(table.out, /voltage +[\d.]+ +V +good/);

    // Another one in its place: no stack trace.
    const busy = await lineside("sim", "plant.yaml");
    assert.equal(busy.code, 3);
    assert.match(busy.err, /^cannot serve at 127\.0\.0\.1:\d+: another program listens there\n$/);

    const run = start(["run", "sim.yaml", "--data", "data"]);
    await run.said(/gw runs/);
    const second = await lineside("run", "sim.yaml", "--data", "data");
    assert.equal(second.code, 1);
    assert.match(second.err, /journal_locked/);
    assert.doesNotMatch(second.err, /    at /, "no stack trace");
    // An invalid file is refused and the old one goes on; a valid one is taken.
    const valid = await readFile(join(folder, "sim.yaml"), "utf8");
    await file("sim.yaml", valid.replace("kind: state", "kind: stat"));
    await run.said(/the old one goes on/);
    await file("sim.yaml", valid.replace("unit: V", "unit: mV"));
    await run.said(/was taken/);
    const live = await lineside("buffer", "status", "data", "--json");
    assert.equal(live.code, 0, live.err);
    run.child.kill("SIGTERM");
    const { code } = await run.ended;
    assert.equal(code, 0);
    const { cursors } = JSON.parse((await lineside("buffer", "status", "data", "--json")).out) as {
      cursors: { name: string; committed: number; delivered: number; queued: number; imbalance: number }[];
    };
    assert.equal(cursors[0]?.name, "file");
    assert.equal(cursors[0]?.imbalance, 0);
    assert.equal(cursors[0]?.queued, 0, "delivered before the end");
    assert.match((await lineside("buffer", "verify", "data")).out, /all sound/);
    const exported = (await lineside("buffer", "export", "data")).out.trim().split("\n");
    const points = exported.filter((text) => (JSON.parse(text) as { point?: string }).point !== undefined);
    assert.equal(
      points.length,
      cursors[0]?.committed,
      "every reading that was ever written is still in this short journal",
    );
    assert.equal((await lineside("buffer", "status", "nowhere")).code, 1);
    const lines = (await readFile(join(folder, "out.jsonl"), "utf8"))
      .trim()
      .split("\n")
      .map((text) => JSON.parse(text) as Record<string, unknown>);
    assert.ok(lines.some(({ point, unit }) => point === "voltage" && unit === "mV"));
    sim.child.kill("SIGTERM");
    assert.equal((await sim.ended).code, 0);
  });

  test("schema prints JSON Schema", async () => {
    const site = JSON.parse((await lineside("schema")).out) as { properties: object };
    assert.deepEqual(Object.keys(site.properties).sort(), ["agent", "devices", "gateway", "targets"]);
    assert.equal((await lineside("schema", "--profile")).code, 0);
  });
});
