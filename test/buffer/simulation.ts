/**
 * The journal on a simulated disk, in many short lives: a committer and two targets work at once while the disk
 * fills, refuses, crashes and rots. After every schedule the whole history is accounted for.
 *
 * It runs in a worker of its own: the test runner's promise hooks would take most of the time.
 */
import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { Random, SimulatedDisk } from "./simulated-disk.ts";
import {
  type Cursor,
  type Entry,
  type Journal,
  JournalError,
  type JournalRecord,
  type Loss,
} from "#buffer/contract.ts";
import { openJournal } from "#buffer/journal.ts";
import { decodeEntry, KIND, parseSegmentName } from "#buffer/layout.ts";
import type { Pair } from "#buffer/store.ts";

const LIMIT_BYTES = 2 * 1024 * 1024;
const SEGMENT_BYTES = 64 * 1024;
/** At most so much padding an entry, and so many entries a commit: some 40 commits fill the disk. */
const PADDING_BYTES = 40_000;
const ENTRIES_MAX = 3;

/** Which schedules a worker runs. */
export interface Simulation extends Options {
  readonly first_seed: number;
  readonly seeds: number;
}

/** How often what was provoked came about. */
export type Counts = Schedule["counts"];

/** What an entry says, for the checks. */
interface Said {
  readonly id: number;
  readonly descriptions: readonly string[];
  readonly gap?: {
    readonly target: string;
    readonly after_seq: number;
    readonly to_seq: number;
    readonly weight: number;
  };
}

/** The text, and as many zeros as make the entry heavy. */
function say(said: Said, padding: number): Uint8Array {
  const text = Buffer.from(`${JSON.stringify(said)}\0`);
  return Buffer.concat([text, Buffer.alloc(padding)]);
}

function parse(payload: Uint8Array): Said {
  const text = Buffer.from(payload.subarray(0, payload.indexOf(0)));
  return JSON.parse(text.toString()) as Said;
}

export interface Options {
  readonly crashes: boolean;
  readonly full: boolean;
  readonly refusals: boolean;
  readonly rot: boolean;
}

class Schedule {
  readonly random: Random;
  readonly disk: SimulatedDisk;
  readonly options: Options;
  /** Every record that ever became durable, by position. */
  readonly log = new Map<number, { readonly said: Said; readonly weight: number }>();
  /** Ids that a commit acknowledged. */
  readonly acknowledged = new Set<number>();
  /** Positions that each target has advanced past itself. */
  readonly seen = new Map<string, Set<number>>([
    ["a", new Set()],
    ["b", new Set()],
  ]);
  /** Where damage was done; elsewhere nothing may be found corrupt. */
  readonly spoilt = new Set<number>();
  next_id = 1;
  committed_id = 0;
  under_way_id = 0;
  kept: Entry[] = [];
  kept_ids: number[] = [];
  journal: Journal | null = null;
  stop = new AbortController();
  counts = { crashes: 0, losses: 0, refusals: 0, corrupt: 0 };

  constructor(seed: number, options: Options) {
    this.random = new Random(seed * 7 + 1);
    this.disk = new SimulatedDisk(seed);
    this.options = options;
    this.disk.onDurable = (pairs) => this.note(pairs);
  }

  note(pairs: Iterable<Pair>): void {
    for (const [key, value] of pairs) {
      const entry = decodeEntry(key, value);
      if (entry?.kind === KIND.record) this.log.set(entry.seq, { said: parse(entry.payload), weight: entry.weight });
    }
  }

  async onLoss(loss: Loss): Promise<Entry | null> {
    const read: number[] = [];
    let weight = 0;
    for await (const record of loss.records) {
      this.checkRecord(record);
      read.push(record.seq);
      weight += record.weight;
    }
    assert.deepEqual(
      read,
      read.toSorted((a, b) => a - b),
    );
    if (loss.reason === "overflow" && this.spoilt.size === 0 && !this.options.full) {
      assert.equal(weight, loss.weight, "an overflow is read before it goes");
    }
    let there = 0;
    for (const [seq, item] of this.log) if (seq > loss.after_seq && seq <= loss.to_seq) there += item.weight;
    assert.equal(loss.weight, there, `${loss.reason} of ${loss.target} ${loss.after_seq}..${loss.to_seq}`);
    this.counts.losses += 1;
    assert.ok(loss.reason === "overflow" || this.options.rot, "nothing is damaged where nobody did damage");
    if (loss.reason === "corrupt") this.counts.corrupt += 1;
    const { target, after_seq, to_seq } = loss;
    const said: Said = { id: 0, descriptions: [], gap: { target, after_seq, to_seq, weight: loss.weight } };
    return { payload: say(said, 0), weight: 0, references: [] };
  }

  async open(): Promise<Journal> {
    const open = () =>
      openJournal(
        {
          dir: "simulated",
          limit_bytes: LIMIT_BYTES,
          segment_bytes: SEGMENT_BYTES,
          tail_bytes: 80_000,
          checkpoint: () => Buffer.from(String(this.under_way_id)),
          onLoss: (loss) => this.onLoss(loss),
          // A failed check in a callback is not a fault to carry on from.
          onFault: (fault) => {
            if (fault.cause instanceof assert.AssertionError) throw fault.cause;
          },
        },
        this.disk,
      );
    const journal = await open().catch(async (error: unknown) => {
      assert.ok(this.options.full && error instanceof JournalError && error.code === "journal_open", String(error));
      // Somebody makes room, and the agent tries again.
      this.disk.capacity_bytes = Number.POSITIVE_INFINITY;
      return open();
    });
    this.journal = journal;
    const last = Math.max(0, ...this.log.keys());
    // A commit that the crash interrupted may have survived: checkpoint and replay bring it back.
    for (const { said } of this.log.values()) this.committed_id = Math.max(this.committed_id, said.id);
    this.under_way_id = this.committed_id;
    assert.ok(journal.stats().head_seq >= last, "the head never falls behind what was written");
    if (this.spoilt.size === 0 && this.disk.capacity_bytes === Number.POSITIVE_INFINITY)
      await this.checkReplay(journal);
    return journal;
  }

  async checkReplay(journal: Journal): Promise<void> {
    const from = journal.checkpoint === null ? 0 : Number(Buffer.from(journal.checkpoint).toString());
    const replayed: number[] = [];
    for await (const record of journal.replay()) {
      const { id } = parse(record.payload);
      if (id > 0) replayed.push(id);
    }
    const all = [...this.log].toSorted((a, b) => a[0] - b[0]).map(([, item]) => item.said.id);
    const expected = all.filter((id) => id > from);
    if (journal.checkpoint !== null) assert.deepEqual(replayed, expected, "checkpoint and replay make the whole");
  }

  checkRecord(record: JournalRecord): void {
    const known = this.log.get(record.seq);
    assert.ok(known, `position ${record.seq} was read, and never written`);
    assert.deepEqual(parse(record.payload), known.said);
    assert.equal(record.weight, known.weight);
  }

  where(): string {
    return JSON.stringify({
      stats: this.journal?.stats(),
      segments: this.disk.names(),
      operations: this.disk.operations,
    });
  }

  check(): void {
    for (const cursor of this.journal?.stats().cursors ?? []) assert.equal(cursor.imbalance, 0);
    assert.ok(this.disk.peak_bytes <= LIMIT_BYTES, `${this.disk.peak_bytes} bytes on disk, ${this.where()}`);
  }

  async committer(journal: Journal, steps: number): Promise<void> {
    const { random } = this;
    for (let step = 0; step < steps; step++) {
      for (let count = random.below(3); count > 0 && this.kept.length < ENTRIES_MAX; count--) {
        const id = this.next_id++;
        const descriptions = random.chance(70) ? [`d${random.below(4)}`, `e${random.below(3)}`] : [];
        const references = descriptions.map((text) => journal.describe(Buffer.from(text)));
        const payload = say({ id, descriptions }, random.below(PADDING_BYTES));
        this.kept.push({ payload, weight: random.below(50), references });
        this.kept_ids.push(id);
      }
      this.under_way_id = this.kept_ids.at(-1) ?? this.committed_id;
      const checkpoint = random.chance(10) ? { checkpoint: Buffer.from(String(this.under_way_id)) } : {};
      try {
        await journal.commit({ entries: this.kept, ...checkpoint });
        for (const id of this.kept_ids) this.acknowledged.add(id);
        this.committed_id = this.under_way_id;
        this.kept = [];
        this.kept_ids = [];
      } catch (error) {
        assert.ok(error instanceof JournalError && error.code === "journal_write", String(error));
        this.counts.refusals += 1;
        this.under_way_id = this.committed_id;
      }
      this.check();
      this.upset();
    }
  }

  /** Something that happens to the disk between two commits. */
  upset(): void {
    const { random, disk, options } = this;
    if (options.full && random.chance(8)) {
      const full = disk.capacity_bytes === Number.POSITIVE_INFINITY;
      disk.capacity_bytes = full ? disk.used_bytes() + random.below(300_000) : Number.POSITIVE_INFINITY;
    }
    if (options.refusals) {
      const on = random.chance(15);
      disk.faults.write_lost = on ? 50 : 0;
      // Not with rot: where the next segment is lost too, what a failed write left behind may come to light.
      disk.faults.write_kept = on && !options.rot ? 30 : 0;
    }
    if (options.rot && random.chance(5)) {
      // Not the newest one: it alone says where the cursors stand, and losing it sends them back.
      const names = disk.syncedNames();
      const name = random.pick(names.slice(0, -1));
      if (name === undefined) return;
      const end = (parseSegmentName(names[names.indexOf(name) + 1] ?? "")?.first ?? 0) - 1;
      if (random.chance(30)) {
        disk.spoilSegment(name);
        for (const seq of disk.pairsOf(name).keys()) this.spoilt.add(seq);
      } else {
        const seq = random.pick([...disk.pairsOf(name).keys()].filter((one) => one <= end));
        if (seq === undefined) return;
        disk.spoil(name, seq);
        this.spoilt.add(seq);
      }
    }
    if (options.crashes && disk.crash_in === null && random.chance(12)) disk.crash_in = 1 + random.below(30);
  }

  async target(journal: Journal, cursor: Cursor, slowness: number, signal: AbortSignal): Promise<void> {
    const { random } = this;
    let last = 0;
    let handed: JournalRecord[] = [];
    for (;;) {
      try {
        const records = await cursor.read(
          { bytes_max: random.below(100_000), entries_max: 1 + random.below(5) },
          signal,
        );
        for (const record of records) {
          assert.ok(record.seq > last, "in order");
          last = record.seq;
          this.checkRecord(record);
          const said = parse(record.payload);
          const texts = await Promise.all(record.references.map((id) => journal.description(id)));
          assert.deepEqual(
            texts.map((text) => Buffer.from(text).toString()),
            said.descriptions,
          );
          handed.push(record);
        }
      } catch (error) {
        if (signal.aborted) return;
        assert.ok(error instanceof JournalError, String(error));
        assert.ok(["journal_read", "journal_write", "journal_closed"].includes(error.code), String(error));
        if (error.code === "journal_closed") return;
      }
      for (let ticks = random.below(slowness); ticks > 0; ticks--) await Promise.resolve();
      if (signal.aborted) return;
      if (random.chance(10)) {
        cursor.rewind();
        handed = [];
        last = cursor.stats().seq;
      } else if (!random.chance(20)) {
        const count = 1 + random.below(handed.length);
        const done = handed.splice(0, count);
        const newest = done.at(-1);
        if (newest === undefined) continue;
        const delivered = done.reduce((sum, record) => sum + record.weight, 0);
        cursor.advance(newest.seq, { delivered, dropped: 0 });
        for (const record of done) this.seen.get(cursor.name)?.add(record.seq);
        this.check();
      }
    }
  }

  async life(): Promise<void> {
    const journal = await this.open();
    const stop = (this.stop = new AbortController());
    const targets: Promise<void>[] = [];
    for (const [name, slowness] of [
      ["a", 30],
      ["b", 400],
    ] as const) {
      let cursor: Cursor | null = null;
      for (let tries = 0; cursor === null; tries++) {
        try {
          cursor = await journal.cursor(name, { from: "start" });
        } catch (error) {
          assert.ok(error instanceof JournalError && error.code === "journal_write" && tries < 1000, String(error));
        }
      }
      targets.push(this.target(journal, cursor, slowness, stop.signal));
    }
    await Promise.race([this.committer(journal, 3 + this.random.below(30)), ...targets]);
    stop.abort();
    await Promise.all(targets);
    await journal.close();
  }

  async run(): Promise<void> {
    for (let life = 0; life < 5; life++) {
      const lived = this.life().then(() => "closed" as const);
      const how = await Promise.race([lived, this.disk.crashed.then(() => "crashed" as const)]);
      if (how === "crashed") {
        this.counts.crashes += 1;
        this.stop.abort();
        lived.catch(() => undefined);
        // What had happened before the power went takes its last steps.
        for (let ticks = 0; ticks < 100; ticks++) await Promise.resolve();
        this.disk.restart();
      }
      // What was not acknowledged dies with the process.
      this.kept = [];
      this.kept_ids = [];
      for (const name of this.disk.names()) this.survivors(name);
    }
    await this.settle();
  }

  /** A write that had failed, or that the crash interrupted, may have survived whole; it counts from now on. */
  survivors(name: string): void {
    const names = this.disk.names();
    const first = parseSegmentName(name)?.first ?? 0;
    const next = parseSegmentName(names[names.indexOf(name) + 1] ?? "")?.first ?? Number.MAX_SAFE_INTEGER;
    const pairs = [...this.disk.pairsOf(name)].filter(([seq]) => seq >= first && seq < next).map(([, pair]) => pair);
    this.note(pairs.filter(([key, value]) => !this.log.has(decodeEntry(key, value)?.seq ?? 0)));
  }

  /** The disk heals; all that is queued is drained; then the books are closed. */
  async settle(): Promise<void> {
    const { disk } = this;
    disk.capacity_bytes = Number.POSITIVE_INFINITY;
    disk.faults.write_lost = disk.faults.write_kept = 0;
    disk.crash_in = null;
    const journal = await this.open();
    for (const name of ["a", "b"]) {
      const cursor = await journal.cursor(name, { from: "start" });
      while (cursor.stats().queued > 0) {
        const records = await cursor.read({ bytes_max: 1e6, entries_max: 100 });
        for (const record of records) this.checkRecord(record);
        const delivered = records.reduce((sum, record) => sum + record.weight, 0);
        cursor.advance(records.at(-1)?.seq ?? 0, { delivered, dropped: 0 });
        for (const record of records) this.seen.get(name)?.add(record.seq);
      }
    }
    await journal.commit({ entries: [] });
    this.check();
    this.close(journal);
    await journal.close();
  }

  close(journal: Journal): void {
    const ids = [...this.log.values()].map((item) => item.said.id).filter((id) => id > 0);
    assert.equal(new Set(ids).size, ids.length, "nothing stands in the log twice");
    const logged = new Set(ids);
    for (const id of this.acknowledged) assert.ok(logged.has(id), `${id} was acknowledged and is not in the log`);
    const gaps = [...this.log.values()].flatMap((item) => item.said.gap ?? []);
    for (const stats of journal.stats().cursors) {
      const own = gaps.filter((gap) => gap.target === stats.name);
      assert.equal(
        stats.dropped,
        own.reduce((sum, gap) => sum + gap.weight, 0),
        "dropped is what the gaps say",
      );
      const seen = this.seen.get(stats.name);
      let covered = 0;
      for (const [seq, item] of this.log) {
        if (item.weight === 0) continue;
        const lost = own.filter((gap) => seq > gap.after_seq && seq <= gap.to_seq).length;
        assert.ok(lost <= 1, "no two gaps tell of the same record");
        assert.ok(lost === 1 || seen?.has(seq) === true, `${stats.name}: position ${seq} is neither seen nor in a gap`);
        covered += lost * item.weight;
      }
      assert.equal(stats.dropped, covered, "the gaps cover exactly what was dropped");
      assert.equal(stats.delivered + stats.dropped, stats.committed);
    }
  }
}

async function simulate({ first_seed, seeds, ...options }: Simulation): Promise<Counts> {
  const totals = { crashes: 0, losses: 0, refusals: 0, corrupt: 0 };
  for (let seed = first_seed; seed < first_seed + seeds; seed++) {
    const schedule = new Schedule(seed, options);
    try {
      // Time passes in microtasks: when the event loop turns and it is not over, it waits for what never comes.
      const stuck = setImmediate().then(() => assert.fail(`stuck: ${schedule.where()}`));
      await Promise.race([schedule.run(), stuck]);
      stuck.catch(() => undefined);
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`, { cause: error });
    }
    for (const key of ["crashes", "losses", "refusals", "corrupt"] as const) totals[key] += schedule.counts[key];
  }
  return totals;
}

const counts = await simulate(workerData as Simulation);
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker's port has no origin
parentPort?.postMessage(counts);
