import { systemClock as clock } from "./clock.ts";
import { startPlant } from "#test/hardware-sim/plant.ts";
import { type Receiver, startReceiver } from "#test/receiver/receiver.ts";
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { type Logger, pino } from "pino";
import { openJournal } from "#buffer/journal.ts";
import { Agent } from "./agent.ts";
import type { Site } from "./site/contract.ts";
import { loadSite } from "./site/load.ts";
import type { AgentStatus } from "./status.ts";

/** Two meters, each with a simulated device on a free port. */
const PLANT = `
gateway: { id: gw, site: Lyon }
devices:
  - &meter
    id: one
    modbus: { host: 10.0.0.1, port: 502, unit: 1, timeout: 300ms }
    every: 50ms
    points:
      - { name: voltage, address: 0, type: f32, unit: V }
      - { name: energy, address: 10, type: u32, unit: kW.h, kind: counter }
  - { <<: *meter, id: two, modbus: { host: 10.0.0.2, port: 502, unit: 1, timeout: 300ms } }
`;

let folder = "";
let receiver: Receiver;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "lineside-agent-"));
  receiver = await startReceiver({ http_port: null });
});
after(async () => {
  await receiver.stop();
  await rm(folder, { recursive: true, force: true });
});

/** What a test started and may not have ended: a failed one must not keep the others waiting. */
const running: { stop(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const one of running.splice(0).toReversed()) await one.stop();
  await receiver.setOutage(false);
});

async function startAgent(site: Site, to: Logger = log): Promise<Agent> {
  const agent = await Agent.start({ site, data_dir: data(), clock, log: to });
  running.push(agent);
  return agent;
}

const context = { env: () => undefined, readFile: async (path: string) => await readFile(path) };

async function siteFrom(text: string): Promise<Site> {
  const path = join(folder, "site.yaml");
  await writeFile(path, text);
  const { site, faults } = await loadSite(path, context);
  assert.ok(site, JSON.stringify(faults));
  return site;
}

/** The plant, and the text of a site file that reads it and forwards to the receiver. */
async function plant() {
  const simulated = await startPlant(await siteFrom(expanded(PLANT)), { own_ports: false });
  running.push(simulated);
  const port = (id: string): number => Number(simulated.device(id)?.options["port"]);
  const text = expanded(PLANT)
    .replace("10.0.0.1, port: 502", `127.0.0.1, port: ${port("one")}`)
    .replace("10.0.0.2, port: 502", `127.0.0.1, port: ${port("two")}`);
  const targets = `targets:\n  - otlp: { endpoint: "${receiver.grpc_endpoint}" }\nagent: { http: false, commit_interval: 100ms, metrics_interval: false }\n`;
  return { simulated, text: text + targets };
}

/** Merge keys are not part of YAML 1.2: the second device is written out. */
function expanded(text: string): string {
  const points = text.slice(text.indexOf("    every:"), text.indexOf("  - { <<"));
  return text
    .replace("  - &meter\n    id", "  - id")
    .replace(/ {2}- \{ <<: \*meter, id: two, (.*) \}\n/, `  - id: two\n    $1\n${points}`);
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (holds()) return;
    await clock.sleep(25);
  }
  assert.fail(`never happened: ${what}`);
}

function balanced(status: AgentStatus): void {
  for (const { read, delivered, queued, dropped, imbalance } of status.targets) {
    assert.equal(imbalance, 0);
    assert.equal(read, delivered + queued + dropped);
  }
}

const log = pino({ level: "silent" });
let runs = 0;
const data = (): string => join(folder, `data${runs}`);

describe("the agent", () => {
  test("reads, keeps and forwards; a receiver's outage costs nothing; a restart is a gap with two ends", async () => {
    runs++;
    receiver.clear();
    const { text } = await plant();
    const site = await siteFrom(text);
    const first = await startAgent(site);
    await until("the first delivery", () => receiver.totals().points > 20);
    await receiver.setOutage(true);
    await until("a backlog", () => (first.status().targets[0]?.queued ?? 0) > 40);
    balanced(first.status());
    await receiver.setOutage(false);
    await until("the backlog is gone", () => (first.status().targets[0]?.queued ?? 1) < 20);
    await first.stop();
    const ended = first.status();
    balanced(ended);
    assert.equal(ended.targets[0]?.queued, 0, "a graceful stop delivers what is left");
    assert.equal(ended.targets[0]?.dropped, 0);
    assert.equal(receiver.totals().points, ended.sources["modbus"]);
    assert.equal(receiver.totals().order_violations, 0);

    const second = await startAgent(site);
    await until("values again", () => (second.status().devices[0]?.readings ?? 0) > 4);
    await second.stop();
    const target = second.status().targets[0];
    assert.equal(
      target?.read,
      (ended.targets[0]?.read ?? 0) + (second.status().sources["modbus"] ?? 0),
      "counts go on",
    );
    const gaps = receiver.logs().filter(({ name }) => name === "lineside.gap");
    const stopped = gaps.filter(({ attributes }) => attributes["gap.reason"] === "agent_stopped");
    assert.deepEqual(new Set(stopped.map(({ attributes }) => attributes["gap.device"])), new Set(["one", "two"]));
  });

  test("a dead device and a dead target spoil only themselves", async () => {
    runs++;
    receiver.clear();
    const { simulated, text } = await plant();
    const dead = text.replace("targets:\n", 'targets:\n  - { id: nobody, otlp: { endpoint: "http://127.0.0.1:9" } }\n');
    const agent = await startAgent(await siteFrom(dead));
    await until("both up", () => agent.status().devices.every(({ state }) => state === "up"));
    await simulated.device("one")?.cut();
    await until("one is down", () => agent.status().devices[0]?.state === "down");
    const earlier = agent.status().devices[1];
    await until(
      "its neighbour goes on",
      () => (agent.status().devices[1]?.readings ?? 0) > (earlier?.readings ?? 0) + 20,
    );
    assert.equal(agent.status().devices[1]?.bad, 0);
    await simulated.device("one")?.restore();
    await until("one is back", () => agent.status().devices[0]?.state === "up");
    await agent.stop();
    const { targets } = agent.status();
    balanced(agent.status());
    assert.equal(targets.find(({ name }) => name === "nobody")?.delivered, 0);
    assert.equal(targets.find(({ name }) => name === "otlp")?.queued, 0);
    const gap = receiver.logs().find(({ attributes }) => attributes["gap.device"] === "one");
    assert.ok(gap, "its outage is told");
  });

  test("a reload touches only what changed, and keeps the journal", async () => {
    runs++;
    receiver.clear();
    const { simulated, text } = await plant();
    const agent = await startAgent(await siteFrom(text));
    await until("both up", () => agent.status().devices.every(({ readings }) => readings > 4));
    const requests = (): number => simulated.device("two")?.stats().connections ?? 0;
    const connections = requests();
    const changed = text.replace("unit: V", "unit: mV");
    const summary = await agent.apply(await siteFrom(changed));
    assert.deepEqual(summary, { started: [], stopped: [], replaced: ["one"] });
    assert.equal(agent.status().devices.find(({ id }) => id === "two")?.connects, 1);
    assert.equal(requests(), connections);
    const third = text.replace(/ {2}- id: two[\s\S]*(?=targets:)/, "").replace("- otlp", "- id: main\n    otlp");
    const gone = await agent.apply(await siteFrom(third));
    assert.deepEqual(gone, { started: ["main"], stopped: ["two", "otlp"], replaced: ["one"] });
    await until("values after the reload", () => (agent.status().devices[0]?.readings ?? 0) > 4);
    await agent.stop();
    balanced(agent.status());
  });

  test("a target that is replaced while its receiver is down goes on where the old one ended: once, in order", async () => {
    runs++;
    receiver.clear();
    const { text } = await plant();
    const faults: string[] = [];
    const listening = pino({ level: "error" }, { write: (line: string) => void faults.push(line) });
    const agent = await startAgent(await siteFrom(text), listening);
    await until("the first delivery", () => receiver.totals().points > 20);
    await receiver.setOutage(true);
    await until("a delivery under way", () => agent.status().targets[0]?.state === "retrying");
    await until("a backlog", () => (agent.status().targets[0]?.queued ?? 0) > 40);
    const changed = text.replace(/endpoint: "[^"]*"/, "$&, timeout: 4s");
    assert.deepEqual((await agent.apply(await siteFrom(changed))).replaced, ["otlp"]);
    await receiver.setOutage(false);
    await until("the backlog is gone", () => (agent.status().targets[0]?.queued ?? 100) < 20);
    await agent.stop();
    balanced(agent.status());
    assert.equal(receiver.totals().order_violations, 0);
    assert.equal(receiver.totals().points, agent.status().sources["modbus"], "nothing twice, nothing missing");
    assert.deepEqual(faults, []);
  });

  test("a target that cannot be made spoils only itself, keeps its data, and takes it once it is mended", async () => {
    runs++;
    receiver.clear();
    const { text } = await plant();
    const endpoint = receiver.grpc_endpoint.replace("http:", "https:");
    const broken = text.replace(
      "targets:\n",
      `targets:\n  - { id: secure, otlp: { endpoint: "${endpoint}", tls: { ca: "/nowhere/ca.pem" } } }\n`,
    );
    const agent = await startAgent(await siteFrom(broken));
    const target = (name: string) => agent.status().targets.find((one) => one.name === name);
    await until("its neighbour delivers", () => (target("otlp")?.delivered ?? 0) > 20);
    await until("it says why", () => target("secure")?.state === "retrying");
    assert.match(target("secure")?.reason ?? "", /ca\.pem/);
    assert.equal(target("secure")?.delivered, 0);
    const mended = text.replace(
      "targets:\n",
      `targets:\n  - { id: secure, otlp: { endpoint: "${receiver.grpc_endpoint}" } }\n`,
    );
    assert.deepEqual((await agent.apply(await siteFrom(mended))).replaced, ["secure"]);
    await until("it catches up", () => (target("secure")?.delivered ?? 0) > 20);
    assert.deepEqual(
      (await agent.apply(await siteFrom(broken))).replaced,
      ["secure"],
      "and a reload into the fault is no end",
    );
    await until("its neighbour goes on", () => (target("otlp")?.queued ?? 100) < 20);
    await agent.stop();
    balanced(agent.status());
    assert.equal(target("otlp")?.delivered, target("otlp")?.read);
  });

  test("a target that was removed while the agent was down holds the journal no longer", async () => {
    runs++;
    const { text } = await plant();
    const two = text.replace("targets:\n", 'targets:\n  - { id: gone, otlp: { endpoint: "http://127.0.0.1:9" } }\n');
    const first = await startAgent(await siteFrom(two));
    await until("readings", () => (first.status().devices[0]?.readings ?? 0) > 4);
    await first.stop();
    const told: string[] = [];
    const listening = pino({ level: "warn" }, { write: (line: string) => void told.push(line) });
    const second = await startAgent(await siteFrom(text), listening);
    await second.stop();
    assert.match(told.join(""), /gone is no longer in the site file: \d+ readings that it had not taken are given up/);
    const journal = await openJournal({ dir: join(data(), "journal"), onLoss: async () => null });
    assert.deepEqual(
      journal.stats().cursors.map(({ name }) => name),
      ["otlp"],
    );
    await journal.close();
  });

  test("reloads take turns, a stop waits for them, and nothing starts after it", async () => {
    runs++;
    const { text } = await plant();
    const site = await siteFrom(text);
    const other = await siteFrom(
      text.replace(/ {2}- id: two[\s\S]*(?=targets:)/, "").replace("every: 50ms", "every: 60ms"),
    );
    const agent = await startAgent(site);
    const both = await Promise.all([agent.apply(other), agent.apply(site)]);
    assert.deepEqual(
      both.map(({ replaced, stopped, started }) => [replaced, stopped, started]),
      [
        [["one"], ["two"], []],
        [["one"], [], ["two"]],
      ],
    );
    const under_way = agent.apply(other);
    await clock.sleep(1);
    const stopped = agent.stop();
    const late = agent.apply(site);
    await agent.stop();
    await stopped;
    assert.deepEqual((await under_way).replaced, ["one"]);
    assert.deepEqual(await late, { started: [], stopped: [], replaced: [] });
    assert.deepEqual(agent.status().devices, []);
    balanced(agent.status());
  });

  test("the figures of a target go on over a restart, with the start that they had", async () => {
    runs++;
    const { text } = await plant();
    const site = await siteFrom(text);
    const first = await startAgent(site);
    await until("readings", () => (first.status().devices[0]?.readings ?? 0) > 4);
    await first.stop();
    const since = first.status().targets[0]?.counted_since_us;
    const second = await startAgent(site);
    assert.equal(second.status().targets[0]?.counted_since_us, since);
    assert.ok((second.status().targets[0]?.delivered ?? 0) >= (first.status().targets[0]?.delivered ?? 1));
    await second.stop();
  });
});
