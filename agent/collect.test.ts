import type { Batch, Descriptor, Target } from "#adapters/contract.ts";
import { createFrame } from "#adapters/frame.ts";
import type { Journal } from "#buffer/contract.ts";
import { openJournal } from "#buffer/journal.ts";
import { VirtualClock } from "#test/virtual-clock.ts";
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { decodePayload } from "./batch/reader.ts";
import { BatchWriter } from "./batch/writer.ts";
import { Collector } from "./collect.ts";
import { Descriptors } from "./descriptors.ts";
import { Forwarder } from "./forward.ts";
import { gapEvent } from "./gap.ts";
import { lossEntry } from "./loss.ts";
import { AgentState } from "./state.ts";

const series = [0, 1].map((index) => ({
  name: `p${index}`,
  metric: "m",
  unit: "1",
  description: "",
  kind: index === 0 ? ("gauge" as const) : ("counter" as const),
  value: "double" as const,
  monotonic: index === 1,
  attributes: {},
}));
const descriptor: Descriptor = {
  device: "d",
  source: "modbus",
  resource: {},
  scope: { name: "t", version: "1" },
  series,
};
const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "lineside-collect-"));
});
afterEach(async () => await rm(dir, { recursive: true, force: true }));

async function open(clock: VirtualClock, limit_bytes = 64 * 1024 * 1024) {
  const holder: { descriptors: Descriptors | null } = { descriptors: null };
  const journal = await openJournal({
    dir,
    limit_bytes,
    onLoss: async (loss) =>
      holder.descriptors === null
        ? null
        : await lossEntry(loss, holder.descriptors, descriptor, clock, new BatchWriter()),
  });
  const descriptors = new Descriptors(journal);
  holder.descriptors = descriptors;
  const state = AgentState.decode(journal.checkpoint);
  const replayed: Promise<void> = (async () => {
    for await (const record of journal.replay()) {
      await descriptors.load(record.references);
      state.replay(record.payload, descriptors.get);
    }
  })();
  await replayed;
  return { journal, descriptors, state };
}

function push(collector: Collector, clock: VirtualClock, value: number): void {
  const frame = createFrame(Uint32Array.of(0, 1));
  frame.time_us = clock.now_us();
  frame.doubles.set([value, value]);
  frame.starts_us = Float64Array.of(0, 1000);
  collector.push(descriptor, frame);
}

/** Puts a failure in front of a real journal's commits. */
function failing(journal: Journal, state: { fail: boolean }): Journal {
  return new Proxy(journal, {
    get: (target, key) => {
      if (key === "commit" && state.fail) return async () => await Promise.reject(new Error("no space left on device"));
      const value: unknown = Reflect.get(target, key);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

describe("collecting", () => {
  test("one commit an interval, whatever the number of frames, and the state comes back", async () => {
    const clock = new VirtualClock();
    const { journal, descriptors, state } = await open(clock);
    const collector = new Collector({ journal, descriptors, clock, log, commit_interval_ms: 1000, state });
    state.device("d").counters.set("p1", { start_us: 1000, last: 0, offset: 0 });
    collector.renewCheckpoint();
    collector.start();
    const before = journal.stats().commits;
    for (let index = 1; index <= 30; index++) {
      push(collector, clock, index);
      await clock.advance(100);
    }
    // Commits are real I/O: give the last of them its time.
    while (collector.waiting > 20) await clock.advance(1000);
    await collector.stop();
    assert.ok(journal.stats().commits - before <= 6, `${journal.stats().commits - before} commits`);
    assert.equal(journal.stats().head_weight, 60);
    await journal.close();
    const again = await open(clock);
    assert.equal(again.state.devices.get("d")?.counters.get("p1")?.last, 30);
    assert.equal(again.state.devices.get("d")?.last_us, clock.wall_us + 2_900_000);
    await again.journal.close();
  });

  test("while the disk fails readings wait in memory; beyond the bound they are lost, counted and told", async () => {
    const clock = new VirtualClock();
    const { journal, descriptors, state } = await open(clock);
    const disk = { fail: true };
    const options = { descriptors, clock, log, commit_interval_ms: 1000, state, waiting_bytes_max: 2000 };
    const collector = new Collector({ ...options, journal: failing(journal, disk) });
    const batches: Batch[] = [];
    const target: Target = {
      deliver: async (batch) => {
        batches.push(batch);
        return { kind: "delivered", rejected: 0 };
      },
      close: async () => undefined,
    };
    const cursor = await journal.cursor("otlp", { from: "start" });
    const event = (one: Parameters<Collector["event"]>[0]): void => collector.event(one);
    const forwarder = new Forwarder({
      name: "otlp",
      target,
      cursor,
      descriptors,
      clock,
      log,
      event,
      commit: async () => await collector.commit(),
      letters: { keep: async () => null },
      gateway: descriptor,
    });
    forwarder.start();
    for (let index = 1; index <= 100; index++) {
      push(collector, clock, index);
      await collector.commit();
      assert.equal(collector.waiting + collector.lost, index * 2);
    }
    assert.ok(collector.lost > 0);
    disk.fail = false;
    push(collector, clock, 101);
    await collector.commit();
    await collector.commit();
    assert.equal(collector.waiting, 0);
    assert.equal(collector.untold, 0);
    await clock.advance(100);
    while (cursor.stats().queued > 0) await clock.advance(100);
    const { committed, delivered, queued, dropped, imbalance } = cursor.stats();
    assert.deepEqual({ committed, queued, imbalance }, { committed: 202, queued: 0, imbalance: 0 });
    assert.equal(dropped, collector.lost);
    assert.equal(delivered, 202 - collector.lost);
    const gaps = batches.flatMap(({ events }) => events).filter(({ name }) => name === "lineside.gap");
    assert.equal(
      gaps.reduce((sum, gap) => sum + Number(gap.attributes["gap.readings"]), 0),
      collector.lost,
    );
    const seen = batches.flatMap(({ frames }) => frames.map(({ frame }) => frame.doubles[0] ?? 0));
    assert.deepEqual(
      seen,
      [...seen].sort((a, b) => a - b),
      "in order",
    );
    assert.equal(seen.at(-1), 101);
    await forwarder.stop(0);
    await journal.close();
  });

  test("a journal that is full tells a slow target what it lost, exactly", async () => {
    const clock = new VirtualClock();
    const { journal, descriptors, state } = await open(clock, 2 * 1024 * 1024);
    const collector = new Collector({ journal, descriptors, clock, log, commit_interval_ms: 1000, state });
    const cursor = await journal.cursor("slow", { from: "start" });
    const noise = new Float64Array(4000);
    const frame = createFrame(Uint32Array.from({ length: noise.length }, (_, row) => row % 2));
    let pushed = 0;
    for (let index = 0; index < 100; index++) {
      await clock.advance(1000);
      frame.time_us = clock.now_us();
      for (let row = 0; row < noise.length; row++) frame.doubles[row] = Math.random();
      collector.push(descriptor, frame);
      pushed += noise.length;
      await collector.commit();
      assert.ok(journal.stats().bytes_on_disk <= 2 * 1024 * 1024);
    }
    const { dropped, queued, imbalance } = cursor.stats();
    assert.ok(dropped > 0);
    assert.equal(imbalance, 0);
    assert.equal(dropped + queued, pushed);
    let told = 0;
    let read = 0;
    while (read < queued) {
      const records = await cursor.read({ bytes_max: 1e6, entries_max: 100 });
      for (const record of records) await descriptors.load(record.references);
      for (const record of records) {
        read += record.weight;
        for (const event of decodePayload(record.payload, descriptors.get).events) {
          assert.equal(event.attributes["gap.reason"], "buffer_full");
          told += Number(event.attributes["gap.readings"]);
        }
      }
    }
    assert.equal(told, dropped);
    await journal.close();
  });

  test("a gap of one target that never reaches the journal is told again to that target", async () => {
    const clock = new VirtualClock();
    const { journal, descriptors, state } = await open(clock);
    const disk = { fail: true };
    const options = { descriptors, clock, log, commit_interval_ms: 1000, state, waiting_bytes_max: 100 };
    const collector = new Collector({ ...options, journal: failing(journal, disk) });
    const gap = { descriptor, points: [], from_us: 1e6, to_us: 2e6, reason: "refused", readings: 7, estimated: false };
    for (const target of ["one", "two"]) collector.event(gapEvent({ ...gap, target }, 3e6));
    push(collector, clock, 1);
    await collector.commit();
    assert.equal(collector.untold, 2);
    disk.fail = false;
    // The first commit after a failure finds out that there is room again, the second one tells.
    await collector.commit();
    await collector.commit();
    const cursor = await journal.cursor("one", { from: "start" });
    const records = await cursor.read({ bytes_max: 1e6, entries_max: 100 });
    const told = records.flatMap(({ payload }) => decodePayload(payload, descriptors.get).events);
    assert.deepEqual(
      told.map(({ target, attributes }) => [target, attributes["gap.reason"], attributes["gap.readings"]]),
      [
        [undefined, "journal_unwritable", 2],
        ["one", "refused", 7],
        ["two", "refused", 7],
      ],
    );
    assert.equal(collector.untold, 0);
    await journal.close();
  });

  test("a frame larger than a small journal takes in one commit is written in parts", async () => {
    const clock = new VirtualClock();
    const { journal, descriptors, state } = await open(clock, 2 * 1024 * 1024);
    const collector = new Collector({ journal, descriptors, clock, log, commit_interval_ms: 1000, state });
    const rows = 10_000;
    const many = {
      ...descriptor,
      series: Array.from({ length: rows }, (_, index) => ({ ...series[0], name: `q${index}` })),
    };
    const frame = createFrame(Uint32Array.from({ length: rows }, (_, row) => row));
    frame.time_us = clock.now_us();
    // Noise: nothing that compression could help with.
    for (let row = 0; row < rows; row++) frame.doubles[row] = Math.random();
    collector.push(many as Descriptor, frame);
    await collector.commit();
    assert.equal(collector.waiting, 0);
    assert.equal(journal.stats().head_weight, rows);
    await journal.close();
  });
});
