/** What devices do to each other on one connection, and what is remembered of a device that refuses. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { realClock } from "#test/contract/clock.ts";
import { makeDevice } from "#test/contract/device.ts";
import { createRecorder, type Reading, type Recorder } from "#test/contract/recorder.ts";
import { scripted } from "#test/contract/scripted.ts";
import type { Simulated } from "#test/hardware-sim/contract.ts";
import { simulateModbusBus } from "#test/hardware-sim/modbus/simulate.ts";
import { LinesideError, type Session } from "../../contract.ts";
import { modbusOptions } from "./options.ts";
import { createSource } from "./source.ts";

const log = { debug() {}, info() {}, warn() {}, error() {} };
const { signal } = new AbortController();
/** Where somebody is silent. Elsewhere nothing waits, and a machine under load is no fault. */
const TIMEOUT_MS = 120;

interface Stand {
  readonly session: Session;
  readonly recorder: Recorder;
  readonly simulated: Simulated;
  /** One poll of the only group: the readings by point name. */
  readonly poll: () => Promise<Map<string, Reading>>;
}

interface Given {
  readonly options?: object;
  /** Addresses of u16 points, by unit. */
  readonly units: Readonly<Record<number, readonly number[]>>;
  readonly way?: object;
}

async function withStands(given: Given, body: (stands: Stand[]) => Promise<void>): Promise<void> {
  const devices = (reach: Record<number, object>) =>
    Object.entries(given.units).map(([unit, addresses]) =>
      makeDevice({
        protocol: "modbus",
        id: `unit-${unit}`,
        options: modbusOptions.parse({
          ...(given.way ?? { host: "127.0.0.1", port: 1 }),
          timeout: "5s",
          unit: Number(unit),
          ...given.options,
          ...reach[Number(unit)],
        }),
        points: addresses.map((address) => ({ name: `p${address}`, address })),
      }),
    );
  const served = await simulateModbusBus(devices({}), { port: 0, now_us: () => 1_795_000_000_000_000 });
  const reach = Object.fromEntries(Object.keys(given.units).map((unit, i) => [unit, served[i]?.options ?? {}]));
  const source = createSource({ clock: realClock, log, data_dir: null });
  const stands = devices(reach).map((device, i): Stand => {
    const recorder = createRecorder(device);
    const session = source.open(device, recorder.context);
    const simulated = served[i];
    assert.ok(simulated);
    return {
      session,
      recorder,
      simulated,
      async poll() {
        const mark = recorder.readings.length;
        await session.poll(0, signal);
        const readings = recorder.readings.slice(mark);
        assert.equal(readings.length, device.points.length, "every point, once");
        return new Map(readings.map((reading) => [reading.name, reading]));
      },
    };
  });
  try {
    await Promise.all(stands.map(({ session }) => session.connect(signal)));
    await body(stands);
  } finally {
    for (const { session } of stands) await session.close();
    await source.close();
    for (const simulated of served) await simulated.stop();
  }
}

const reasons = (readings: Map<string, Reading>) =>
  Object.fromEntries([...readings].map(([name, { reason }]) => [name, reason]));
const isGood = (readings: Map<string, Reading>) => [...readings.values()].every(({ quality }) => quality === "good");

function only<T>(list: readonly T[]): T {
  const [first] = list;
  assert.ok(first !== undefined);
  return first;
}

describe("a device that refuses", () => {
  const units = { 1: Array.from({ length: 16 }, (_, i) => i) };

  test("the neighbours of a refused register are good in the same poll", () =>
    withStands({ units }, async (stands) => {
      const { poll, simulated } = only(stands);
      simulated.inject({ kind: "exception", code: 2, from: 5, to: 5 });
      const readings = reasons(await poll());
      assert.deepEqual(readings, { ...Object.fromEntries(units[1].map((i) => [`p${i}`, ""])), p5: "exception_2" });
      // Halving sixteen down to one: at most two requests a level.
      assert.ok(simulated.stats().requests <= 9, `${simulated.stats().requests} requests`);
    }));

  test("it is remembered: later polls leave the register out, and try it again ever more seldom", () =>
    withStands({ units }, async (stands) => {
      const { poll, simulated } = only(stands);
      simulated.inject({ kind: "exception", code: 2, from: 5, to: 5 });
      await poll();
      const before = simulated.stats().requests;
      // What is left of sixteen halved four times is four reads.
      const parts = 4;
      for (let i = 0; i < 40; i += 1) assert.equal(reasons(await poll()).p5, "exception_2");
      const trials = simulated.stats().requests - before - 40 * parts;
      assert.ok(trials >= 4 && trials <= 7, `${trials} trials in 40 polls`);
    }));

  test("a register that never was there does not keep others from coming back", () =>
    withStands({ units }, async (stands) => {
      const { poll, simulated } = only(stands);
      simulated.inject({ kind: "exception", code: 2, from: 2, to: 2 });
      for (let i = 0; i < 20; i += 1) await poll();
      const heal = simulated.inject({ kind: "exception", code: 2, from: 8, to: 11 });
      for (let i = 0; i < 5; i += 1) assert.equal(reasons(await poll()).p9, "exception_2");
      heal();
      await poll();
      const readings = reasons(await poll());
      assert.equal(readings.p2, "exception_2");
      assert.deepEqual(Object.values(readings).filter((reason) => reason !== "").length, 1);
    }));

  test("a device that refused everything, and then all but one register", () =>
    withStands({ units }, async (stands) => {
      const { poll, simulated } = only(stands);
      const heal = simulated.inject({ kind: "exception", code: 2, from: 0, to: 15 });
      for (let i = 0; i < 3; i += 1) await poll();
      heal();
      simulated.inject({ kind: "exception", code: 2, from: 5, to: 5 });
      for (let i = 0; i < 8; i += 1) await poll();
      assert.deepEqual(Object.values(reasons(await poll())).filter((reason) => reason !== "").length, 1);
    }));

  test("once it answers again, it is good within two polls, and read in one request", () =>
    withStands({ units }, async (stands) => {
      const { poll, simulated } = only(stands);
      for (const code of [1, 2, 3]) {
        const heal = simulated.inject({ kind: "exception", code, from: 5, to: 9 });
        for (let i = 0; i < 3; i += 1) assert.equal(reasons(await poll()).p7, `exception_${code}`);
        heal();
        await poll();
        assert.ok(isGood(await poll()));
        const before = simulated.stats().requests;
        await poll();
        assert.equal(simulated.stats().requests - before, 1);
      }
    }));

  test("a new connection knows nothing of it", () =>
    withStands({ units }, async (stands) => {
      const { poll, simulated, session } = only(stands);
      const heal = simulated.inject({ kind: "exception", code: 2, from: 0, to: 3 });
      await poll();
      await session.close();
      heal();
      await session.connect(signal);
      assert.ok(isGood(await poll()));
      assert.equal(simulated.stats().requests > 0, true);
    }));

  test("everything refused: all points say so, in a bounded number of requests", () =>
    withStands({ units: { 1: Array.from({ length: 120 }, (_, i) => i) } }, async (stands) => {
      const { poll, simulated } = only(stands);
      const heal = simulated.inject({ kind: "exception", code: 1, from: 0, to: 65535 });
      assert.ok([...(await poll()).values()].every(({ reason }) => reason === "exception_1"));
      assert.ok(simulated.stats().requests <= 2 * 64 + 1, `${simulated.stats().requests} requests`);
      await poll();
      heal();
      await poll();
      assert.ok(isGood(await poll()));
    }));

  test("exceptions 4, 5, 6, 10 and 11 cost one poll, and nothing is split", () =>
    withStands({ units }, async (stands) => {
      const { poll, simulated } = only(stands);
      for (const code of [4, 5, 6, 10, 11]) {
        const heal = simulated.inject({ kind: "exception", code, from: 0, to: 0 });
        const before = simulated.stats().requests;
        assert.equal(reasons(await poll()).p15, `exception_${code}`);
        assert.equal(simulated.stats().requests - before, 1);
        heal();
        assert.ok(isGood(await poll()));
      }
    }));

  test("a gateway that cannot reach the unit is asked once a poll: each request costs it a wait of its own", () =>
    withStands({ units: { 1: [0, 100, 200, 300] } }, async (stands) => {
      const { poll, simulated } = only(stands);
      for (const code of [10, 11]) {
        const heal = simulated.inject({ kind: "exception", code, from: 0, to: 65535 });
        const before = simulated.stats().requests;
        assert.ok([...(await poll()).values()].every(({ reason }) => reason === `exception_${code}`));
        assert.equal(simulated.stats().requests - before, 1);
        heal();
        assert.ok(isGood(await poll()));
      }
    }));

  test("holes that a read may cover but a device refuses: parted there at once", () =>
    withStands({ units: { 1: [0, 1, 2, 10, 11, 12] } }, async (stands) => {
      const { poll, simulated } = only(stands);
      simulated.inject({ kind: "exception", code: 2, from: 3, to: 9 });
      assert.ok(isGood(await poll()));
      assert.equal(simulated.stats().requests, 3);
      assert.ok(isGood(await poll()));
      assert.equal(simulated.stats().requests, 5);
    }));
});

const ways = {
  "Modbus TCP": { host: "127.0.0.1", port: 1 },
  "RTU over TCP": { host: "127.0.0.1", port: 1, framing: "rtu" },
  "a serial line": { serial: { port: "/dev/null", baud: 460_800 } },
};

const impatient = { timeout: `${TIMEOUT_MS}ms` };
for (const [name, way] of Object.entries(ways)) {
  describe(`units that share ${name}`, () => {
    test("have one connection, and each its own values", () =>
      withStands({ way, units: { 1: [0, 1], 2: [0, 1], 7: [0, 1] } }, async (stands) => {
        const all = await Promise.all(stands.map(({ poll }) => poll()));
        assert.ok(all.every(isGood));
        assert.equal(stands[0]?.simulated.stats().connections, 1);
        assert.equal(new Set(all.map((readings) => String(readings.get("p0")?.value))).size, 3);
        await stands[0]?.session.close();
        assert.ok(isGood(await (stands[1]?.poll() ?? assert.fail())), "closing one leaves the others their link");
      }));

    test("a silent one costs the others one timeout, however many reads it has", () =>
      withStands({ way, options: impatient, units: { 1: [0, 100, 200, 300], 2: [0] } }, async (stands) => {
        const [silent, healthy] = stands;
        assert.ok(silent && healthy);
        await Promise.all(stands.map(({ poll }) => poll()));
        const speak = silent.simulated.inject({ kind: "silence" });
        for (let i = 0; i < 3; i += 1) {
          const start_ms = realClock.monotonic_ms();
          const polling = silent.poll();
          assert.ok(isGood(await healthy.poll()));
          assert.ok(realClock.monotonic_ms() - start_ms < TIMEOUT_MS * 1.5 + 30, "waited for more than one timeout");
          assert.ok([...(await polling).values()].every(({ reason }) => reason === "timeout"));
        }
        speak();
        await silent.poll();
        assert.ok(isGood(await silent.poll()), "good within two polls");
        assert.deepEqual(healthy.recorder.losses, []);
        assert.deepEqual(silent.recorder.losses, [], "the link is not lost while a neighbour answers");
      }));

    test("garbage of one is not the other's", () =>
      withStands({ way, options: impatient, units: { 1: [0, 1], 2: [0, 1] } }, async (stands) => {
        const [bad, healthy] = stands;
        assert.ok(bad && healthy);
        if (name === "Modbus TCP") return; // There it ends the connection: tcp.test.ts.
        const heal = bad.simulated.inject({ kind: "garbage" });
        const [spoiled, fine] = await Promise.all([bad.poll(), healthy.poll()]);
        assert.deepEqual(reasons(spoiled), { p0: "garbage", p1: "garbage" });
        assert.ok(isGood(fine));
        heal();
        await bad.poll();
        assert.ok(isGood(await bad.poll()));
      }));
  });
}

describe("pacing", () => {
  test("one that stays silent leaves the others most of the line, and is back soon after it speaks", () =>
    withStands({ options: impatient, units: { 1: [0, 100], 2: [0] } }, async (stands) => {
      const [silent, healthy] = stands;
      assert.ok(silent && healthy);
      await Promise.all(stands.map(({ poll }) => poll()));
      const speak = silent.simulated.inject({ kind: "silence" });
      for (let i = 0; i < 5; i += 1) await silent.poll();
      // Polled again and again, as by a short interval; every poll still says what is the matter.
      const start_ms = realClock.monotonic_ms();
      let asked = 0;
      while (realClock.monotonic_ms() - start_ms < TIMEOUT_MS * 8) {
        const asked_ms = realClock.monotonic_ms();
        const readings = await silent.poll();
        if (realClock.monotonic_ms() - asked_ms > TIMEOUT_MS / 2) asked += 1;
        assert.ok([...readings.values()].every(({ reason }) => reason === "timeout"));
        assert.ok(isGood(await healthy.poll()));
        await realClock.sleep(2);
      }
      assert.ok(asked >= 1 && asked <= 3, `asked ${asked} times in 8 timeouts`);
      speak();
      await realClock.sleep(TIMEOUT_MS * 5);
      await silent.poll();
      assert.ok(isGood(await silent.poll()));
      assert.deepEqual(silent.recorder.losses, []);
    }));

  test("the pause is kept between two requests to a unit, and another unit does not wait for it", () =>
    withStands({ options: { pause: "100ms" }, units: { 1: [0, 100, 200], 2: [0] } }, async (stands) => {
      const [slow, other] = stands;
      assert.ok(slow && other);
      const start_ms = realClock.monotonic_ms();
      const polling = slow.poll();
      await realClock.sleep(5);
      assert.ok(isGood(await other.poll()));
      assert.ok(realClock.monotonic_ms() - start_ms < 95);
      assert.ok(isGood(await polling));
      assert.ok(realClock.monotonic_ms() - start_ms >= 199);
    }));

  test("units take turns, request by request", async (t) => {
    const server = await scripted((request, socket) => {
      const [high = 0, low = 0] = request;
      socket.write(Buffer.from([high, low, 0, 0, 0, 5, request[6] ?? 0, 3, 2, 0, 7]));
    });
    const source = createSource({ clock: realClock, log, data_dir: null });
    t.after(async () => {
      await source.close();
      await server.close();
    });
    const sessions = [1, 2, 3].map((unit) => {
      const device = makeDevice({
        protocol: "modbus",
        id: `unit-${unit}`,
        options: modbusOptions.parse({ host: "127.0.0.1", port: server.port, unit, registers_max: 1 }),
        points: [0, 1, 2].map((address) => ({ name: `p${address}`, address })),
      });
      return source.open(device, createRecorder(device).context);
    });
    await Promise.all(sessions.map((session) => session.connect(signal)));
    await Promise.all(sessions.map((session) => session.poll(0, signal)));
    assert.deepEqual(
      server.received.map((request) => request[6]),
      [1, 2, 3, 1, 2, 3, 1, 2, 3],
    );
  });

  test("the first request waits for the connect delay", () =>
    withStands({ units: { 1: [0] } }, async (stands) => {
      const { simulated } = only(stands);
      const source = createSource({ clock: realClock, log, data_dir: null });
      const device = makeDevice({
        protocol: "modbus",
        id: "late",
        options: modbusOptions.parse({ ...simulated.options, connect_delay: "60ms" }),
        points: [{ name: "p0", address: 0 }],
      });
      const session = source.open(device, createRecorder(device).context);
      const start_ms = realClock.monotonic_ms();
      await session.connect(signal);
      assert.ok(realClock.monotonic_ms() - start_ms >= 59);
      await session.close();
      // An abort cuts the delay short, and gives the connection back.
      const control = new AbortController();
      const connecting = session.connect(control.signal);
      setTimeout(() => control.abort(), 10);
      await assert.rejects(connecting, { code: "aborted" });
      await source.close();
    }));
});

describe("opening", () => {
  test("devices that cannot share a connection are told so, by name", async () => {
    const source = createSource({ clock: realClock, log, data_dir: null });
    const open = (
      id: string,
      options: object,
      points: { name: string; address: number }[] = [{ name: "p", address: 0 }],
    ) => {
      const device = makeDevice({ protocol: "modbus", id, options: modbusOptions.parse(options), points });
      return source.open(device, createRecorder(device).context);
    };
    open("a", { host: "gw", framing: "tcp" });
    open("b", { host: "GW", unit: 2 });
    const config = (pattern: RegExp) => (error: unknown) =>
      error instanceof LinesideError && error.code === "config" && pattern.test(error.message);
    assert.throws(() => open("c", { host: "gw", framing: "rtu" }), config(/device c.*gw:502.*\ba\b.*framing/s));
    open("d", { serial: { port: "/dev/ttyS9", baud: 9600 } });
    assert.throws(
      () => open("e", { serial: { port: "/dev/ttyS9", parity: "even" } }),
      config(/device e.*ttyS9.*parity even/s),
    );
    assert.throws(() => open("f", { host: "x", forbidden: [[0, 4]] }), config(/device f, point p.*forbidden/s));
    await source.close();
  });

  test("a device may come back with other settings once it is closed", async () => {
    const source = createSource({ clock: realClock, log, data_dir: null });
    const open = (framing: string) => {
      const options = modbusOptions.parse({ host: "gw", framing });
      const device = makeDevice({ protocol: "modbus", id: "a", options, points: [{ name: "p", address: 0 }] });
      return source.open(device, createRecorder(device).context);
    };
    const session = open("tcp");
    assert.throws(() => open("rtu"), { code: "config" });
    await session.close();
    await open("rtu").close();
    await source.close();
  });

  test("what stands in the way of a connection has a code that says what to do", async () => {
    const source = createSource({ clock: realClock, log, data_dir: null });
    const connect = (options: object) => {
      const device = makeDevice({
        protocol: "modbus",
        id: "x",
        options: modbusOptions.parse(options),
        points: [{ name: "p", address: 0 }],
      });
      return source.open(device, createRecorder(device).context).connect(signal);
    };
    await assert.rejects(connect({ host: "127.0.0.1", port: 1 }), { code: "connect_refused" });
    await assert.rejects(connect({ serial: { port: "/dev/lineside-missing" } }), { code: "port_missing" });
    await source.close();
  });
});
