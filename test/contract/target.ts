/**
 * What every target must do, whatever its protocol: a new one passes this suite before anything else is
 * said of it. It works against a real counterpart (a receiver on a socket, a file), which the rig brings.
 *
 *   suite ── Batch ──▶ target ── socket, file ──▶ counterpart ── received() ──▶ suite
 *     └──────────────── faults ──────────────────────┘
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { AdapterContext, Batch, Clock, Event, Outcome, Target } from "#adapters/contract.ts";
import { bad, uncertain } from "#adapters/quality.ts";
import { batchOf, descriptor, frameOf, series } from "./batches.ts";
import { realClock } from "./clock.ts";

/** A reading or an event as the counterpart has it, whatever the protocol made of it on the way. */
export interface Received {
  readonly device: string;
  /** The series' name (which is also its metric here), or the event's. */
  readonly name: string;
  readonly time_us: number;
  readonly value: number | bigint | string | null;
  readonly quality: "good" | "uncertain" | "bad";
  readonly reason: string;
}

/** A target and its counterpart, for one test. */
export interface Stand {
  readonly target: Target;
  /** All that has arrived whole, in any order. */
  readonly received: () => Promise<readonly Received[]>;
  /** The counterpart answers that this will never be taken; null where it cannot. */
  readonly refuse: (() => void) | null;
  /** It asks to come again after `wait_ms`; null where it cannot. */
  readonly postpone: ((wait_ms: number) => void) | null;
  /** It says that this is too much at once; null where it cannot. */
  readonly tooLarge: (() => void) | null;
  /** It takes a request and never answers; null where nobody can be silent. */
  readonly silence: (() => void) | null;
  /** Ends what the four above have begun. */
  readonly heal: () => void;
  /** Nothing can be delivered; and again. null where what is lost does not come back. */
  readonly lose: (() => Promise<void>) | null;
  readonly regain: (() => Promise<void>) | null;
  /** Ends the counterpart. */
  readonly stop: () => Promise<void>;
}

export interface TargetRig {
  open(context: AdapterContext): Promise<Stand>;
  /** The target's own timeout, which the rig has made small; null where it waits for as long as it takes. */
  readonly timeout_ms: number | null;
}

/** An abort is obeyed within this time, far below any timeout that it cuts short. */
const ABORT_MS = 250;
const TIME_US = 1_795_000_000_123_456;

const device = descriptor("press-1", [
  series("voltage"),
  series("count", { kind: "counter", value: "int", monotonic: true, unit: "1" }),
  series("order", { kind: "text", value: "text", unit: "1" }),
  series("pressure", { unit: "bar" }),
  series("level", { value: "int", unit: "mm" }),
]);
const other = descriptor("press-2", [series("voltage")]);

const event: Event = {
  name: "lineside.gap",
  time_us: TIME_US + 5_000_000,
  severity: "warn",
  body: "12 readings dropped",
  attributes: { from: "a", points: ["voltage", "count"] },
  descriptor: device,
};

/** Two frames of one device, one of another; every kind of value, every quality; an event. */
function batchAt(time_us: number): Batch {
  return batchOf(
    [
      {
        descriptor: device,
        frame: frameOf(device, time_us, [
          { series: 0, value: 230.25 },
          { series: 1, value: 9_007_199_254_740_993n, start_us: TIME_US - 3_600_000_000 },
          { series: 2, value: "4711/ä" },
          { series: 3, value: 1.5, quality: uncertain("overrange") },
          { series: 4, value: -7 },
        ]),
      },
      { descriptor: other, frame: frameOf(other, time_us, [{ series: 0, value: -0.125 }]) },
      {
        descriptor: device,
        frame: frameOf(device, time_us + 1_000_000, [
          { series: 0, value: null, quality: bad("timeout") },
          { series: 2, value: null, quality: bad("timeout") },
          { series: 4, value: 8, time_us: time_us + 999_999 },
        ]),
      },
    ],
    [event],
  );
}

function expectedAt(time_us: number): Received[] {
  const good = { quality: "good", reason: "" } as const;
  const late_us = time_us + 1_000_000;
  const lost = { value: null, quality: "bad", reason: "timeout" } as const;
  return [
    { device: "press-1", name: "voltage", time_us, value: 230.25, ...good },
    { device: "press-1", name: "count", time_us, value: 9_007_199_254_740_993n, ...good },
    { device: "press-1", name: "order", time_us, value: "4711/ä", ...good },
    { device: "press-1", name: "pressure", time_us, value: 1.5, quality: "uncertain", reason: "overrange" },
    { device: "press-1", name: "level", time_us, value: -7, ...good },
    { device: "press-2", name: "voltage", time_us, value: -0.125, ...good },
    { device: "press-1", name: "voltage", time_us: late_us, ...lost },
    { device: "press-1", name: "order", time_us: late_us, ...lost },
    { device: "press-1", name: "level", time_us: time_us + 999_999, value: 8, ...good },
    { device: "press-1", name: "lineside.gap", time_us: event.time_us, value: event.body, ...good },
  ];
}

export function targetSuite(name: string, rig: TargetRig): void {
  const onStand = (run: (stand: Stand) => Promise<void>): Promise<void> => withStand(rig, run);

  describe(`target contract: ${name}`, { timeout: 60_000 }, () => {
    test("delivers exactly the readings and events of a batch", () =>
      onStand(async ({ target, received }) => {
        assert.deepEqual(await deliver(target, batchAt(TIME_US)), { kind: "delivered", rejected: 0 });
        assertSame(await received(), expectedAt(TIME_US));
      }));

    test("takes one batch after the other, and one while another is under way", () =>
      onStand(async ({ target, received }) => {
        const times = [TIME_US, TIME_US + 60_000_000, TIME_US + 120_000_000];
        const outcomes = await Promise.all(times.map((time_us) => deliver(target, batchAt(time_us))));
        assert.deepEqual(
          outcomes.map(({ kind }) => kind),
          ["delivered", "delivered", "delivered"],
        );
        assertSame(await received(), times.flatMap(expectedAt));
      }));

    test("delivers an empty batch without sending anything", () =>
      onStand(async ({ target, received }) => {
        assert.deepEqual(await deliver(target, batchOf([])), { kind: "delivered", rejected: 0 });
        assert.deepEqual(await received(), []);
      }));

    test("delivers a batch again in the same shape", () =>
      onStand(async ({ target, received }) => {
        const batch = batchAt(TIME_US);
        await deliver(target, batch);
        // As after a crash: the same readings, decoded anew.
        const outcome = await deliver(target, batchAt(TIME_US));
        assert.equal(outcome.kind, "delivered");
        assertSame(await received(), [...expectedAt(TIME_US), ...expectedAt(TIME_US)]);
      }));

    test("answers refused where the receiver does, with its reason, and goes on", () =>
      onStand(async ({ target, refuse, heal, received }) => {
        if (refuse === null) return;
        refuse();
        const outcome = await deliver(target, batchAt(TIME_US));
        assert.equal(outcome.kind, "refused");
        assert.match(outcome.reason ?? "", /\S/);
        heal();
        assert.equal((await deliver(target, batchAt(TIME_US + 1))).kind, "delivered");
        assertSame(await received(), expectedAt(TIME_US + 1));
      }));

    test("answers retry with the wait that the receiver asked for, and then delivers the same batch", () =>
      onStand(async ({ target, postpone, heal, received }) => {
        if (postpone === null) return;
        postpone(7000);
        const batch = batchAt(TIME_US);
        const outcome = await deliver(target, batch);
        assert.equal(outcome.kind, "retry");
        assert.equal(outcome.kind === "retry" && outcome.wait_ms, 7000);
        heal();
        assert.equal((await deliver(target, batch)).kind, "delivered");
        assertSame(await received(), expectedAt(TIME_US));
      }));

    test("answers too_large where the receiver does", () =>
      onStand(async ({ target, tooLarge }) => {
        if (tooLarge === null) return;
        tooLarge();
        assert.equal((await deliver(target, batchAt(TIME_US))).kind, "too_large");
      }));

    test("answers retry while the link is lost, and delivers the same batch when it is back", () =>
      onStand(async ({ target, lose, regain, received }) => {
        if (lose === null || regain === null) return;
        assert.equal((await deliver(target, batchAt(TIME_US))).kind, "delivered");
        await lose();
        const batch = batchAt(TIME_US + 1);
        for (let attempt = 0; attempt < 3; attempt++) {
          const outcome = await deliver(target, batch);
          assert.equal(outcome.kind, "retry");
          assert.match(outcome.reason ?? "", /\S/);
        }
        await regain();
        assert.deepEqual(await deliver(target, batch), { kind: "delivered", rejected: 0 });
        assertSame(await received(), [...expectedAt(TIME_US), ...expectedAt(TIME_US + 1)]);
      }));

    test("answers retry when the receiver stays silent for longer than the timeout", () =>
      onStand(async ({ target, silence, heal }) => {
        if (silence === null || rig.timeout_ms === null) return;
        silence();
        const batch = batchAt(TIME_US);
        const begin_ms = realClock.monotonic_ms();
        assert.equal((await deliver(target, batch)).kind, "retry");
        const took_ms = realClock.monotonic_ms() - begin_ms;
        assert.ok(took_ms >= rig.timeout_ms - 5 && took_ms < rig.timeout_ms + 1000, `${took_ms} ms`);
        heal();
        assert.equal((await deliver(target, batch)).kind, "delivered");
      }));

    test("obeys an abort at once, before and during a delivery", () =>
      onStand(async ({ target, silence, received }) => {
        const before = await target.deliver(batchAt(TIME_US), AbortSignal.abort());
        assert.equal(before.kind, "retry");
        assert.deepEqual(await received(), []);
        if (silence === null) return;
        silence();
        const control = new AbortController();
        const outcome = target.deliver(batchAt(TIME_US), control.signal);
        await realClock.sleep(30);
        const begin_ms = realClock.monotonic_ms();
        control.abort();
        assert.equal((await outcome).kind, "retry");
        assert.ok(realClock.monotonic_ms() - begin_ms < ABORT_MS, "the abort was not obeyed at once");
      }));

    test("closes at once during a delivery, twice without harm, and takes nothing afterwards", () =>
      onStand(async ({ target, silence }) => {
        if (silence !== null) {
          silence();
          const outcome = deliver(target, batchAt(TIME_US));
          await realClock.sleep(30);
          const begin_ms = realClock.monotonic_ms();
          await target.close();
          assert.ok(realClock.monotonic_ms() - begin_ms < ABORT_MS, "close waited for a silent receiver");
          assert.equal((await outcome).kind, "retry");
        }
        await target.close();
        await target.close();
        assert.equal((await deliver(target, batchAt(TIME_US))).kind, "retry");
      }));

    test("leaves no socket, file or timer behind", async () => {
      assert.deepEqual(await resources(), []);
      for (let round = 0; round < 3; round++) {
        await onStand(async ({ target, lose }) => {
          await deliver(target, batchAt(TIME_US));
          await lose?.();
          await deliver(target, batchAt(TIME_US));
        });
      }
      assert.deepEqual(await resources(), []);
    });
  });
}

async function withStand(rig: TargetRig, run: (stand: Stand) => Promise<void>): Promise<void> {
  const ignore = (): void => {};
  const timers = new Set<() => void>();
  const clock: Clock = {
    ...realClock,
    after(delay_ms, ring) {
      const cancel = realClock.after(delay_ms, () => (timers.delete(end), ring()));
      const end = (): void => (timers.delete(end), cancel());
      timers.add(end);
      return end;
    },
  };
  const stand = await rig.open({
    clock,
    log: { debug: ignore, info: ignore, warn: ignore, error: ignore },
    data_dir: null,
  });
  try {
    await run(stand);
  } finally {
    await stand.target.close();
    await stand.stop();
  }
  assert.equal(timers.size, 0, "a timer outlived the target");
}

const deliver = (target: Target, batch: Batch): Promise<Outcome> => target.deliver(batch, new AbortController().signal);

/** The same records, in any order between series, and in order within each. */
function assertSame(actual: readonly Received[], expected: readonly Received[]): void {
  assert.deepEqual(bySeries(actual), bySeries(expected));
}

function bySeries(records: readonly Received[]): Record<string, readonly Received[]> {
  const grouped = Map.groupBy(records, ({ device: id, name }) => `${id} ${name}`);
  return Object.fromEntries([...grouped].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** What keeps the process alive; waits a little for it to go away. */
async function resources(): Promise<readonly string[]> {
  const deadline_ms = realClock.monotonic_ms() + 2000;
  for (;;) {
    // Pipes and terminals are the test runner's; the target's timers are counted by its clock.
    const kinds = process
      .getActiveResourcesInfo()
      .filter((kind) => !/^(Pipe|TTY|Timeout|Immediate|CloseReq)/.test(kind));
    if (kinds.length === 0 || realClock.monotonic_ms() > deadline_ms) return kinds;
    await realClock.sleep(5);
  }
}
