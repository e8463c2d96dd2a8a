import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  acknowledge,
  drain,
  isGap,
  numbered,
  numberOf,
  openAt,
  range,
  temporaryDirectory,
  weightOf,
} from "#test/buffer/journals.ts";
import { JournalError } from "./contract.ts";
import { openJournal } from "./journal.ts";
import { createLevelStore, diskBytes } from "./level-store.ts";
import type { Store } from "./store.ts";

const MIB = 1024 * 1024;
const code = (expected: string) => (error: unknown) => error instanceof JournalError && error.code === expected;
const ALL = { bytes_max: 1e9, entries_max: 1e6 };

describe("commit and read", () => {
  test("records come back in order, whole, with what describes them", async (t) => {
    const { journal } = await openAt(await temporaryDirectory(t));
    const cursor = await journal.cursor("a", { from: "start" });
    const first = journal.describe(Buffer.from("first"));
    const second = journal.describe(Buffer.from("second"));
    assert.equal(journal.describe(Buffer.from("first")), first, "equal bytes share an id");
    await journal.commit({ entries: [numbered(1, 50, [first]), numbered(2, 60, [second, first])] });
    await journal.commit({ entries: [numbered(3, 70)] });
    const records = await cursor.read(ALL);
    assert.deepEqual(records.map(numberOf), [1, 2, 3]);
    assert.deepEqual(
      records.map((record) => record.references),
      [[first], [second, first], []],
    );
    assert.equal(Buffer.from(await journal.description(second)).toString(), "second");
    assert.ok((records[1]?.seq ?? 0) > (records[0]?.seq ?? 0));
    await journal.close();
  });

  test("a read gives at least one record, and no more than it was asked for", async (t) => {
    const { journal } = await openAt(await temporaryDirectory(t));
    const cursor = await journal.cursor("a", { from: "start" });
    await journal.commit({ entries: range(1, 10).map((id) => numbered(id, 1000)) });
    assert.deepEqual((await cursor.read({ bytes_max: 1, entries_max: 9 })).map(numberOf), [1]);
    assert.deepEqual((await cursor.read({ bytes_max: 3000, entries_max: 9 })).map(numberOf), [2, 3, 4]);
    assert.deepEqual((await cursor.read({ bytes_max: 1e6, entries_max: 2 })).map(numberOf), [5, 6]);
    assert.equal(
      cursor.unread,
      [7, 8, 9, 10].reduce((sum, id) => sum + weightOf(id), 0),
    );
    await journal.close();
  });

  test("a read at the end waits for the next commit, an abort or the close", async (t) => {
    const { journal } = await openAt(await temporaryDirectory(t));
    const cursor = await journal.cursor("a", { from: "start" });
    const waiting = cursor.read(ALL);
    await assert.rejects(cursor.read(ALL), code("journal_cursor"), "one read at a time");
    await journal.commit({ entries: [numbered(1)] });
    assert.deepEqual((await waiting).map(numberOf), [1]);
    const abort = new AbortController();
    const aborted = cursor.read(ALL, abort.signal);
    abort.abort(new Error("enough"));
    await assert.rejects(aborted, /enough/);
    const closing = cursor.read(ALL);
    const ended = assert.rejects(closing, code("journal_closed"));
    await journal.close();
    await ended;
    await assert.rejects(journal.commit({ entries: [numbered(2)] }), code("journal_closed"));
  });

  test("a cursor from the end sees what comes; one from the start sees what is there", async (t) => {
    const { journal } = await openAt(await temporaryDirectory(t));
    await journal.commit({ entries: [numbered(1)] });
    const end = await journal.cursor("end", { from: "end" });
    const start = await journal.cursor("start", { from: "start" });
    assert.equal(await journal.cursor("end", { from: "start" }), end, "opened again, it is the same");
    await journal.commit({ entries: [numbered(2)] });
    assert.deepEqual(await drain(end), [2]);
    assert.deepEqual(await drain(start), [1, 2]);
    await journal.removeCursor("end");
    await assert.rejects(end.read(ALL), code("journal_closed"));
    assert.deepEqual(
      journal.stats().cursors.map((cursor) => cursor.name),
      ["start"],
    );
    await journal.close();
  });

  test("mistakes are refused and change nothing", async (t) => {
    const { journal } = await openAt(await temporaryDirectory(t), { limit_bytes: 2 * MIB });
    const cursor = await journal.cursor("a", { from: "start" });
    await journal.commit({ entries: [numbered(1), numbered(2)] });
    const [one, two] = await cursor.read(ALL);
    const before = cursor.stats();
    assert.throws(() => cursor.advance(99, { delivered: 1, dropped: 0 }), code("journal_cursor"));
    assert.throws(() => cursor.advance(two?.seq ?? 0, { delivered: 1, dropped: 0 }), code("journal_conservation"));
    assert.throws(() => cursor.advance(two?.seq ?? 0, { delivered: 6, dropped: -1 }), code("journal_conservation"));
    assert.deepEqual(cursor.stats(), before);
    cursor.advance(one?.seq ?? 0, { delivered: 1, dropped: 1 });
    assert.throws(() => cursor.advance(one?.seq ?? 0, { delivered: 2, dropped: 0 }), code("journal_cursor"));
    await assert.rejects(journal.commit({ entries: [numbered(3, MIB)] }), code("journal_too_large"));
    await assert.rejects(journal.commit({ entries: [numbered(3, 10, [77])] }), code("journal_description"));
    await assert.rejects(journal.commit({ entries: [{ ...numbered(3), weight: -1 }] }), code("journal_conservation"));
    await assert.rejects(journal.description(77), code("journal_description"));
    await journal.commit({ entries: [numbered(3)] });
    cursor.rewind();
    assert.deepEqual(await drain(cursor), [2, 3]);
    await journal.close();
    for (const options of [{ limit_bytes: MIB }, { segment_bytes: 1024 }, { segment_bytes: 10 * MIB }]) {
      await assert.rejects(
        openAt(await temporaryDirectory(t), options),
        options.segment_bytes === 10 * MIB ? /1\/8/ : code("journal_config"),
      );
    }
  });

  test("what was read and not acknowledged comes again after a rewind, in order", async (t) => {
    const { journal } = await openAt(await temporaryDirectory(t), { tail_bytes: 3000 });
    const cursor = await journal.cursor("a", { from: "start" });
    await journal.commit({ entries: range(1, 20).map((id) => numbered(id, 500)) });
    const records = await cursor.read({ bytes_max: 1e6, entries_max: 8 });
    acknowledge(cursor, records.slice(0, 3));
    cursor.rewind();
    assert.deepEqual(await drain(cursor), range(4, 20));
    await journal.close();
  });
});

describe("reopening", () => {
  test("cursors, descriptions, checkpoint and what follows it come back", async (t) => {
    const dir = await temporaryDirectory(t);
    const first = await openAt(dir);
    const id = first.journal.describe(Buffer.from("series"));
    const cursor = await first.journal.cursor("a", { from: "start" });
    await first.journal.commit({ entries: [numbered(1, 99, [id]), numbered(2)], checkpoint: Buffer.from("after 2") });
    await first.journal.commit({ entries: [numbered(3)] });
    acknowledge(cursor, await cursor.read({ bytes_max: 1, entries_max: 1 }));
    await first.journal.close();

    const { journal, faults } = await openAt(dir);
    assert.equal(Buffer.from(journal.checkpoint ?? []).toString(), "after 2");
    const replayed: number[] = [];
    for await (const record of journal.replay()) replayed.push(numberOf(record));
    assert.deepEqual(replayed, [3]);
    assert.equal(journal.describe(Buffer.from("series")), id);
    assert.notEqual(journal.describe(Buffer.from("another")), id);
    const again = await journal.cursor("a", { from: "end" });
    assert.deepEqual(again.stats(), { ...again.stats(), delivered: weightOf(1), queued: weightOf(2) + weightOf(3) });
    await journal.commit({ entries: [numbered(4)] });
    assert.deepEqual(await drain(again), [2, 3, 4]);
    assert.deepEqual(faults, []);
    await journal.close();
    await journal.close();
  });

  test("a new segment asks for a checkpoint and stands alone", async (t) => {
    const dir = await temporaryDirectory(t);
    let state = 0;
    const options = { segment_bytes: 32 * 1024, checkpoint: () => Buffer.from(String(state)) };
    const first = await openAt(dir, options);
    const id = first.journal.describe(Buffer.from("series"));
    const cursor = await first.journal.cursor("a", { from: "start" });
    for (state = 1; state <= 60; state++) {
      await first.journal.commit({ entries: [numbered(state, 2000, [id])] });
      acknowledge(cursor, await cursor.read(ALL));
    }
    assert.ok(first.journal.stats().segments <= 2, "what is delivered is removed");
    await first.journal.close();
    const { journal } = await openAt(dir, options);
    const after = Number(Buffer.from(journal.checkpoint ?? []).toString());
    const replayed: number[] = [];
    for await (const record of journal.replay()) replayed.push(numberOf(record));
    assert.deepEqual(replayed, range(after + 1, 60));
    assert.equal(journal.describe(Buffer.from("series")), id, "the description came along");
    await journal.close();
  });

  test("a backlog is not held in memory: few of its segments are open, while it grows and while it is read", async (t) => {
    const dir = await temporaryDirectory(t);
    const store = createLevelStore(dir);
    let open = 0;
    let most = 0;
    const counting: Store = {
      ...store,
      async openSegment(name, options) {
        const segment = await store.openSegment(name, options);
        most = Math.max(most, ++open);
        return { ...segment, close: async () => (open--, await segment.close()) };
      },
    };
    const options = {
      dir,
      limit_bytes: 64 * MIB,
      segment_bytes: 32 * 1024,
      tail_bytes: 1024,
      onLoss: async () => null,
    };
    const journal = await openJournal(options, counting);
    const cursor = await journal.cursor("a", { from: "start" });
    for (const id of range(1, 100)) await journal.commit({ entries: [numbered(id, 8000)] });
    assert.ok(journal.stats().segments > 20);
    assert.ok(most <= 4, `${most} were open while it grew`);
    assert.deepEqual(await drain(cursor, { bytes_max: 16_000, entries_max: 2 }), range(1, 100));
    assert.ok(most <= 4, `${most} were open while it was read`);
    await journal.close();
    assert.equal(open, 0);
  });

  test("one process at a time, and the error says what to do", async (t) => {
    const dir = await temporaryDirectory(t);
    const { journal } = await openAt(dir);
    await assert.rejects(
      openAt(dir),
      (error) => code("journal_locked")(error) && (error as Error).message.includes(dir),
    );
    await journal.close();
    const again = await openAt(dir);
    await again.journal.close();
  });
});

describe("the byte bound", () => {
  test("holds on disk at every commit; a slow target loses its own oldest, counted and told, no other does", async (t) => {
    const dir = await temporaryDirectory(t);
    const limit_bytes = 3 * MIB;
    const { journal, losses, faults } = await openAt(dir, { limit_bytes });
    const fast = await journal.cursor("fast", { from: "start" });
    const slow = await journal.cursor("slow", { from: "start" });
    const delivered: number[] = [];
    let peak = 0;
    for (let id = 1; id <= 300; id++) {
      await journal.commit({ entries: [numbered(id, 20_000)] });
      const records = await fast.read(ALL);
      delivered.push(...records.filter((record) => !isGap(record)).map(numberOf));
      acknowledge(fast, records);
      peak = Math.max(peak, await diskBytes(dir));
      for (const stats of journal.stats().cursors) assert.equal(stats.imbalance, 0);
    }
    assert.ok(peak <= limit_bytes, `${peak} bytes`);
    assert.ok(peak > limit_bytes / 3, `${peak} bytes: the bound is used`);
    assert.deepEqual(delivered, range(1, 300), "the fast one missed nothing");
    const lost = losses.flatMap((loss) => loss.ids);
    assert.ok(losses.length > 5);
    assert.ok(losses.every((loss) => loss.target === "slow" && loss.reason === "overflow"));
    assert.deepEqual([...lost, ...(await drain(slow))], range(1, 300), "lost and delivered make the whole, in order");
    const weight = lost.reduce((sum, id) => sum + weightOf(id), 0);
    assert.equal(slow.stats().dropped, weight);
    assert.equal(
      losses.reduce((sum, loss) => sum + loss.weight, 0),
      weight,
    );
    assert.deepEqual(faults, []);
    await journal.commit({ entries: [] });
    assert.ok((await diskBytes(dir)) < limit_bytes / 3, "drained, it gives the disk back");
    await journal.close();
  });

  test("records in flight when they are given up are counted once", async (t) => {
    const { journal, losses } = await openAt(await temporaryDirectory(t), { limit_bytes: 2 * MIB });
    const cursor = await journal.cursor("a", { from: "start" });
    await journal.commit({ entries: [numbered(1, 20_000), numbered(2, 20_000)] });
    const inFlight = await cursor.read(ALL);
    for (let id = 3; losses.length === 0; id++) await journal.commit({ entries: [numbered(id, 20_000)] });
    acknowledge(cursor, inFlight);
    const { delivered, dropped, imbalance } = cursor.stats();
    assert.equal(delivered, 0, "given up before it was acknowledged: it stays dropped");
    assert.equal(dropped, losses[0]?.weight);
    assert.equal(imbalance, 0);
    await journal.close();
  });

  test("a callback that fails does not stop the journal; the loss is counted and the fault reported", async (t) => {
    const faults: string[] = [];
    const { journal } = await openAt(await temporaryDirectory(t), {
      limit_bytes: 2 * MIB,
      onLoss: () => Promise.reject(new Error("no")),
      onFault: (fault) => faults.push(fault.code),
    });
    const cursor = await journal.cursor("a", { from: "start" });
    for (let id = 1; id <= 100; id++) await journal.commit({ entries: [numbered(id, 20_000)] });
    const { dropped, queued, committed } = cursor.stats();
    assert.ok(dropped > 0);
    assert.equal(dropped + queued, committed);
    assert.ok(faults.length > 0 && faults.every((fault) => fault === "journal_loss_handler"));
    await journal.close();
  });

  test("without any cursor the journal keeps what fits", async (t) => {
    const dir = await temporaryDirectory(t);
    const { journal } = await openAt(dir, { limit_bytes: 2 * MIB });
    for (let id = 1; id <= 150; id++) await journal.commit({ entries: [numbered(id, 20_000)] });
    assert.ok((await diskBytes(dir)) <= 2 * MIB);
    const late = await journal.cursor("late", { from: "start" });
    const ids = await drain(late);
    assert.deepEqual(ids, range(ids[0] ?? 0, 150));
    assert.ok(ids.length > 20);
    await journal.close();
  });
});
