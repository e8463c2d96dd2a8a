/**
 * A few seconds in which everything goes wrong at once, by a seed: faults of two devices, of the receiver
 * and of the network between, and reloads in the middle of them. What must hold is exact: the books
 * balance at every moment, nothing is missing at the end, nothing is out of order, nothing stays open.
 *
 *   LINESIDE_SOAK_SEED=7 LINESIDE_SOAK_MS=60000 npm test -- soak
 */
import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Agent } from "#agent/agent.ts";
import { systemClock as clock } from "#agent/clock.ts";
import type { Site } from "#agent/site/contract.ts";
import { loadSite } from "#agent/site/load.ts";
import { pino } from "pino";
import type { Fault } from "./hardware-sim/contract.ts";
import { startPlant } from "./hardware-sim/plant.ts";
import { type Behaviour, startReceiver } from "./receiver/receiver.ts";

const SEED = Number(process.env["LINESIDE_SOAK_SEED"] ?? Date.now() % 1_000_000);
const SOAK_MS = Number(process.env["LINESIDE_SOAK_MS"] ?? 4_000);

/** mulberry32: small, and good enough to choose faults. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const device = (id: string, port: number, unit = "V"): string => `  - id: ${id}
    modbus: { host: 127.0.0.1, port: ${port}, unit: 1, timeout: 100ms }
    every: 40ms
    points:
      - { name: voltage, address: 0, type: f32, unit: ${unit} }
      - { name: energy, address: 10, type: u32, unit: kW.h, kind: counter, every: 80ms }
`;

const DEVICE_FAULTS: readonly Fault[] = [
  { kind: "exception", code: 2, from: 10, to: 11 },
  { kind: "exception", code: 4, from: 0, to: 20 },
  { kind: "silence" },
  { kind: "delay", ms: 60 },
  { kind: "delay", ms: 150 },
  { kind: "duplicate" },
  { kind: "wrong_unit" },
  { kind: "garbage" },
  { kind: "connection_limit", connections: 0 },
];
const RECEIVER_FAULTS: readonly Behaviour[] = [
  { kind: "unavailable" },
  { kind: "throttled", retry_after: 0 },
  { kind: "too_large" },
  { kind: "unauthenticated" },
  { kind: "slow", delay_ms: 80 },
  { kind: "disconnect" },
];

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (await holds()) return;
    await clock.sleep(25);
  }
  assert.fail(`never happened: ${what}`);
}

/** What is open in this process: sockets, timers, files. */
async function open(): Promise<string> {
  const counts = new Map<string, number>();
  for (const name of process.getActiveResourcesInfo()) counts.set(name, (counts.get(name) ?? 0) + 1);
  // Not ours: work that the pool of the runtime has under way.
  for (const name of ["FSReqPromise", "CloseReq", "Immediate", "TickObject"]) counts.delete(name);
  const files = process.platform === "linux" ? (await readdir("/proc/self/fd")).length : 0;
  return JSON.stringify([...counts].toSorted(([a], [b]) => a.localeCompare(b)).concat([["files", files]]));
}

test(`faults of everything, with reloads between, seed ${SEED}`, { timeout: SOAK_MS + 50_000 }, async (t) => {
  const random = randomOf(SEED);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const folder = await mkdtemp(join(tmpdir(), "lineside-soak-"));
  t.after(async () => await rm(folder, { recursive: true, force: true }));
  const siteFrom = async (text: string): Promise<Site> => {
    const path = join(folder, "site.yaml");
    await writeFile(path, text);
    const { site, faults } = await loadSite(path, { env: () => undefined, readFile });
    assert.ok(site, JSON.stringify(faults));
    return site;
  };
  const head = "gateway: { id: gw }\ndevices:\n";
  const ids = ["one", "two"] as const;
  const plant = await startPlant(await siteFrom(head + device("one", 501) + device("two", 502)), { own_ports: false });
  t.after(async () => await plant.stop());
  const receiver = await startReceiver({ http_port: null });
  t.after(async () => await receiver.stop());
  const simulated = ids.map((id) => plant.device(id)).filter((one) => one !== undefined);
  const [one = 0, two = 0] = simulated.map(({ options }) => Number(options["port"]));
  const tail = (timeout: string): string =>
    `targets:\n  - otlp: { endpoint: "${receiver.grpc_endpoint}", timeout: ${timeout} }\n` +
    "agent: { http: false, commit_interval: 50ms, metrics_interval: false }\n";
  const sites = [
    await siteFrom(head + device("one", one) + device("two", two) + tail("1s")),
    await siteFrom(head + device("one", one, "mV") + device("two", two) + tail("1s")),
    await siteFrom(head + device("one", one) + tail("1s")),
    await siteFrom(head + device("one", one) + device("two", two) + tail("900ms")),
  ];
  const [whole] = sites;
  assert.ok(whole);

  const idle = await open();
  const faults: string[] = [];
  const log = pino({ level: "error" }, { write: (line: string) => void faults.push(line) });
  const agent = await Agent.start({ site: whole, data_dir: join(folder, "data"), clock, log });
  const target = () => {
    const { targets, sources } = agent.status();
    const [status] = targets;
    assert.ok(status);
    return { ...status, readings: sources["modbus"] ?? 0 };
  };
  const balance = (): void => {
    const { read, delivered, queued, dropped, imbalance, readings } = target();
    assert.equal(imbalance, 0);
    assert.equal(read, delivered + queued + dropped);
    assert.equal(read, readings, "every reading that was taken is on the books");
  };

  const off = new Map<string, () => void>();
  const reloads: Promise<unknown>[] = [];
  const cutOff = new Set<string>();
  let done = 0;
  const actions: readonly (() => Promise<void> | void)[] = [
    () => {
      const at = pick(simulated);
      off.get(at.device)?.();
      off.set(at.device, at.inject(pick(DEVICE_FAULTS)));
    },
    () => off.get(pick(simulated).device)?.(),
    async () => {
      const at = pick(simulated);
      if (cutOff.has(at.device)) await at.restore();
      else await at.cut();
      if (!cutOff.delete(at.device)) cutOff.add(at.device);
    },
    () => receiver.behave(pick(RECEIVER_FAULTS), { times: 1 + Math.floor(random() * 4) }),
    () => receiver.behave({ kind: "refused" }, { times: 1, only: "metrics" }),
    async () => await receiver.setOutage(!receiver.isOut()),
    async () => await receiver.setOutage(false),
    () => receiver.behave(null),
    () => void reloads.push(agent.apply(pick(sites))),
  ];
  for (const end_ms = clock.monotonic_ms() + SOAK_MS; clock.monotonic_ms() < end_ms; done++) {
    await pick(actions)();
    balance();
    await clock.sleep(random() * 60);
  }

  // Everything is well again: all of it arrives.
  for (const end of off.values()) end();
  for (const at of simulated) if (cutOff.has(at.device)) await at.restore();
  receiver.behave(null);
  await receiver.setOutage(false);
  await Promise.all(reloads);
  await agent.apply(whole);
  await until("both are up", () => agent.status().devices.every(({ state }) => state === "up"));
  await until("the backlog is gone", () => target().queued < 50 && target().state !== "retrying");
  await agent.stop();

  balance();
  const { delivered, queued, dropped } = target();
  assert.equal(queued, 0);
  const { points, duplicates, order_violations } = receiver.totals();
  const arrived = points - duplicates;
  // What was taken, whose answer was lost, and what was then refused when it came again counts as dropped.
  assert.ok(arrived >= delivered && arrived <= delivered + dropped, `${arrived} arrived of ${delivered} delivered`);
  const told = receiver
    .logs()
    .filter(({ attributes }) => attributes["gap.reason"] === "refused")
    .reduce((sum, { attributes }) => sum + Number(attributes["gap.readings"]), 0);
  assert.ok(told >= dropped, `${dropped} dropped, gaps tell of ${told}`);
  assert.equal(order_violations, 0);
  const unexpected = faults.filter((line) => !/refused \d+ readings/.test(line));
  assert.deepEqual(unexpected, []);
  t.diagnostic(
    `${done} actions, ${reloads.length} reloads, ${delivered} delivered, ${dropped} dropped, ${duplicates} twice`,
  );
  let now = "";
  await until(`everything that the agent opened is closed: ${idle}`, async () => (now = await open()) === idle).catch(
    () => assert.equal(now, idle),
  );
});
