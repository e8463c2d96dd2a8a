import type { Batch, Descriptor, Event, Outcome, Target } from "#adapters/contract.ts";
import { createFrame } from "#adapters/frame.ts";
import type { Cursor, JournalRecord } from "#buffer/contract.ts";
import { VirtualClock } from "#test/virtual-clock.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { BatchWriter } from "./batch/writer.ts";
import { Descriptors } from "./descriptors.ts";
import { Forwarder } from "./forward.ts";
import { gapEvent } from "./gap.ts";

const series = [0, 1, 2, 3].map((index) => ({
  name: `p${index}`,
  metric: "m",
  unit: "1",
  description: "",
  kind: "gauge" as const,
  value: "double" as const,
  monotonic: false,
  attributes: {},
}));
const descriptor: Descriptor = {
  device: "d",
  source: "modbus",
  resource: {},
  scope: { name: "t", version: "1" },
  series,
};

const EVENT = { name: "x", time_us: 1, severity: "info", body: "", attributes: {} } as const;

/** A log in memory with one cursor, and a target that answers as the test says. */
function rig() {
  const clock = new VirtualClock();
  const descriptions = new Map<number, Uint8Array>();
  const descriptors = new Descriptors({
    describe: (bytes) => {
      descriptions.set(descriptions.size + 1, bytes);
      return descriptions.size;
    },
    description: async (id) => descriptions.get(id) ?? new Uint8Array(),
  });
  const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
  const records: JournalRecord[] = [];
  const advanced: [number, number, number][] = [];
  let at = 0;
  let wake = (): void => undefined;
  const cursor = {
    read: async ({ entries_max }: { entries_max: number }, signal?: AbortSignal) => {
      while (at >= records.length) {
        await new Promise<void>((resolve, reject) => {
          wake = resolve;
          signal?.addEventListener("abort", () => reject(new Error("aborted")), { once: true });
        });
      }
      const some = records.slice(at, at + entries_max);
      at += some.length;
      return some;
    },
    advance: (seq: number, { delivered, dropped }: { delivered: number; dropped: number }) =>
      order.push(`advance ${seq}`) && void advanced.push([seq, delivered, dropped]),
    rewind: () => undefined,
    stats: () => ({ queued: records.length - at }),
  } as unknown as Cursor; // What the forwarder uses of it.
  const batches: Batch[] = [];
  const answers: Outcome[] = [];
  const times: number[] = [];
  const target: Target = {
    deliver: async (batch) => {
      batches.push(batch);
      times.push(clock.monotonic_ms());
      return answers.shift() ?? { kind: "delivered", rejected: 0 };
    },
    close: async () => undefined,
  };
  const events: Event[] = [];
  const kept: [reason: string, readings: number][] = [];
  const event = (one: Event): void => void events.push(one);
  const order: string[] = [];
  const forwarder = new Forwarder({
    name: "otlp",
    target,
    cursor,
    descriptors,
    clock,
    log,
    event,
    commit: async () => void order.push(`commit ${events.length} events`),
    letters: {
      keep: async (_target, reason, batch) => {
        kept.push([reason, batch.readings]);
        return "a.letter";
      },
    },
    gateway: descriptor,
  });
  const append = (values: number[], more: (writer: BatchWriter) => void = () => undefined): void => {
    const writer = new BatchWriter();
    const frame = createFrame(Uint32Array.from(values, (_, row) => row));
    frame.time_us = clock.now_us();
    frame.doubles.set(values);
    writer.frame(descriptors.idOf(descriptor), frame);
    more(writer);
    records.push({ seq: records.length + 1, ...writer.finish() });
    wake();
  };
  const valuesOf = (batch: Batch | undefined): number[] =>
    batch?.frames.flatMap(({ frame }) => [...frame.doubles.subarray(0, frame.count)]) ?? [];
  return { clock, forwarder, append, answers, batches, times, advanced, events, kept, valuesOf, descriptors, order };
}

describe("forwarding", () => {
  test("delivers in order and acknowledges what is through", async () => {
    const { clock, forwarder, append, batches, advanced, valuesOf } = rig();
    append([1, 2]);
    append([3]);
    forwarder.start();
    await clock.advance(10);
    append([4, 5]);
    await clock.advance(10);
    assert.deepEqual(batches.map(valuesOf), [
      [1, 2, 3],
      [4, 5],
    ]);
    assert.deepEqual(advanced, [
      [2, 3, 0],
      [3, 2, 0],
    ]);
    await forwarder.stop(0);
  });

  test("tries the same batch again until it is taken, soon at first, never slower than the bound", async () => {
    const { clock, forwarder, append, answers, batches, times, advanced } = rig();
    append([1]);
    for (let count = 0; count < 12; count++) answers.push({ kind: "retry", reason: "connection refused" });
    forwarder.start();
    await clock.advance(60_000);
    assert.equal(batches.length, 13);
    assert.equal(new Set(batches).size, 1, "the same object: targets remember progress by it");
    const waits = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    assert.ok(waits[0] !== undefined && waits[0] <= 250);
    assert.ok(Math.max(...waits) <= 2500, "the first export after a return comes within 3 s");
    assert.deepEqual(advanced, [[1, 1, 0]]);
    await forwarder.stop(0);
  });

  test("waits as long as the receiver asks", async () => {
    const { clock, forwarder, append, answers, times } = rig();
    append([1]);
    answers.push({ kind: "retry", reason: "429", wait_ms: 30_000 });
    forwarder.start();
    await clock.advance(60_000);
    assert.deepEqual(times, [0, 30_000]);
    await forwarder.stop(0);
  });

  test("refused data is dropped, counted, and told as a gap for this target alone", async () => {
    const { clock, forwarder, append, answers, advanced, events, kept, order } = rig();
    append([1, 2, 3]);
    answers.push({ kind: "refused", reason: "400 bad request" });
    forwarder.start();
    await clock.advance(10);
    assert.deepEqual(advanced, [[1, 0, 3]]);
    assert.deepEqual(kept, [["400 bad request", 3]]);
    assert.match(String(events[0]?.attributes["gap.detail"]), /400 bad request; kept in a\.letter/);
    assert.equal(events[0]?.name, "lineside.gap");
    assert.equal(events[0]?.target, "otlp");
    assert.deepEqual(events[0]?.attributes["gap.points"], ["p0", "p1", "p2"]);
    assert.equal(events[0]?.attributes["gap.readings"], 3);
    assert.deepEqual(order, ["commit 1 events", "advance 1"], "no drop is durable before its gap");
    await forwarder.stop(0);
  });

  test("a batch that is too large goes in smaller ones, down to one reading, in order", async () => {
    const { clock, forwarder, append, answers, batches, advanced, valuesOf } = rig();
    append([1, 2, 3, 4]);
    answers.push({ kind: "too_large", reason: "413" }, { kind: "too_large", reason: "413" });
    // A receiver short of memory says the same; a single reading waits for it.
    answers.push({ kind: "too_large", reason: "413" });
    forwarder.start();
    await clock.advance(1000);
    assert.deepEqual(batches.map(valuesOf), [[1, 2, 3, 4], [1, 2], [1], [1], [2], [3, 4]]);
    assert.deepEqual(advanced, [[1, 4, 0]]);
    await forwarder.stop(0);
  });

  test("a single reading that stays too large for a minute is refused, and the rest goes on", async () => {
    const { clock, forwarder, append, answers, advanced, events } = rig();
    append([1]);
    for (let tries = 0; tries < 26; tries++) answers.push({ kind: "too_large", reason: "413" });
    append([2]);
    forwarder.start();
    await clock.advance(120_000);
    assert.deepEqual(advanced, [[2, 1, 1]]);
    assert.equal(events[0]?.attributes["gap.reason"], "refused");
    await forwarder.stop(0);
  });

  test("partial rejects and losses before the journal are dropped, not delivered", async () => {
    const { clock, forwarder, append, answers, advanced, events } = rig();
    append([1, 2], (writer) => writer.lost(7));
    answers.push({ kind: "delivered", rejected: 1, reason: "too old" });
    forwarder.start();
    await clock.advance(10);
    assert.deepEqual(advanced, [[1, 1, 8]]);
    assert.equal(events[0]?.attributes["gap.reason"], "rejected");
    await forwarder.stop(0);
  });

  test("a gap that is refused with readings is told again; refused alone it is not", async () => {
    const { clock, forwarder, append, answers, events, descriptors } = rig();
    const outage = {
      descriptor,
      points: ["p0"],
      from_us: 1e6,
      to_us: 5e6,
      reason: "timeout",
      readings: 4,
      estimated: true,
    };
    const told = (writer: BatchWriter): void => writer.event(descriptors.idOf(descriptor), gapEvent(outage, 6e6));
    append([1], told);
    answers.push({ kind: "refused", reason: "400" });
    forwarder.start();
    await clock.advance(10);
    const gaps = events.map(({ attributes }) => [
      attributes["gap.reason"],
      attributes["gap.readings"],
      attributes["gap.from"],
    ]);
    assert.deepEqual(gaps[1], ["timeout", 4, "1970-01-01T00:00:01.000000Z"]);
    assert.equal(gaps.length, 2);
    append([], told);
    answers.push({ kind: "refused", reason: "400" });
    await clock.advance(10);
    assert.equal(events.length, 2);
    await forwarder.stop(0);
  });

  test("a receiver that rejects more data points than there are readings, or an event, is believed within reason", async () => {
    const { clock, forwarder, append, answers, advanced, events, descriptors } = rig();
    append([1, 2]);
    // A state of five names is five data points.
    answers.push({ kind: "delivered", rejected: 10, reason: "too old" });
    forwarder.start();
    await clock.advance(10);
    append([], (writer) => writer.event(descriptors.idOf(descriptor), EVENT));
    answers.push({ kind: "delivered", rejected: 1, reason: "no logs here" });
    await clock.advance(10);
    assert.deepEqual(advanced, [
      [1, 0, 2],
      [2, 0, 0],
    ]);
    assert.equal(events.length, 1, "an event that was rejected is no reading missing");
    await forwarder.stop(0);
  });

  test("one reading and its events that are too large together go apart", async () => {
    const { clock, forwarder, append, batches, answers, advanced, valuesOf, descriptors } = rig();
    append([1], (writer) => {
      for (let count = 0; count < 2; count++) writer.event(descriptors.idOf(descriptor), EVENT);
    });
    answers.push({ kind: "too_large", reason: "413" }, { kind: "delivered", rejected: 0 });
    answers.push({ kind: "too_large", reason: "413" });
    forwarder.start();
    await clock.advance(10);
    assert.deepEqual(
      batches.map((batch) => [valuesOf(batch).length, batch.events.length]),
      [
        [1, 2],
        [1, 0],
        [0, 2],
        [0, 1],
        [0, 1],
      ],
    );
    append([1, 2, 3]);
    await clock.advance(10);
    assert.deepEqual(valuesOf(batches.at(-1)), [1, 2, 3], "large events do not make batches of readings small");
    assert.equal(advanced.length, 2);
    await forwarder.stop(0);
  });

  test("a receiver that asks for no wait at all is not hammered", async () => {
    const { clock, forwarder, append, answers, batches } = rig();
    append([1]);
    for (let count = 0; count < 100; count++) answers.push({ kind: "retry", reason: "503", wait_ms: 0 });
    forwarder.start();
    await clock.advance(10_000);
    assert.ok(batches.length < 12, `${batches.length} tries in 10 s`);
    await forwarder.stop(0);
  });

  test("what a device was before and after a change never shares a batch: targets group by descriptor", async () => {
    const { clock, forwarder, append, batches, advanced, descriptors, valuesOf } = rig();
    const changed = { ...descriptor, resource: { "device.firmware.version": "2" } };
    const later = (value: number, now: Descriptor) => (writer: BatchWriter) => {
      const frame = createFrame(Uint32Array.of(0));
      frame.doubles[0] = value;
      writer.frame(descriptors.idOf(now), frame);
    };
    append([1], later(2, changed));
    append([3], later(4, { ...descriptor, device: "neighbour" }));
    forwarder.start();
    await clock.advance(10);
    assert.deepEqual(batches.map(valuesOf), [[1], [2], [3, 4]]);
    assert.deepEqual(advanced, [[2, 4, 0]]);
    await forwarder.stop(0);
  });

  test("events meant for another target are left out", async () => {
    const { clock, forwarder, append, batches, descriptors } = rig();
    const event = { name: "x", time_us: 1, severity: "info" as const, body: "", attributes: {} };
    append([1], (writer) => {
      writer.event(descriptors.idOf(descriptor), { ...event, target: "other" });
      writer.event(descriptors.idOf(descriptor), { ...event, name: "mine", target: "otlp" });
      writer.event(descriptors.idOf(descriptor), { ...event, name: "all" });
    });
    forwarder.start();
    await clock.advance(10);
    assert.deepEqual(
      batches[0]?.events.map(({ name }) => name),
      ["mine", "all"],
    );
    await forwarder.stop(0);
  });
});
