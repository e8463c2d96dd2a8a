/**
 * What every source must do, whatever its protocol: a new one passes this suite before anything else
 * is said of it. It works on real sockets and ptys, against the simulated device of its protocol.
 *
 *   rig.device ─▶ rig.simulate ─▶ Simulated ◀── faults ── suite ── connect, poll, abort, close ──▶ Session
 *                                     └──────── socket, pty ────────────────────────────────────────┘
 *
 * The simulated time stands still unless a test moves it, so the suite knows every value served.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type AdapterContext, type Device, LinesideError, type Session, type Source } from "#adapters/contract.ts";
import type { Point } from "#profiles/schema.ts";
import type { Fault, Simulated, SimulateOptions } from "#test/hardware-sim/contract.ts";
import { valueOf } from "#test/hardware-sim/values.ts";
import { realClock } from "./clock.ts";
import { createRecorder, type Reading, type Recorder } from "./recorder.ts";

/** What the suite may expect of a source under the rig's options. */
export interface Bounds {
  /**
   * Within so many milliseconds the source notices that the device has gone silent: the timeouts of
   * one round of polls, or the watchdog of what is pushed. Choose small timeouts in `device`.
   */
  readonly silence_ms: number;
  /** Within so many milliseconds a round of readings is there from a device in good health. */
  readonly round_ms: number;
  /**
   * How late the answers of the late-answer test come: after the timeout of each request, but still
   * to be told from the next answer. null where the protocol has no answers (all is pushed).
   */
  readonly late_ms: number | null;
  /** Relative error of values, where the wire loses digits. Default: 1e-6. */
  readonly tolerance?: number;
}

export interface SourceRig<P extends Point, Options> extends Bounds {
  readonly createSource: (context: AdapterContext) => Source<P, Options>;
  /** The same points for every id. `reach` is what Simulated.options says; empty before it is served. */
  readonly device: (id: string, reach: Readonly<Record<string, unknown>>) => Device<P, Options>;
  readonly simulate: (device: Device<P, Options>, options: SimulateOptions) => Promise<Simulated>;
}

const START_US = 1_795_000_000_000_000;
const SNAKE_CASE = /^[a-z][a-z0-9_]*$/;
/** Nothing in a test waits longer than this. */
const PATIENCE_MS = 10_000;
/** An abort is obeyed within this time, far below any timeout that it cuts short. */
const ABORT_MS = 500;

export function sourceSuite<P extends Point, Options>(name: string, rig: SourceRig<P, Options>): void {
  describe(`source contract: ${name}`, { timeout: 60_000 }, () => {
    test("the groups and the pushed points together are all points, each once", () =>
      withBench(rig, 1, async ({ stands: [stand] }) => {
        const { session, device } = must(stand);
        const claimed = [...session.groups.flatMap((group) => [...group.points]), ...session.pushed];
        assert.deepEqual(
          claimed.sort((a, b) => a - b),
          device.points.map((_, i) => i),
        );
        for (const group of session.groups) assert.ok(group.every_ms > 0);
      }));

    test("connects and reads every point: good, once per poll, with the value that was served", () =>
      withBench(rig, 1, async (bench) => {
        const stand = must(bench.stands[0]);
        const before_us = realClock.now_us();
        const attributes = await connect(stand);
        assert.equal(typeof attributes, "object");
        const readings = await round(rig, stand);
        assertGoodRound(rig, stand, readings, bench.times());
        for (const { time_us } of readings)
          assert.ok(time_us >= before_us - 1000 && time_us <= realClock.now_us() + 1000);
        bench.advance(30);
        // Frames are lent, and the recorder has ruined the first ones.
        assertGoodRound(rig, stand, await round(rig, stand), bench.times());
        assert.deepEqual(stand.recorder.losses, []);
      }));

    test("a device that lets nobody in is refused with a code, and let in later", () =>
      withBench(rig, 1, async (bench) => {
        const stand = must(bench.stands[0]);
        const admit = stand.simulated.inject({ kind: "refuse" });
        await assertConnectFails(rig, stand);
        admit();
        assertGoodRound(rig, stand, await reconnect(rig, stand), bench.times());
      }));

    test("nobody there: connecting fails with a code, within bounds", () =>
      withBench(rig, 1, async (bench) => {
        const stand = must(bench.stands[0]);
        await stand.simulated.cut();
        await assertConnectFails(rig, stand);
        await stand.simulated.restore();
        assertGoodRound(rig, stand, await reconnect(rig, stand), bench.times());
      }));

    test("silence is bad quality or a lost link within the bound, and ends with the silence", () =>
      withBench(rig, 1, async (bench) => {
        const stand = must(bench.stands[0]);
        await connect(stand);
        await round(rig, stand);
        const speak = stand.simulated.inject({ kind: "silence" });
        const spoiled = await spoiledRound(rig, stand);
        for (const { quality, reason, name: point } of spoiled.readings) {
          assert.equal(quality, "bad", `${point} is ${quality} although the device is silent`);
          assert.match(reason, /^(timeout|silent|link_lost)$/);
        }
        if (spoiled.error === null) assertEveryPoint(stand, spoiled.readings);
        speak();
        bench.advance(60);
        assertGoodRound(rig, stand, await recover(rig, stand), bench.times());
      }));

    test("a cut link is noticed, and good again within two polls of its return", () =>
      withBench(rig, 1, async (bench) => {
        const stand = must(bench.stands[0]);
        await connect(stand);
        await round(rig, stand);
        const mark = markOf(stand);
        await stand.simulated.cut();
        const spoiled = await spoiledRound(rig, stand, mark);
        assert.ok(spoiled.error !== null || spoiled.readings.every((reading) => reading.quality === "bad"));
        await stand.session.close();
        assert.ok(stand.recorder.losses.length <= 1, "a loss is said once");
        await stand.simulated.restore();
        bench.advance(60);
        assertGoodRound(rig, stand, await reconnect(rig, stand), bench.times());
      }));

    test("an aborted connect ends at once, and leaves the way free for the next one", () =>
      withBench(rig, 1, async (bench) => {
        const stand = must(bench.stands[0]);
        await assert.rejects(settled(stand.session.connect(AbortSignal.abort()), ABORT_MS));
        await stand.session.close();
        const speak = stand.simulated.inject({ kind: "silence" });
        const control = new AbortController();
        const connecting = stand.session.connect(control.signal);
        control.abort();
        // One that was through before the abort may say so.
        await settled(
          connecting.catch(() => {}),
          ABORT_MS,
        );
        await stand.session.close();
        speak();
        await assertNoClients(stand);
        assertGoodRound(rig, stand, await reconnect(rig, stand), bench.times());
      }));

    test("an aborted poll ends at once", () =>
      withBench(rig, 1, async (bench) => {
        const stand = must(bench.stands[0]);
        await connect(stand);
        await round(rig, stand);
        if (stand.session.groups.length === 0) return;
        const speak = stand.simulated.inject({ kind: "silence" });
        const control = new AbortController();
        const polling = stand.session.poll(0, control.signal);
        setTimeout(() => control.abort(), 5);
        await settled(
          polling.catch(() => {}),
          ABORT_MS,
        );
        await settled(
          stand.session.poll(0, AbortSignal.abort()).catch(() => {}),
          ABORT_MS,
        );
        speak();
        await stand.session.close();
        assertGoodRound(rig, stand, await reconnect(rig, stand), bench.times());
      }));

    test("a silent device does not touch its neighbour", () =>
      withBench(rig, 2, async (bench) => {
        const [silent, healthy] = [must(bench.stands[0]), must(bench.stands[1])];
        await Promise.all([connect(silent), connect(healthy)]);
        await Promise.all([round(rig, silent), round(rig, healthy)]);
        silent.simulated.inject({ kind: "silence" });
        const state = { over: false };
        const spoiling = spoiledRound(rig, silent).finally(() => (state.over = true));
        do {
          bench.advance(30);
          assertGoodRound(rig, healthy, await round(rig, healthy), bench.times());
          await realClock.sleep(10);
        } while (!state.over);
        await spoiling;
        assert.deepEqual(healthy.recorder.losses, []);
      }));

    test("answers a little late, doubled, or made of garbage cost at most themselves", () =>
      withBench(rig, 1, async (bench) => {
        const stand = must(bench.stands[0]);
        await connect(stand);
        await round(rig, stand);
        const faults: Fault[] = [{ kind: "duplicate" }, { kind: "garbage" }, { kind: "delay", ms: 10 }];
        for (const fault of faults) {
          const heal = stand.simulated.inject(fault);
          const mark = stand.recorder.readings.length;
          await settled(
            round(rig, stand).catch(() => []),
            PATIENCE_MS,
          );
          for (const reading of stand.recorder.readings.slice(mark)) {
            if (reading.quality === "good") assertServed(rig, stand, reading, bench.times());
          }
          heal();
          bench.advance(60);
          assertGoodRound(rig, stand, await recover(rig, stand), bench.times());
        }
      }));

    const { late_ms } = rig;
    if (late_ms !== null) {
      test("an answer that comes after its timeout is never taken for a later one", () =>
        withBench(rig, 1, async (bench) => {
          const stand = must(bench.stands[0]);
          await connect(stand);
          await round(rig, stand);
          const heal = stand.simulated.inject({ kind: "delay", ms: late_ms });
          await spoiledRound(rig, stand);
          heal();
          bench.advance(600);
          const mark = stand.recorder.readings.length;
          await settled(
            round(rig, stand).catch(() => []),
            PATIENCE_MS,
          );
          for (const reading of stand.recorder.readings.slice(mark)) {
            if (reading.quality === "good") assertServed(rig, stand, reading, bench.times());
          }
          assertGoodRound(rig, stand, await recover(rig, stand), bench.times());
        }));
    }

    test("closing twice is harmless, ends the readings, and leaks nothing", () =>
      withBench(rig, 1, async (bench) => {
        const stand = must(bench.stands[0]);
        await stand.session.close();
        // The first connection may load a library or start a helper for good.
        await connect(stand);
        await round(rig, stand);
        await stand.session.close();
        await assertNoClients(stand);
        const before = resources();
        for (let i = 0; i < 3; i += 1) {
          await connect(stand);
          assertGoodRound(rig, stand, await round(rig, stand), bench.times());
          await Promise.all([stand.session.close(), stand.session.close()]);
        }
        await stand.session.close();
        const mark = stand.recorder.readings.length;
        await assertNoClients(stand);
        await realClock.sleep(50);
        assert.equal(stand.recorder.readings.length, mark, "readings came after close");
        assert.deepEqual(stand.recorder.losses, [], "a session that was closed is not lost");
        await eventually(() => {
          for (const [kind, count] of resources()) {
            assert.ok(
              count <= (before.get(kind) ?? 0),
              `${count} ${kind} are open, ${before.get(kind) ?? 0} were before`,
            );
          }
        });
      }));
  });
}

// --- The bench: simulated devices, one source, a session for each ------------------------------------

interface Stand<P extends Point, Options> {
  readonly device: Device<P, Options>;
  readonly simulated: Simulated;
  readonly session: Session;
  readonly recorder: Recorder;
}

/** Simulated times: of now, and of before the last advance. What is pushed may have been on its way then. */
interface Times {
  readonly now: number;
  readonly before: number;
}

interface Bench<P extends Point, Options> {
  readonly stands: readonly Stand<P, Options>[];
  /** Simulated times. */
  times(): Times;
  advance(seconds: number): void;
}

async function withBench<P extends Point, Options>(
  rig: SourceRig<P, Options>,
  count: number,
  body: (bench: Bench<P, Options>) => Promise<void>,
): Promise<void> {
  let times: Times = { now: START_US, before: START_US };
  const source = rig.createSource({ clock: realClock, log: createLog(), data_dir: null });
  const stands: Stand<P, Options>[] = [];
  try {
    for (let i = 0; i < count; i += 1) {
      const id = `device-${i + 1}`;
      const simulated = await rig.simulate(rig.device(id, {}), { port: 0, now_us: () => times.now });
      const device = rig.device(id, simulated.options);
      const recorder = createRecorder(device);
      stands.push({ device, simulated, recorder, session: source.open(device, recorder.context) });
    }
    await body({
      stands,
      times: () => times,
      advance: (seconds) => (times = { now: times.now + seconds * 1e6, before: times.now }),
    });
    for (const { recorder } of stands) assertReasons(recorder);
  } finally {
    for (const { session } of stands) await session.close();
    await source.close();
    await source.close();
    for (const { simulated } of stands) await simulated.stop();
  }
}

const createLog = () => ({ debug() {}, info() {}, warn() {}, error() {} });

function must<T>(value: T | undefined): T {
  assert.ok(value !== undefined);
  return value;
}

const connect = (stand: Stand<Point, unknown>) =>
  settled(stand.session.connect(new AbortController().signal), PATIENCE_MS);

/** One poll of every group, and one reading of every pushed point. */
async function round(rig: Bounds, stand: Stand<Point, unknown>): Promise<Reading[]> {
  const { session, recorder } = stand;
  const mark = recorder.readings.length;
  const polled = new Set<number>();
  for (let group = 0; group < session.groups.length; group += 1) {
    const points = [...(session.groups[group]?.points ?? [])];
    for (const point of points) polled.add(point);
    const start = recorder.readings.length;
    await settled(session.poll(group, new AbortController().signal), PATIENCE_MS);
    const named = recorder.readings.slice(start).flatMap(({ point }) => (points.includes(point) ? [point] : []));
    assert.deepEqual(
      named.sort((a, b) => a - b),
      points.sort((a, b) => a - b),
      "a poll reports each of its points exactly once",
    );
  }
  const deadline_ms = realClock.monotonic_ms() + rig.round_ms;
  const waiting = () => {
    const seen = new Set(recorder.readings.slice(mark).map(({ point }) => point));
    return [...session.pushed].some((point) => !seen.has(point));
  };
  while (waiting() && realClock.monotonic_ms() < deadline_ms) await realClock.sleep(5);
  // Of what is pushed, the last word counts.
  const last = new Map(recorder.readings.slice(mark).map((reading) => [reading.point, reading]));
  return [...last.values()];
}

interface Spoiled {
  readonly readings: readonly Reading[];
  /** Set where the link was given up. */
  readonly error: LinesideError | null;
}

interface Mark {
  readonly readings: number;
  readonly losses: number;
}

const markOf = ({ recorder }: Stand<Point, unknown>): Mark => ({
  readings: recorder.readings.length,
  losses: recorder.losses.length,
});

/** Polls (or waits for a push) of a device that cannot answer, until that has been noticed; `mark` is from before. */
async function spoiledRound(rig: Bounds, stand: Stand<Point, unknown>, mark = markOf(stand)): Promise<Spoiled> {
  const { session, recorder } = stand;
  const start_ms = realClock.monotonic_ms();
  const lastReadings = () => new Map(recorder.readings.slice(mark.readings).map((reading) => [reading.point, reading]));
  const spoiled = (error: LinesideError | null): Spoiled => {
    const took_ms = realClock.monotonic_ms() - start_ms;
    const bound_ms = rig.silence_ms * 1.5 + 500;
    assert.ok(took_ms <= bound_ms, `noticed after ${took_ms.toFixed(0)} ms, expected within ${bound_ms} ms`);
    return { readings: [...lastReadings().values()].filter(({ quality }) => quality === "bad"), error };
  };
  for (let group = 0; group < session.groups.length; group += 1) {
    try {
      await settled(session.poll(group, new AbortController().signal), PATIENCE_MS);
    } catch (error) {
      return spoiled(asCoded(error));
    }
  }
  const isPushedBad = () => {
    const last = lastReadings();
    return [...session.pushed].every((point) => last.get(point)?.quality === "bad");
  };
  while (recorder.losses.length === mark.losses && !isPushedBad()) {
    assert.ok(realClock.monotonic_ms() - start_ms < rig.silence_ms * 2 + 500, "silence was never noticed");
    await realClock.sleep(5);
  }
  const loss = recorder.losses[mark.losses];
  return spoiled(loss === undefined ? null : asCoded(loss));
}

/** What the agent does: poll on; where the link was given up, connect anew. Good within two rounds. */
async function recover(rig: Bounds, stand: Stand<Point, unknown>): Promise<Reading[]> {
  for (let attempt = 0; ; attempt += 1) {
    let readings: Reading[] | null = null;
    try {
      readings = await round(rig, stand);
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
    }
    const isGood =
      readings?.length === stand.device.points.length && readings.every(({ quality }) => quality === "good");
    if (isGood && readings !== null) return readings;
    if (attempt === 2) assert.fail(`not good again after two rounds: ${JSON.stringify(readings?.slice(0, 4))}`);
    const isLost = readings === null || stand.recorder.losses.length > 0 || stand.session.groups.length === 0;
    if (isLost) await reopen(stand);
  }
}

/** Closes and connects, again and again for a while: a way that was closed may take a moment to open. */
async function reopen(stand: Stand<Point, unknown>): Promise<void> {
  const deadline_ms = realClock.monotonic_ms() + 1000;
  for (;;) {
    stand.recorder.losses.length = 0;
    await stand.session.close();
    try {
      await connect(stand);
      return;
    } catch (error) {
      asCoded(error);
      if (realClock.monotonic_ms() > deadline_ms) throw error;
    }
    await realClock.sleep(10);
  }
}

async function reconnect(rig: Bounds, stand: Stand<Point, unknown>): Promise<Reading[]> {
  await reopen(stand);
  return recover(rig, stand);
}

// --- What must hold ----------------------------------------------------------------------------------

function assertGoodRound(rig: Bounds, stand: Stand<Point, unknown>, readings: readonly Reading[], times: Times): void {
  assertEveryPoint(stand, readings);
  for (const reading of readings) {
    assert.equal(reading.quality, "good", `${reading.name} is ${reading.quality} (${reading.reason})`);
    assertServed(rig, stand, reading, times);
  }
}

function assertEveryPoint(stand: Stand<Point, unknown>, readings: readonly Reading[]): void {
  assert.deepEqual(
    readings.map(({ point }) => point).sort((a, b) => a - b),
    stand.device.points.map((_, i) => i),
    "every point is reported, once",
  );
}

function assertServed(rig: Bounds, stand: Stand<Point, unknown>, reading: Reading, times: Times): void {
  const { device, session } = stand;
  const point = must(device.points[reading.point]);
  const series = must(device.descriptor.series[reading.point]);
  const isServed = (time_us: number): boolean => {
    const expected = valueOf(point, series, device.id, time_us);
    if (typeof expected === "string") return reading.value === expected;
    const error = Math.abs(Number(reading.value) - expected);
    return error <= (rig.tolerance ?? 1e-6) * Math.max(1e-3, Math.abs(expected));
  };
  if (isServed(times.now) || (session.pushed.includes(reading.point) && isServed(times.before))) return;
  const expected = valueOf(point, series, device.id, times.now);
  assert.fail(`${reading.name} reads ${reading.value}, served was ${expected}`);
}

/** Reasons become metric attributes and alarm texts: a closed, stable vocabulary. */
function assertReasons({ readings, losses }: Recorder): void {
  for (const { quality, reason } of readings) {
    if (quality === "good") assert.equal(reason, "");
    else assert.match(reason, SNAKE_CASE);
  }
  for (const loss of losses) asCoded(loss);
}

function asCoded(error: unknown): LinesideError {
  assert.ok(error instanceof LinesideError, `expected a LinesideError, got ${String(error)}`);
  assert.match(error.code, SNAKE_CASE);
  assert.notEqual(error.message, "");
  return error;
}

async function assertConnectFails(rig: Bounds, stand: Stand<Point, unknown>): Promise<void> {
  const start_ms = realClock.monotonic_ms();
  try {
    await settled(stand.session.connect(new AbortController().signal), PATIENCE_MS);
  } catch (error) {
    asCoded(error);
    assert.ok(realClock.monotonic_ms() - start_ms < 5000, "refusal took more than 5 s");
    await stand.session.close();
    return;
  }
  // A protocol without a handshake may only learn it at the first poll.
  const { error, readings } = await spoiledRound(rig, stand);
  assert.ok(error !== null || readings.length === stand.device.points.length, "let in by a device that refuses");
  await stand.session.close();
  stand.recorder.losses.length = 0;
}

const assertNoClients = (stand: Stand<Point, unknown>) =>
  eventually(() => assert.equal(stand.simulated.stats().connections, 0, "connections are open at the device"));

/** What keeps the process alive, by kind. */
function resources(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) {
    if (/Socket|TCP|TTY|Pipe|Timeout|Poll|Serial/.test(kind)) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return counts;
}

/** Closing reaches the other side a little later. */
async function eventually(check: () => void): Promise<void> {
  const deadline_ms = realClock.monotonic_ms() + 2000;
  for (;;) {
    try {
      return check();
    } catch (error) {
      if (realClock.monotonic_ms() > deadline_ms) throw error;
    }
    await realClock.sleep(10);
  }
}

async function settled<T>(promise: Promise<T>, within_ms: number): Promise<T> {
  const control = new AbortController();
  const late = async (): Promise<never> => {
    await realClock.sleep(within_ms, control.signal);
    if (control.signal.aborted) return new Promise<never>(() => {});
    assert.fail(`still pending after ${within_ms} ms`);
  };
  try {
    return await Promise.race([promise, late()]);
  } finally {
    control.abort();
  }
}
