/**
 * The chain of segments: which part of the log each holds, and which of them are open.
 *
 *   [ sealed ][ sealed ] ... [ active ]      a segment ends where the next one begins; the last one at the head
 *
 * A sealed segment is opened when a cursor gets there, and closed again once nobody reads it. One that does not
 * open is repaired, and put aside where that fails too: the hole it leaves is then found by its neighbours.
 */
import type { JournalFault, JournalRecord } from "./contract.ts";
import type { Descriptions } from "./descriptions.ts";
import { decodeDescription, decodeEntry, encodeKey, KIND, segmentName, type StoredEntry } from "./layout.ts";
import { type Scan, type SegmentStore, type Store, StoreError } from "./store.ts";

/** Sealed segments that stay open though nobody reads them: each may hold its bytes in memory. */
const IDLE_MAX = 2;

export class Segment {
  readonly first: number;
  /** Weight of the log before it. */
  readonly weight: number;
  bytes = 0;
  /** Position of its newest record (`first - 1`: it has none); null where that is not known yet. */
  last_record: number | null = null;
  handle: SegmentStore | null = null;
  pins = 0;
  /** It was rebuilt since open: what is missing now is gone. */
  repaired = false;
  /** Removed or put aside. */
  gone = false;

  constructor(first: number, weight: number) {
    this.first = first;
    this.weight = weight;
  }

  get name(): string {
    return segmentName(this.first, this.weight);
  }
}

export interface SegmentsContext {
  readonly store: Store;
  readonly segment_bytes: number;
  readonly quarantine_bytes: number;
  /** Gives the reserve free, so that a segment can be opened on a full disk. */
  readonly freeReserve: () => Promise<void>;
  readonly fault: (fault: JournalFault) => void;
  /** Something changed on disk besides the segments' own bytes. */
  readonly remeasure: () => Promise<void>;
}

export class Segments {
  /** Oldest first. */
  readonly list: Segment[] = [];
  quarantined = 0;
  readonly #context: SegmentsContext;
  #opening: Promise<unknown> = Promise.resolve();

  constructor(context: SegmentsContext) {
    this.#context = context;
  }

  get bytes(): number {
    let total = 0;
    for (const segment of this.list) total += segment.bytes;
    return total;
  }

  /** The segment in which position `seq` belongs; undefined where it is older than all of them. */
  holding(seq: number): Segment | undefined {
    let low = 0;
    let high = this.list.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.list[middle]?.first ?? 0) <= seq) low = middle + 1;
      else high = middle;
    }
    return this.list[low - 1];
  }

  next(segment: Segment): Segment | undefined {
    return this.list[this.list.indexOf(segment) + 1];
  }

  /** The open segment, which stays open until `release`. StoreError `closed` where it is gone. */
  async acquire(segment: Segment): Promise<SegmentStore> {
    // Pinned from the start: between its opening and our next step it must not be taken for idle.
    segment.pins += 1;
    try {
      if (segment.handle === null) await this.#alone(() => this.#open(segment));
      if (segment.handle === null || segment.gone) throw new StoreError("closed", `${segment.name} is gone`);
      return segment.handle;
    } catch (error) {
      segment.pins -= 1;
      throw error;
    }
  }

  release(segment: Segment): void {
    segment.pins -= 1;
  }

  /** Rebuilds a sealed segment, once; scans over it end. */
  async repair(segment: Segment): Promise<void> {
    await this.#alone(async () => {
      if (segment.gone || segment.repaired) return;
      await this.#close(segment);
      await this.#rebuild(segment);
    });
  }

  /** Closes what nobody reads, but for the newest ones: a backlog must not be held in memory. */
  async rest(): Promise<void> {
    await this.#alone(() => this.#closeIdle());
  }

  /** Closes a segment that must not be written any more; whoever reads it opens it again. */
  async retire(segment: Segment): Promise<void> {
    await this.#alone(() => this.#close(segment));
  }

  async remove(segment: Segment): Promise<void> {
    await this.#alone(async () => {
      await this.#close(segment);
      await this.#context.store.removeSegment(segment.name);
      this.#forget(segment);
    });
  }

  /** Puts a segment aside that cannot be read. */
  async quarantine(segment: Segment, cause: unknown): Promise<void> {
    await this.#close(segment);
    await this.#context.store.quarantineSegment(segment.name, this.#context.quarantine_bytes);
    this.#forget(segment);
    this.quarantined += 1;
    await this.#context.remeasure();
    this.#context.fault({
      code: "journal_quarantined",
      message: `segment ${segment.name} cannot be read; it was moved to the journal's quarantine directory`,
      cause,
    });
  }

  async close(): Promise<void> {
    await this.#opening;
    for (const segment of this.list) await this.#close(segment);
  }

  /** The readable records with `after < seq <= to`; damage is passed over. */
  async *records(
    segment: Segment,
    after: number,
    to: number,
    descriptions: Descriptions,
  ): AsyncGenerator<StoredEntry & JournalRecord> {
    for (let at = after; !segment.gone;) {
      let handle: SegmentStore | null = null;
      let scan: Scan | null = null;
      try {
        handle = await this.acquire(segment);
        scan = handle.scan(encodeKey(at), encodeKey(to));
        for (let pairs = await scan.next(); pairs.length > 0; pairs = await scan.next()) {
          for (const [key, value] of pairs) {
            const entry = decodeEntry(key, value);
            if (entry === null || entry.seq <= at) continue;
            const known = entry.kind === KIND.record && (await loadDescriptions(handle, entry, descriptions));
            at = entry.seq;
            if (known) yield entry;
          }
        }
        return;
      } catch (error) {
        // Rebuilt under us: go on with what came of it. Damaged: it has been put aside.
        if (!(error instanceof StoreError) || error.kind === "io") throw error;
      } finally {
        await scan?.close();
        if (handle !== null) this.release(segment);
      }
    }
  }

  #forget(segment: Segment): void {
    segment.gone = true;
    const index = this.list.indexOf(segment);
    if (index >= 0) this.list.splice(index, 1);
  }

  /** Opening, rebuilding and removing take turns: a conversion may need a segment's size once more on disk. */
  async #alone(run: () => Promise<void>): Promise<void> {
    const turn = this.#opening.then(run);
    this.#opening = turn.catch(() => undefined);
    await turn;
  }

  async #open(segment: Segment): Promise<void> {
    if (segment.handle !== null || segment.gone) return;
    await this.#closeIdle();
    const { store, segment_bytes, freeReserve } = this.#context;
    const open = () => store.openSegment(segment.name, { create: false, size_bytes: segment_bytes });
    try {
      segment.handle = await open().catch(async (error: unknown) => {
        if (!(error instanceof StoreError) || error.kind !== "io") throw error;
        await freeReserve();
        return open();
      });
    } catch (error) {
      if (!(error instanceof StoreError) || error.kind !== "damaged") throw error;
      await this.#rebuild(segment);
      try {
        segment.handle = await open();
      } catch (again) {
        if (again instanceof StoreError && again.kind === "damaged") await this.quarantine(segment, again);
        throw again;
      }
    }
    segment.bytes = await store.segmentBytes(segment.name);
  }

  async #rebuild(segment: Segment): Promise<void> {
    segment.repaired = true;
    const { store, fault } = this.#context;
    try {
      await store.repairSegment(segment.name);
      fault({ code: "journal_repaired", message: `segment ${segment.name} was damaged and has been rebuilt` });
    } catch (cause) {
      fault({ code: "journal_repair_failed", message: `segment ${segment.name} could not be rebuilt`, cause });
    }
    segment.bytes = await store.segmentBytes(segment.name);
  }

  async #closeIdle(): Promise<void> {
    const newest = this.list.at(-1);
    const idle = this.list.filter((segment) => segment.handle !== null && segment.pins === 0 && segment !== newest);
    for (const segment of idle.slice(0, Math.max(0, idle.length - IDLE_MAX + 1))) await this.#close(segment);
  }

  async #close(segment: Segment): Promise<void> {
    const handle = segment.handle;
    segment.handle = null;
    // Everything acknowledged was synced: closing has nothing left to lose.
    await handle?.close().catch(() => undefined);
  }
}

/** Makes sure that all an entry refers to is known; false where some of it cannot be read. */
export async function loadDescriptions(
  handle: SegmentStore,
  entry: StoredEntry,
  descriptions: Descriptions,
): Promise<boolean> {
  for (const [index, id] of entry.references.entries()) {
    if (descriptions.has(id)) continue;
    const key = encodeKey(entry.described_at[index] ?? 0);
    let value: Uint8Array | undefined;
    try {
      value = await handle.get(key);
    } catch (error) {
      if (!(error instanceof StoreError) || error.kind !== "damaged") throw error;
    }
    const found = value === undefined ? null : decodeEntry(key, value);
    if (found?.kind !== KIND.description) return false;
    const description = decodeDescription(found.payload);
    if (description.id !== id) return false;
    descriptions.add(id, description.bytes);
  }
  return true;
}
