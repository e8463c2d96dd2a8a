/**
 * The journal: one append-only log, a cursor per target.
 *
 *   commit ─▶ room for it? ─no─▶ drop the oldest segment: onLoss ─▶ [gap, cursors] ─▶ remove
 *                │
 *                ▼
 *   one synced write into the active segment: [cursors] [description, record]... [checkpoint]
 *                │                             (a full or broken segment: a new one begins here)
 *                ▼
 *   head moves ─▶ tail in memory ─▶ waiting cursors read ─▶ segments that all cursors passed are removed
 *
 * Everything that writes takes its turn in one queue; reading goes on beside it.
 */
import {
  type Commit,
  type Cursor,
  type Entry,
  type Journal,
  JournalError,
  type JournalFault,
  type JournalOptions,
  type JournalRecord,
  type JournalStats,
  type LossReason,
} from "./contract.ts";
import { type Log, LogCursor, type Position } from "./cursor.ts";
import { Descriptions } from "./descriptions.ts";
import { CURSOR_NAME_BYTES_MAX, encodeMark, HEADER_BYTES, KEY_BYTES, REFERENCE_BYTES, WEIGHT_MAX } from "./layout.ts";
import { createLevelStore } from "./level-store.ts";
import { recover, type Recovered } from "./recover.ts";
import { type Segment, Segments } from "./segments.ts";
import { type Store, StoreError } from "./store.ts";
import { Tail } from "./tail.ts";
import { type Planned, Writer } from "./writer.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
export const LIMIT_BYTES_MIN = 2 * MIB;
const clamp = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);

/** What LevelDB adds to an entry, at most: batch and block headers. */
const PAIR_OVERHEAD_BYTES = 32;

interface Limits {
  readonly limit_bytes: number;
  readonly segment_bytes: number;
  readonly tail_bytes: number;
  readonly commit_bytes_max: number;
  readonly reserve_bytes: number;
  readonly quarantine_bytes: number;
}

function limitsOf(options: JournalOptions): Limits {
  const limit_bytes = options.limit_bytes ?? 1024 * MIB;
  if (!Number.isSafeInteger(limit_bytes) || limit_bytes < LIMIT_BYTES_MIN) {
    throw new JournalError("journal_config", `${options.dir}: the journal needs a limit of at least 2 MiB`);
  }
  const segment_bytes = options.segment_bytes ?? clamp(Math.floor(limit_bytes / 256), 256 * KIB, 16 * MIB);
  if (segment_bytes < 32 * KIB || segment_bytes > limit_bytes / 8) {
    throw new JournalError("journal_config", `${options.dir}: a segment is at least 32 KiB, at most 1/8 of the limit`);
  }
  return {
    limit_bytes,
    segment_bytes,
    tail_bytes: options.tail_bytes ?? MIB,
    commit_bytes_max: Math.min(Math.floor(limit_bytes / 16), 32 * MIB),
    // LevelDB reopens a segment with 7.5 MB free and fails with 3.8 MB.
    reserve_bytes: Math.min(Math.floor(limit_bytes / 8), Math.max(12 * MIB, 3 * segment_bytes)),
    quarantine_bytes: Math.floor(limit_bytes / 8),
  };
}

/**
 * Opens the journal of a directory, or makes it. Repairs what it must.
 * Throws JournalError `journal_locked`, `journal_open` (the disk refuses) or `journal_config`.
 */
export async function openJournal(options: JournalOptions, store?: Store): Promise<Journal> {
  const limits = limitsOf(options);
  const disk = store ?? createLevelStore(options.dir);
  const journal = new LogJournal(options, limits, disk);
  try {
    await disk.open();
    await journal.recover();
    return journal;
  } catch (error) {
    await journal.segments.close();
    await disk.close().catch(() => undefined);
    if (!(error instanceof StoreError)) throw error;
    if (error.kind === "locked") {
      const message = `${options.dir}: another process uses this journal; stop it, or give this one another directory`;
      throw new JournalError("journal_locked", message, { cause: error });
    }
    const message = `${options.dir}: the journal does not open: ${error.message}; free or mend the disk`;
    throw new JournalError("journal_open", message, { cause: error });
  }
}

class LogJournal implements Journal, Log {
  readonly segments: Segments;
  readonly descriptions = new Descriptions();
  readonly #options: JournalOptions;
  readonly #limits: Limits;
  readonly #store: Store;
  readonly #writer: Writer;
  readonly #cursors = new Map<string, LogCursor>();
  #tail: Tail;
  #head: Position = { seq: 0, weight: 0 };
  #recovered: Recovered | null = null;
  #closed = false;
  #closing: Promise<void> | null = null;
  #queue: Promise<unknown> = Promise.resolve();
  #reserve_held = false;
  #other_bytes = 0;
  #commits = 0;
  #commit_bytes = 0;
  #write_errors = 0;
  #corruptions = 0;

  constructor(options: JournalOptions, limits: Limits, store: Store) {
    this.#options = options;
    this.#limits = limits;
    this.#store = store;
    this.#tail = new Tail(limits.tail_bytes, 0);
    this.segments = new Segments({
      store,
      segment_bytes: limits.segment_bytes,
      quarantine_bytes: limits.quarantine_bytes,
      freeReserve: () => this.#freeReserve(),
      fault: (fault) => this.#fault(fault),
      remeasure: () => this.#remeasure(),
    });
    this.#writer = new Writer(store, this.segments, this.descriptions, limits.segment_bytes);
  }

  async recover(): Promise<void> {
    const recovered = await recover(this.#store, this.segments, this.descriptions, (fault) => this.#fault(fault));
    this.#recovered = recovered;
    this.#head = recovered.head;
    this.#tail = new Tail(this.#limits.tail_bytes, this.#head.seq);
    this.#writer.recover(recovered.checkpoint);
    if (recovered.active !== null) await this.#writer.resume(recovered.active, recovered.described);
    const oldest = this.segments.list[0];
    for (const state of recovered.cursors) {
      const cursor = new LogCursor(this, state);
      // The segments before were removed because all cursors had passed their records.
      if (oldest !== undefined && state.seq < oldest.first - 1 && state.weight === oldest.weight) {
        cursor.skip({ seq: oldest.first - 1, weight: oldest.weight });
      }
      this.#cursors.set(state.name, cursor);
    }
    await this.#holdReserve();
    await this.#remeasure();
    await this.#sweep();
  }

  get head_seq(): number {
    return this.#head.seq;
  }
  get head_weight(): number {
    return this.#head.weight;
  }
  get closed(): boolean {
    return this.#closed;
  }
  get tail(): Tail {
    return this.#tail;
  }
  get checkpoint(): Uint8Array | null {
    return this.#recovered?.checkpoint?.bytes ?? null;
  }

  async *replay(): AsyncGenerator<JournalRecord> {
    const from = this.#recovered?.checkpoint?.covers_seq ?? 0;
    const to = this.#recovered?.head.seq ?? 0;
    for (const segment of [...this.segments.list]) {
      const end = Math.min(to, (this.segments.next(segment)?.first ?? to + 1) - 1);
      if (end <= from) continue;
      try {
        yield* this.segments.records(segment, Math.max(from, segment.first - 1), end, this.descriptions);
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        throw this.#error("journal_read", `the log cannot be replayed now: ${error.message}`, error);
      }
    }
  }

  describe(bytes: Uint8Array): number {
    return this.descriptions.describe(bytes);
  }

  async description(id: number): Promise<Uint8Array> {
    const bytes = this.descriptions.get(id);
    if (bytes !== undefined) return bytes;
    throw this.#error("journal_description", `nothing is known of description ${id}; rewind and read again`);
  }

  async commit(commit: Commit): Promise<{ readonly head_seq: number }> {
    let bytes = commit.checkpoint?.length ?? 0;
    for (const entry of commit.entries) bytes += this.#check(entry);
    if (bytes > this.#limits.commit_bytes_max) {
      const most = this.#limits.commit_bytes_max;
      throw this.#error("journal_too_large", `a commit of ${bytes} bytes; at most ${most}: split it`);
    }
    return this.#exclusive(async () => {
      if (commit.entries.length > 0 || commit.checkpoint !== undefined || this.#dirty()) {
        await this.#append({ ...commit, upkeep: commit.entries.length === 0 }, bytes);
      }
      return { head_seq: this.#head.seq };
    });
  }

  async cursor(name: string, { from }: { readonly from: "start" | "end" }): Promise<Cursor> {
    if (name === "" || Buffer.byteLength(name) > CURSOR_NAME_BYTES_MAX) {
      throw this.#error("journal_cursor", `a cursor's name has 1 to ${CURSOR_NAME_BYTES_MAX} bytes`);
    }
    return this.#exclusive(async () => {
      const known = this.#cursors.get(name);
      if (known !== undefined) return known;
      const oldest = this.segments.list[0];
      const start = { seq: (oldest?.first ?? 1) - 1, weight: oldest?.weight ?? 0 };
      const { seq, weight } = from === "start" && oldest !== undefined ? start : this.#head;
      const cursor = new LogCursor(this, { name, seq, weight, start_weight: weight, delivered: 0, dropped: 0 });
      this.#cursors.set(name, cursor);
      try {
        await this.#append({ entries: [], upkeep: true }, 0);
      } catch (error) {
        this.#cursors.delete(name);
        throw error;
      }
      return cursor;
    });
  }

  async removeCursor(name: string): Promise<void> {
    await this.#exclusive(async () => {
      const cursor = this.#cursors.get(name);
      if (cursor === undefined) return;
      this.#cursors.delete(name);
      try {
        await this.#append({ entries: [], upkeep: true }, 0);
      } catch (error) {
        this.#cursors.set(name, cursor);
        throw error;
      }
      cursor.remove();
    });
  }

  stats(): JournalStats {
    return {
      head_seq: this.#head.seq,
      head_weight: this.#head.weight,
      bytes_on_disk: this.#other_bytes + this.segments.bytes,
      limit_bytes: this.#limits.limit_bytes,
      segments: this.segments.list.length,
      commits: this.#commits,
      commit_bytes: this.#commit_bytes,
      write_errors: this.#write_errors,
      corruptions: this.#corruptions,
      quarantined: this.segments.quarantined,
      cursors: [...this.#cursors.values()].map((cursor) => cursor.stats()),
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#exclusive(async () => {
      if (this.#dirty()) {
        const request = { entries: [], upkeep: true };
        // What is not written is read again at the next start.
        await this.#append(request, 0).catch((cause: unknown) => {
          this.#fault({ code: "journal_write", message: "the cursors could not be written at close", cause });
        });
      }
      this.#closed = true;
      for (const cursor of this.#cursors.values()) cursor.end();
      await this.segments.close();
      await this.#store.close();
    });
    return this.#closing;
  }

  /** A hole in the log that a cursor came upon. */
  async lose(cursor: LogCursor, to: Position, reason: LossReason): Promise<void> {
    await this.#exclusive(async () => {
      const { seq, weight } = cursor.acknowledged;
      if (seq > to.seq || (seq === to.seq && weight >= to.weight)) return;
      this.#corruptions += 1;
      const message = `cursor ${cursor.name}: positions ${seq + 1} to ${to.seq} (${to.weight - weight} readings) are lost`;
      this.#fault({ code: "journal_corrupt", message });
      await this.#giveUp([cursor], to, reason, () => nothing());
    });
  }

  /** Gap entries and jumps, in one write. */
  async #giveUp(
    cursors: readonly LogCursor[],
    to: Position,
    reason: LossReason,
    recordsAfter: (seq: number) => AsyncIterable<JournalRecord>,
  ): Promise<void> {
    for (const cursor of cursors) cursor.freeze();
    try {
      const entries: Entry[] = [];
      for (const cursor of cursors) {
        const { seq, weight } = cursor.acknowledged;
        const loss = { target: cursor.name, reason, after_seq: seq, to_seq: to.seq, weight: to.weight - weight };
        try {
          const gap = await this.#options.onLoss({ ...loss, records: recordsAfter(seq) });
          if (gap !== null && this.#check(gap) > 0) entries.push(gap);
        } catch (cause) {
          const message = `the gap of ${loss.weight} readings of ${cursor.name} could not be described`;
          this.#fault({ code: "journal_loss_handler", message, cause });
        }
      }
      const jumps = new Map(cursors.map((cursor) => [cursor.name, to]));
      await this.#append({ entries, upkeep: true, jumps }, 0);
      for (const cursor of cursors) cursor.jump(to);
    } finally {
      for (const cursor of cursors) cursor.thaw();
    }
  }

  /** Writes, and does what it takes to be able to: room below the bound, a new segment, the reserve. */
  async #append(request: Request, bytes: number): Promise<void> {
    if (!request.upkeep) {
      await this.#makeRoom(bytes);
      await this.#holdReserve();
      if (!this.#reserve_held) {
        await this.#freePassed();
        await this.#holdReserve();
        if (!this.#reserve_held) throw this.#error("journal_write", "the disk is full; tried again at the next commit");
      }
    }
    try {
      await this.#write(request);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      // Upkeep may use the reserve: it is how deliveries free a full disk. Entries may not.
      if (request.upkeep) await this.#freeReserve();
      else if (!(await this.#freePassed())) throw this.#writeError(error);
      await this.#write(request).catch((again: unknown) => {
        throw this.#writeError(again);
      });
    }
    await this.#sweep();
  }

  /** One try. Whatever fails, the segment is not written again: LevelDB's errors stick to a handle. */
  async #write(request: Request): Promise<void> {
    const cursors = [...this.#cursors.values()].map((cursor) => cursor.state(request.jumps?.get(cursor.name)));
    const written = { cursors, moved: request.upkeep || this.#dirty() };
    let planned: Planned;
    try {
      const checkpoint = request.upkeep ? null : () => this.#options.checkpoint?.() ?? null;
      planned = await this.#writer.write(this.#head, request, written, checkpoint);
    } catch (error) {
      if (error instanceof StoreError) {
        this.#write_errors += 1;
        this.#fault({ code: "journal_write", message: error.message, cause: error });
      }
      throw error;
    }
    this.#head = planned.head;
    this.#commits += 1;
    this.#commit_bytes += planned.bytes;
    if (planned.cursors_written) {
      for (const state of cursors) {
        const cursor = this.#cursors.get(state.name);
        if (cursor !== undefined) cursor.durable = state;
      }
    }
    this.#store.writeMark(encodeMark(planned.head));
    this.#tail.push(planned.records);
    for (const cursor of this.#cursors.values()) cursor.wake();
  }

  /** Removes what no cursor needs any more; only what is known on disk counts. */
  async #sweep(): Promise<void> {
    for (;;) {
      const [oldest, next] = this.segments.list;
      if (oldest === undefined || next === undefined || this.#cursors.size === 0) return;
      if ((this.#writer.covers_seq ?? next.first) < next.first - 1) return;
      const cursors = [...this.#cursors.values()];
      const end = { seq: next.first - 1, weight: next.weight };
      const needed = (at: Position): boolean => !hasPassed(at, oldest, end);
      if (cursors.some((cursor) => needed(cursor.durable) || needed(cursor.acknowledged))) return;
      try {
        await this.#remove(oldest, end);
      } catch (cause) {
        this.#fault({ code: "journal_remove", message: `segment ${oldest.name} could not be removed yet`, cause });
        return;
      }
    }
  }

  /** On a full disk: writes moved cursors with the reserve, so that segments can go. */
  async #freePassed(): Promise<boolean> {
    if (!this.#dirty()) return false;
    await this.#freeReserve();
    const segments = this.segments.list.length;
    try {
      await this.#write({ entries: [], upkeep: true });
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      return false;
    }
    await this.#sweep();
    return this.segments.list.length <= segments;
  }

  async #makeRoom(bytes: number): Promise<void> {
    for (;;) {
      const [oldest, next] = this.segments.list;
      if (oldest === undefined || next === undefined) return;
      const largest = this.segments.list.reduce((most, one) => Math.max(most, one.bytes), this.#limits.segment_bytes);
      // Twice: one segment may be converted for reading while the active one grows past its size by a commit.
      const used = this.#other_bytes + this.segments.bytes + bytes + 2 * largest + this.#unheldReserve();
      if (used <= this.#limits.limit_bytes) return;
      const end = { seq: next.first - 1, weight: next.weight };
      const losing = [...this.#cursors.values()].filter((cursor) => !hasPassed(cursor.acknowledged, oldest, end));
      if (losing.length > 0) {
        const recordsAfter = (seq: number) => readable(this.segments.records(oldest, seq, end.seq, this.descriptions));
        await this.#giveUp(losing, end, "overflow", recordsAfter);
      } else if (this.#dirty()) {
        await this.#append({ entries: [], upkeep: true }, 0);
      }
      if (oldest.gone) continue;
      try {
        await this.#remove(oldest, end);
      } catch (error) {
        throw this.#writeError(error);
      }
    }
  }

  /** Removes a segment none of whose records is needed; cursors stand behind what else was in it. */
  async #remove(segment: Segment, end: Position): Promise<void> {
    await this.segments.remove(segment);
    for (const cursor of this.#cursors.values()) cursor.skip(end);
  }

  #unheldReserve(): number {
    return this.#reserve_held ? 0 : this.#limits.reserve_bytes;
  }

  async #holdReserve(): Promise<void> {
    if (this.#reserve_held) return;
    try {
      const { reserve_bytes, segment_bytes } = this.#limits;
      if ((await this.#store.freeBytes()) < reserve_bytes + segment_bytes) return;
      await this.#store.reserve(reserve_bytes);
      this.#reserve_held = true;
      await this.#remeasure();
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
    }
  }

  async #freeReserve(): Promise<void> {
    this.#reserve_held = false;
    await this.#store.reserve(0).catch(() => undefined);
    await this.#remeasure().catch(() => undefined);
  }

  async #remeasure(): Promise<void> {
    this.#other_bytes = await this.#store.otherBytes();
  }

  #dirty(): boolean {
    for (const cursor of this.#cursors.values()) if (cursor.dirty) return true;
    return false;
  }

  /** Bytes that an entry will take, at most (without its descriptions). */
  #check(entry: Entry): number {
    const { payload, weight, references } = entry;
    if (!Number.isInteger(weight) || weight < 0 || weight > WEIGHT_MAX) {
      throw this.#error("journal_conservation", `an entry's weight is a whole number up to 2^32 - 1, not ${weight}`);
    }
    return KEY_BYTES + HEADER_BYTES + references.length * REFERENCE_BYTES + payload.length + PAIR_OVERHEAD_BYTES;
  }

  async #exclusive<Result>(run: () => Promise<Result>): Promise<Result> {
    const turn = this.#queue.then(() => {
      if (this.#closed) throw this.#error("journal_closed", "the journal is closed");
      return run();
    });
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  #fault(fault: JournalFault): void {
    this.#options.onFault?.({ ...fault, message: `${this.#options.dir}: ${fault.message}` });
  }

  #writeError(error: unknown): unknown {
    if (!(error instanceof StoreError)) return error;
    return this.#error("journal_write", `nothing was written: ${error.message}; tried again at the next commit`, error);
  }

  #error(code: string, message: string, cause?: unknown): JournalError {
    return new JournalError(code, `${this.#options.dir}: ${message}`, cause === undefined ? {} : { cause });
  }
}

/** One write: what a caller commits, or the journal's own upkeep. */
export interface Request extends Commit {
  /** Cursors and gaps: may use the reserve, and needs no room of its own. */
  readonly upkeep: boolean;
  /** Where cursors (by name) will stand once it is written. */
  readonly jumps?: ReadonlyMap<string, Position>;
}

/** Whether none of a segment's records, and no reading that was lost in it, is after that place. */
function hasPassed(at: Position, segment: Segment, end: Position): boolean {
  if (at.seq >= end.seq) return true;
  return segment.last_record !== null && at.seq >= segment.last_record && at.weight === end.weight;
}

/** As far as the disk lets us read: a gap is told of even where its records cannot be looked at. */
async function* readable(records: AsyncIterable<JournalRecord>): AsyncGenerator<JournalRecord> {
  try {
    yield* records;
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
  }
}

async function* nothing(): AsyncGenerator<never> {}
