/**
 * One bad thing spoils only itself: each fault is switched on while a whole plant is read, shows as bad
 * quality with its reason, ends, and is over within two polls; the other devices never notice.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Fault, Simulated } from "../hardware-sim/contract.ts";
import { type Receiver, startReceiver } from "../receiver/receiver.ts";
import { AgentProcess, type Site, serve, sleep, until } from "./rig.ts";

const POLL_MS = 1_000;
/** Two polls, and what a loaded machine takes to answer and to be asked. */
const RECOVER_MS_MAX = 2 * POLL_MS + 500;
/** How long a fault lasts: long enough for every device to be read twice. */
const FAULT_MS = 2_500;
/** A neighbour whose readings are further apart has noticed. */
const NOTICED_MS = 2 * POLL_MS + 200;

const meter = (id: string, port: number) => ({
  id,
  every: `${POLL_MS}ms`,
  modbus: { host: "127.0.0.1", port, timeout: "300ms" },
  points: [
    { name: "voltage", address: 0, type: "f32", unit: "V" },
    { name: "current", address: 2, type: "f32", unit: "A" },
    { name: "energy", address: 40, type: "u32", unit: "W.h", kind: "counter" },
  ],
});
const DEVICES = [
  meter("meter-a", 501),
  meter("meter-b", 502),
  {
    id: "oven",
    every: `${POLL_MS}ms`,
    opcua: { endpoint: "opc.tcp://127.0.0.1:4840" },
    points: [
      { name: "temperature", address: "nsu=http://acme.example/oven;s=Zone1.PV", unit: "Cel" },
      { name: "pressure", address: "nsu=http://acme.example/oven;s=Zone1.Pressure", unit: "bar" },
    ],
  },
  {
    id: "scale",
    profile: "mettler-toledo/mt-sics",
    // The other points are read once an hour.
    only: ["weight", "stable"],
    every: `${POLL_MS}ms`,
    serial: { port: "/dev/ttyUSB0", timeout: "300ms" },
  },
];

describe("faults spoil only their own device", () => {
  const cleanup: (() => unknown)[] = [];
  const context = { after: (run: () => unknown) => void cleanup.unshift(run) };
  let receiver: Receiver;
  let site: Site;
  let agent: AgentProcess;

  const simulated = (id: string): Simulated => {
    const device = site.plant.device(id);
    assert.ok(device !== undefined);
    return device;
  };

  /** Qualities of a device's newest readings, such as `good` or `bad: timeout`; each one once. */
  async function qualities(id: string): Promise<string[]> {
    const { readings } = await agent.readings(id);
    return [...new Set(readings.map(({ quality, reason }) => (reason === "" ? quality : `${quality}: ${reason}`)))];
  }

  const allGood = async (id: string): Promise<boolean> => (await qualities(id)).join() === "good";

  const cleanUp = async (): Promise<void> => {
    for (const end of cleanup.splice(0)) await end();
  };

  async function setUp(): Promise<void> {
    receiver = await startReceiver({ gap_us: NOTICED_MS * 1000 });
    context.after(() => receiver.stop());
    site = await serve(context, {
      devices: DEVICES,
      targets: [{ otlp: { endpoint: receiver.grpc_endpoint } }],
      agent: { commit_interval: "200ms" },
    });
    agent = await AgentProcess.start(context, site);
    for (const { id } of DEVICES) await until(`${id} is read`, 15_000, () => allGood(id));
  }

  before(async () => {
    try {
      await setUp();
    } catch (error) {
      // A hook that fails is the end of the suite, without its `after`.
      await cleanUp();
      throw error;
    }
  });
  after(cleanUp);

  /** Runs one fault of one device, from a plant that is well to a plant that is well again. */
  async function suffer(
    id: string,
    expected: RegExp,
    begin: () => Promise<() => unknown>,
  ): Promise<{ recovered_ms: number }> {
    for (const device of DEVICES) await until(`${device.id} is well before`, 15_000, () => allGood(device.id));
    receiver.clear();
    const end = await begin();
    let during: string[];
    try {
      await sleep(FAULT_MS);
      during = await qualities(id);
    } finally {
      await end();
    }
    const ended_ms = performance.now();
    let now: string[] = [];
    await until(
      () => `${id} is well again: ${now.join(", ")}\n${agent.output(10)}`,
      15_000,
      async () => (now = await qualities(id)).join() === "good",
    );
    const recovered_ms = Math.round(performance.now() - ended_ms);
    assert.ok(during.length === 1 && expected.test(during[0] ?? ""), `${id} during the fault: ${during.join(", ")}`);
    await until("the target has it all", 10_000, async () => (await agent.target()).queued < 20);
    for (const { device, metric, without_value, gaps, count } of receiver.series()) {
      if (device === id) continue;
      const what = `${device} ${metric} while ${id} was at fault`;
      assert.ok(count > 0, `${what}: no readings`);
      assert.equal(without_value, 0, `${what}: readings without a value`);
      assert.deepEqual(gaps, [], `${what}: readings are missing`);
    }
    assert.ok(recovered_ms <= RECOVER_MS_MAX, `${id} took ${recovered_ms} ms to recover`);
    return { recovered_ms };
  }

  const inject = (id: string, fault: Fault) => async () => simulated(id).inject(fault);
  const cut = (id: string) => async () => {
    await simulated(id).cut();
    return () => simulated(id).restore();
  };

  for (const code of [1, 2, 3, 4, 5, 6, 8, 10, 11]) {
    test(`Modbus: every request is answered with exception ${code}`, async (t) => {
      const fault = { kind: "exception", code, from: 0, to: 65_535 } as const;
      const { recovered_ms } = await suffer(
        "meter-a",
        new RegExp(`^bad: exception_${code}$`),
        inject("meter-a", fault),
      );
      t.diagnostic(`recovered after ${recovered_ms} ms`);
    });
  }

  const scenarios: [name: string, id: string, expected: RegExp, begin: () => Promise<() => unknown>][] = [
    ["Modbus: the device is silent", "meter-a", /^bad: (timeout|link_lost)$/, inject("meter-a", { kind: "silence" })],
    ["Modbus: the device answers as another unit", "meter-a", /^bad: /, inject("meter-a", { kind: "wrong_unit" })],
    ["Modbus: the device answers with garbage", "meter-a", /^bad: /, inject("meter-a", { kind: "garbage" })],
    ["Modbus: the device is cut off", "meter-b", /^bad: /, cut("meter-b")],
    ["OPC UA: the server is restarted", "oven", /^bad: /, cut("oven")],
    [
      "OPC UA: every node is bad",
      "oven",
      /^bad: /,
      inject("oven", { kind: "status", code: "BadSensorFailure", points: [] }),
    ],
    ["serial: the device is silent", "scale", /^bad: timeout$/, inject("scale", { kind: "silence" })],
    ["serial: the line is unplugged", "scale", /^bad: /, cut("scale")],
  ];
  for (const [name, id, expected, begin] of scenarios) {
    test(name, async (t) => {
      const { recovered_ms } = await suffer(id, expected, begin);
      t.diagnostic(`recovered after ${recovered_ms} ms`);
    });
  }

  test("in the end nothing was dropped, and the figures add up", async () => {
    assert.equal(await agent.stop(), 0, agent.output());
    const again = await AgentProcess.start(context, site);
    const { dropped, imbalance, read } = await again.target();
    assert.deepEqual({ dropped, imbalance }, { dropped: 0, imbalance: 0 });
    assert.ok(read > 0);
    assert.equal(await again.stop(), 0, again.output());
  });
});
