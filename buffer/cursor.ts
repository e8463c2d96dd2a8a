/**
 * One target's place in the log.
 *
 *            acknowledged          read            head
 *   ─────────────┼───────handed──────┼─────unread────┤      queued = head - acknowledged
 *
 * Reading never skips in silence. Positions and weights both continue from entry to entry; where either does
 * not, the hole is settled as a loss (gap entry and jump in one write) before anything behind it is handed out,
 * and after everything before it was acknowledged.
 */
import {
  type Cursor,
  type CursorStats,
  JournalError,
  type JournalRecord,
  type LossReason,
  type ReadLimits,
} from "./contract.ts";
import type { Descriptions } from "./descriptions.ts";
import { type CursorState, decodeEntry, encodeKey, KIND } from "./layout.ts";
import { loadDescriptions, type Segment, type Segments } from "./segments.ts";
import { type Pair, type Scan, type SegmentStore, StoreError } from "./store.ts";
import type { Tail, TailRecord } from "./tail.ts";

/** What a cursor sees of the journal. */
export interface Log {
  readonly head_seq: number;
  readonly head_weight: number;
  readonly closed: boolean;
  readonly segments: Segments;
  readonly tail: Tail;
  readonly descriptions: Descriptions;
  /** Settles a hole: asks for the gap entry and moves the cursor past it, in one write. */
  lose(cursor: LogCursor, to: Position, reason: LossReason): Promise<void>;
}

/** A place in the log, and the weight up to and including it. */
export interface Position {
  readonly seq: number;
  readonly weight: number;
}

interface Handed extends Position {
  readonly own_weight: number;
}

interface Acknowledgement extends Position {
  readonly items: readonly Handed[];
  readonly delivered: number;
  readonly dropped: number;
}

interface OpenScan {
  readonly segment: Segment;
  readonly handle: SegmentStore;
  readonly scan: Scan;
  /** What it must reach. */
  readonly to: Position;
  pairs: readonly Pair[];
  at: number;
}

interface Taken {
  readonly records: readonly TailRecord[];
  /** Where reading goes on; past entries that are no records. */
  readonly read: Position;
  /** The log breaks right behind `read`, and continues after `to`. */
  readonly hole: { readonly to: Position; readonly segment: Segment | null } | null;
}

export class LogCursor implements Cursor {
  readonly name: string;
  readonly #log: Log;
  readonly #start_weight: number;
  #acknowledged: Position;
  #delivered: number;
  #dropped: number;
  #read: Position;
  #handed: Handed[] = [];
  #deferred: Acknowledgement[] = [];
  #frozen = false;
  #rewind_later = false;
  #reading = false;
  #removed = false;
  #scan: OpenScan | null = null;
  /** Rises whenever what a read under way has gathered is void. */
  #generation = 0;
  readonly #waiting = new Set<() => void>();
  /** What was written last. */
  durable: CursorState;

  constructor(log: Log, state: CursorState) {
    this.#log = log;
    this.name = state.name;
    this.#start_weight = state.start_weight;
    this.#acknowledged = { seq: state.seq, weight: state.weight };
    this.#read = this.#acknowledged;
    this.#delivered = state.delivered;
    this.#dropped = state.dropped;
    this.durable = state;
  }

  get acknowledged(): Position {
    return this.#acknowledged;
  }

  get unread(): number {
    return this.#log.head_weight - this.#read.weight;
  }

  /** As it would be written; past a loss, where `to` is given. */
  state(to?: Position): CursorState {
    const { seq, weight } = to ?? this.#acknowledged;
    return {
      name: this.name,
      seq,
      weight,
      start_weight: this.#start_weight,
      delivered: this.#delivered,
      dropped: this.#dropped + (weight - this.#acknowledged.weight) * (to === undefined ? 0 : 1),
    };
  }

  /** It has moved since it was written. */
  get dirty(): boolean {
    return this.#acknowledged.seq !== this.durable.seq || this.#dropped !== this.durable.dropped;
  }

  stats(): CursorStats {
    const committed = this.#log.head_weight - this.#start_weight;
    const queued = this.#log.head_weight - this.#acknowledged.weight;
    const { name } = this;
    const delivered = this.#delivered;
    const dropped = this.#dropped;
    const imbalance = committed - delivered - queued - dropped;
    return { name, seq: this.#acknowledged.seq, committed, delivered, queued, dropped, imbalance };
  }

  async read(limits: ReadLimits, signal?: AbortSignal): Promise<readonly JournalRecord[]> {
    if (this.#reading) throw this.#error("journal_cursor", "a read is under way");
    this.#reading = true;
    try {
      for (;;) {
        signal?.throwIfAborted();
        if (this.#log.closed || this.#removed) throw this.#error("journal_closed", "the journal or cursor is closed");
        if (this.#frozen) {
          await this.#wait(signal);
          continue;
        }
        const generation = this.#generation;
        const taken =
          this.#read.seq >= this.#log.tail.after_seq
            ? this.#fromTail(limits)
            : await this.#fromStore(limits, generation);
        if (taken === null || generation !== this.#generation) continue;
        this.#read = taken.read;
        for (const { record, weight_after } of taken.records) {
          this.#handed.push({ seq: record.seq, weight: weight_after, own_weight: record.weight });
        }
        this.#catchUp();
        if (taken.records.length > 0) return taken.records.map((item) => item.record);
        if (taken.hole === null) {
          if (this.#read.seq >= this.#log.head_seq) await this.#wait(signal);
        } else if (this.#handed.length > 0) {
          await this.#wait(signal);
        } else {
          await this.#settle(taken.hole);
        }
      }
    } finally {
      this.#reading = false;
    }
  }

  advance(seq: number, counts: { readonly delivered: number; readonly dropped: number }): void {
    const index = this.#handed.findIndex((item) => item.seq === seq);
    if (index < 0) throw this.#error("journal_cursor", `position ${seq} was not read, or is acknowledged already`);
    const items = this.#handed.slice(0, index + 1);
    const weight = items.reduce((sum, item) => sum + item.own_weight, 0);
    const { delivered, dropped } = counts;
    if (delivered + dropped !== weight || delivered < 0 || dropped < 0) {
      throw this.#error(
        "journal_conservation",
        `${delivered} delivered and ${dropped} dropped up to position ${seq}, which carries ${weight} readings`,
      );
    }
    this.#handed.splice(0, index + 1);
    const acknowledgement = { seq, weight: items.at(-1)?.weight ?? 0, items, delivered, dropped };
    if (this.#frozen) this.#deferred.push(acknowledgement);
    else this.#acknowledge(acknowledgement);
    this.wake();
  }

  rewind(): void {
    this.#handed = [];
    this.#void();
    // What is deferred counts as acknowledged: go back to that.
    if (this.#frozen) this.#rewind_later = true;
    else this.#read = this.#acknowledged;
    this.wake();
  }

  /** While a loss is being written, acknowledgements wait: they must not move what it was reckoned from. */
  freeze(): void {
    this.#frozen = true;
    this.#void();
  }

  thaw(): void {
    this.#frozen = false;
    for (const acknowledgement of this.#deferred.splice(0)) this.#acknowledge(acknowledgement);
    if (this.#rewind_later) this.#read = this.#acknowledged;
    this.#rewind_later = false;
    this.wake();
  }

  /** Past a loss that has been written. */
  jump(to: Position): void {
    this.#dropped += to.weight - this.#acknowledged.weight;
    this.#acknowledged = to;
    if (this.#read.seq <= to.seq) this.#read = to;
    this.#void();
  }

  /** Over positions that hold no records. */
  skip(to: Position): void {
    if (this.#acknowledged.seq < to.seq) this.#acknowledged = to;
    if (this.#read.seq < to.seq) this.#read = to;
  }

  /** A commit, a thaw, an acknowledgement or the end: whoever waits looks again. */
  wake(): void {
    for (const resume of [...this.#waiting]) resume();
  }

  /** It is forgotten: reads end with `journal_closed`. */
  remove(): void {
    this.#removed = true;
    this.end();
  }

  /** Ends what waits or reads; it finds the journal closed. */
  end(): void {
    this.#void();
    this.wake();
  }

  #acknowledge({ seq, weight, items, delivered, dropped }: Acknowledgement): void {
    // Given up while they were in flight: counted as dropped already, whatever became of them.
    let gone = 0;
    for (const item of items) if (item.seq <= this.#acknowledged.seq) gone += item.own_weight;
    const gone_delivered = Math.min(gone, delivered);
    this.#delivered += delivered - gone_delivered;
    this.#dropped += dropped - (gone - gone_delivered);
    if (seq > this.#acknowledged.seq) this.#acknowledged = { seq, weight };
    this.#catchUp();
  }

  /** With nothing in flight, entries that are no records are behind us as soon as they were read. */
  #catchUp(): void {
    if (this.#frozen || this.#handed.length > 0 || this.#read.seq <= this.#acknowledged.seq) return;
    if (this.#read.weight === this.#acknowledged.weight) this.#acknowledged = this.#read;
  }

  #fromTail(limits: ReadLimits): Taken {
    void this.#closeScan();
    const records: TailRecord[] = [];
    let bytes = 0;
    for (const item of this.#log.tail.after(this.#read.seq)) {
      bytes += item.record.payload.length;
      const last = records.at(-1);
      if (last !== undefined && (bytes > limits.bytes_max || records.length >= limits.entries_max)) {
        return { records, read: { seq: last.record.seq, weight: last.weight_after }, hole: null };
      }
      records.push(item);
    }
    return { records, read: { seq: this.#log.head_seq, weight: this.#log.head_weight }, hole: null };
  }

  /** null: start over. */
  async #fromStore(limits: ReadLimits, generation: number): Promise<Taken | null> {
    const records: TailRecord[] = [];
    let read = this.#read;
    let bytes = 0;
    const done = (hole: Taken["hole"] = null): Taken => ({ records, read, hole });
    try {
      for (;;) {
        if (read.seq >= this.#log.head_seq) return done();
        const segment = this.#scan?.segment ?? this.#log.segments.holding(read.seq + 1);
        if (segment === undefined) {
          const oldest = this.#log.segments.list[0];
          const to = oldest === undefined ? this.#head() : { seq: oldest.first - 1, weight: oldest.weight };
          return done({ to, segment: null });
        }
        const scan = this.#scan ?? (await this.#openScan(segment, read, generation));
        if (scan === null) return null;
        const pair = scan.pairs[scan.at];
        if (pair === undefined) {
          const pairs = await scan.scan.next();
          if (generation !== this.#generation) return null;
          scan.pairs = pairs;
          scan.at = 0;
          if (pairs.length > 0) continue;
          await this.#closeScan();
          if (read.seq < scan.to.seq || read.weight !== scan.to.weight) return done({ to: scan.to, segment });
          continue;
        }
        const entry = decodeEntry(pair[0], pair[1]);
        if (entry === null || entry.seq <= read.seq || entry.weight_before < read.weight) {
          scan.at += 1;
          continue;
        }
        const before = { seq: entry.seq - 1, weight: entry.weight_before };
        if (before.seq !== read.seq || before.weight !== read.weight) return done({ to: before, segment });
        const after = { seq: entry.seq, weight: entry.weight_before + entry.weight };
        if (entry.kind === KIND.record) {
          bytes += entry.payload.length;
          if (records.length > 0 && bytes > limits.bytes_max) return done();
          // Data that can no longer be understood is as lost as data that cannot be read.
          const known = await loadDescriptions(scan.handle, entry, this.#log.descriptions);
          if (generation !== this.#generation) return null;
          if (!known) return done({ to: after, segment });
          const { seq, weight, payload, references } = entry;
          records.push({ record: { seq, weight, payload, references }, weight_after: after.weight });
        }
        read = after;
        scan.at += 1;
        if (records.length >= limits.entries_max) return done();
      }
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      await this.#closeScan();
      // The segment was put aside or rebuilt under us: what is left of it shows when we look again.
      if (error.kind === "closed" || error.kind === "damaged") return null;
      throw this.#error("journal_read", `${error.message}; read again later`, error);
    }
  }

  async #openScan(segment: Segment, read: Position, generation: number): Promise<OpenScan | null> {
    const handle = await this.#log.segments.acquire(segment);
    if (generation !== this.#generation) {
      this.#log.segments.release(segment);
      return null;
    }
    const next = this.#log.segments.next(segment);
    const to = next === undefined ? this.#head() : { seq: next.first - 1, weight: next.weight };
    const scan = handle.scan(encodeKey(read.seq), encodeKey(to.seq));
    return (this.#scan = { segment, handle, scan, to, pairs: [], at: 0 });
  }

  async #closeScan(): Promise<void> {
    const scan = this.#scan;
    if (scan === null) return;
    this.#scan = null;
    await scan.scan.close().catch(() => undefined);
    this.#log.segments.release(scan.segment);
  }

  async #settle({ to, segment }: NonNullable<Taken["hole"]>): Promise<void> {
    const { segments } = this.#log;
    if (segment !== null && !segment.repaired && !segment.gone && segments.next(segment) !== undefined) {
      // LevelDB may have lost sight of it, and a repair may find it again.
      this.#void();
      await segments.repair(segment);
      return;
    }
    await this.#log.lose(this, to, "corrupt");
  }

  #head(): Position {
    return { seq: this.#log.head_seq, weight: this.#log.head_weight };
  }

  /** Whatever a read under way holds is out of date. */
  #void(): void {
    this.#generation += 1;
    void this.#closeScan();
  }

  async #wait(signal: AbortSignal | undefined): Promise<void> {
    // Aborted since we last looked: that event does not come again.
    if (signal?.aborted) return;
    await new Promise<void>((resolve) => {
      const resume = (): void => {
        this.#waiting.delete(resume);
        signal?.removeEventListener("abort", resume);
        resolve();
      };
      this.#waiting.add(resume);
      signal?.addEventListener("abort", resume);
    });
  }

  #error(code: string, message: string, cause?: unknown): JournalError {
    return new JournalError(code, `cursor ${this.name}: ${message}`, cause === undefined ? {} : { cause });
  }
}
