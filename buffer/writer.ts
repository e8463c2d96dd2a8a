/**
 * Puts one write together and makes it: which segment, in which order, with which descriptions.
 *
 *   [cursors] [description]* [record] [description]* [record] ... [checkpoint]
 *    first in every segment, and     where this segment     given, or asked for
 *    whenever a cursor moved         does not have it yet   when a segment begins
 *
 * The newest segment alone says where the cursors stand and which checkpoint to start from. A segment that
 * begins between two commits gets the last checkpoint again, and the next commit brings a new one.
 */
import { type Commit, type Entry, JournalError } from "./contract.ts";
import type { Position } from "./cursor.ts";
import type { Descriptions } from "./descriptions.ts";
import {
  type Checkpoint,
  type CursorState,
  encodeCheckpoint,
  encodeCursors,
  encodeDescription,
  encodeEntry,
  encodeKey,
  HEADER_BYTES,
  KIND,
  type Kind,
  REFERENCE_BYTES,
} from "./layout.ts";
import { Segment, type Segments } from "./segments.ts";
import type { Pair, SegmentStore, Store } from "./store.ts";
import type { TailRecord } from "./tail.ts";

/** What one pair takes in LevelDB's log besides key and value: tag, lengths, its share of the headers. */
const PAIR_BYTES = 16;
/** A fresh LevelDB: CURRENT, MANIFEST, LOG, its log and the directory, each a block. */
const SEGMENT_OVERHEAD_BYTES = 6 * 4096;

/** What was written. */
export interface Planned {
  readonly head: Position;
  readonly bytes: number;
  readonly cursors_written: boolean;
  readonly records: readonly TailRecord[];
}

interface Active {
  readonly segment: Segment;
  readonly handle: SegmentStore;
  /** Where each description stands in this segment. */
  readonly described: Map<number, number>;
}

export class Writer {
  readonly #store: Store;
  readonly #segments: Segments;
  readonly #descriptions: Descriptions;
  readonly #segment_bytes: number;
  #active: Active | null = null;
  #checkpoint: Checkpoint | null = null;
  /** The active segment holds a checkpoint that older segments are needed for. */
  #checkpoint_due = false;
  /** Left behind by a failure: gone before a segment of that name is made. */
  #stale: Segment | null = null;

  constructor(store: Store, segments: Segments, descriptions: Descriptions, segment_bytes: number) {
    this.#store = store;
    this.#segments = segments;
    this.#descriptions = descriptions;
    this.#segment_bytes = segment_bytes;
  }

  /** Records after this position are needed to replay; null: no checkpoint was ever given. */
  get covers_seq(): number | null {
    return this.#checkpoint?.covers_seq ?? null;
  }

  /** What was found at open. */
  recover(checkpoint: Checkpoint | null): void {
    this.#checkpoint = checkpoint;
  }

  /** Writes on in a segment that was found at open. */
  async resume(segment: Segment, described: ReadonlyMap<number, number>): Promise<void> {
    const handle = await this.#segments.acquire(segment);
    this.#active = { segment, handle, described: new Map(described) };
  }

  /**
   * All of it or nothing. StoreError where the disk refuses; the next write then begins a new segment.
   * `checkpoint` asks for the caller's state after this write; null where the caller is not writing.
   */
  async write(
    head: Position,
    commit: Commit,
    cursors: { readonly cursors: readonly CursorState[]; readonly moved: boolean },
    checkpoint: (() => Uint8Array | null) | null,
  ): Promise<Planned> {
    let active = this.#active;
    const begins = active === null || active.segment.bytes >= this.#segment_bytes;
    const batch = new Batch(head, begins ? new Map() : (active?.described ?? new Map()), this.#descriptions);
    if (begins || cursors.moved) {
      const { next_id } = this.#descriptions;
      batch.add(KIND.cursors, encodeCursors({ next_description_id: next_id, cursors: cursors.cursors }));
    }
    for (const entry of commit.entries) batch.addRecord(entry);
    const fresh = commit.checkpoint ?? (begins || this.#checkpoint_due ? (checkpoint?.() ?? null) : null);
    let kept = this.#checkpoint;
    if (fresh !== null) kept = { covers_seq: batch.head.seq, bytes: Uint8Array.from(fresh) };
    if (kept !== null && (begins || fresh !== null)) batch.add(KIND.checkpoint, encodeCheckpoint(kept));

    if (begins || active === null) active = await this.#begin(head);
    const { segment, handle, described } = active;
    try {
      await handle.write(batch.pairs);
    } catch (error) {
      await this.#abandon(active, head);
      throw error;
    }
    for (const [id, seq] of batch.described) described.set(id, seq);
    segment.bytes += batch.bytes;
    segment.last_record = batch.records.at(-1)?.record.seq ?? segment.last_record;
    if (begins) this.#segments.list.push(segment);
    this.#checkpoint = kept;
    this.#checkpoint_due = kept !== null && fresh === null && (begins || this.#checkpoint_due);
    const cursors_written = begins || cursors.moved;
    return { head: batch.head, bytes: batch.bytes, cursors_written, records: batch.records };
  }

  async #begin(head: Position): Promise<Active> {
    await this.#seal();
    const segment = new Segment(head.seq + 1, head.weight);
    if (this.#stale !== null) await this.#clear(this.#stale);
    this.#stale = segment;
    const handle = await this.#store.openSegment(segment.name, { create: true, size_bytes: this.#segment_bytes });
    segment.handle = handle;
    segment.pins = 1;
    segment.bytes = SEGMENT_OVERHEAD_BYTES;
    segment.last_record = segment.first - 1;
    this.#stale = null;
    this.#active = { segment, handle, described: new Map() };
    return this.#active;
  }

  /** The active segment becomes one that is only read: it may be closed when nobody does. */
  async #seal(): Promise<void> {
    const active = this.#active;
    if (active === null) return;
    this.#active = null;
    this.#segments.release(active.segment);
    active.segment.bytes = await this.#store.segmentBytes(active.segment.name);
    await this.#segments.rest();
  }

  /** After a failed write. Part of it may be in the file: behind the segment's end it is never looked at. */
  async #abandon({ segment }: Active, head: Position): Promise<void> {
    this.#active = null;
    this.#segments.release(segment);
    await this.#segments.retire(segment);
    if (segment.first > head.seq) {
      this.#stale = segment;
      await this.#clear(segment).catch(() => undefined);
    } else {
      segment.bytes = await this.#store.segmentBytes(segment.name).catch(() => segment.bytes);
    }
  }

  async #clear(segment: Segment): Promise<void> {
    if ((await this.#store.list()).includes(segment.name)) await this.#store.removeSegment(segment.name);
    this.#stale = null;
  }
}

/** The pairs of one write. */
class Batch {
  readonly pairs: Pair[] = [];
  readonly records: TailRecord[] = [];
  /** Descriptions that this write brings into the segment. */
  readonly described = new Map<number, number>();
  readonly #in_segment: ReadonlyMap<number, number>;
  readonly #descriptions: Descriptions;
  #seq: number;
  #weight: number;
  bytes = 0;

  constructor(head: Position, in_segment: ReadonlyMap<number, number>, descriptions: Descriptions) {
    this.#seq = head.seq;
    this.#weight = head.weight;
    this.#in_segment = in_segment;
    this.#descriptions = descriptions;
  }

  get head(): Position {
    return { seq: this.#seq, weight: this.#weight };
  }

  add(kind: Kind, payload: Uint8Array): void {
    this.#put(kind, payload, 0, [], []);
  }

  addRecord({ payload, weight, references }: Entry): void {
    const described_at: number[] = [];
    for (const id of references) {
      let at = this.#in_segment.get(id) ?? this.described.get(id);
      if (at === undefined) {
        const bytes = this.#descriptions.get(id);
        if (bytes === undefined) {
          throw new JournalError("journal_description", `an entry refers to description ${id}: describe it again`);
        }
        this.add(KIND.description, encodeDescription(id, bytes));
        at = this.#seq;
        this.described.set(id, at);
      }
      described_at.push(at);
    }
    const value = this.#put(KIND.record, payload, weight, references, described_at);
    const own = value.subarray(HEADER_BYTES + references.length * REFERENCE_BYTES);
    const record = { seq: this.#seq, weight, payload: own, references: [...references] };
    this.records.push({ record, weight_after: this.#weight });
  }

  #put(
    kind: Kind,
    payload: Uint8Array,
    weight: number,
    references: readonly number[],
    described_at: readonly number[],
  ): Uint8Array {
    const seq = this.#seq + 1;
    const key = encodeKey(seq);
    const value = encodeEntry(
      key,
      { kind, weight_before: this.#weight, weight, references, described_at, payload },
      seq,
    );
    this.pairs.push([key, value]);
    this.bytes += key.length + value.length + PAIR_BYTES;
    this.#seq = seq;
    this.#weight += weight;
    return value;
  }
}
