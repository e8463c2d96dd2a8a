/**
 * What stands on disk when a journal is opened: the newest segment is read through (every checksum), the others
 * are known by their names. Nothing here needs a person: what cannot be opened is rebuilt, then put aside, and
 * the holes are found by the cursors that get there.
 */
import type { JournalFault } from "./contract.ts";
import type { Descriptions } from "./descriptions.ts";
import type { Position } from "./cursor.ts";
import {
  type Checkpoint,
  type CursorState,
  decodeCheckpoint,
  decodeCursors,
  decodeDescription,
  decodeEntry,
  decodeMark,
  encodeKey,
  KIND,
  type Mark,
  parseSegmentName,
} from "./layout.ts";
import { Segment, type Segments } from "./segments.ts";
import { type Store, StoreError } from "./store.ts";

export interface Recovered {
  readonly head: Position;
  readonly cursors: readonly CursorState[];
  readonly checkpoint: Checkpoint | null;
  /** The newest segment where it may be written on; null: begin a new one. */
  readonly active: Segment | null;
  /** Which description stands where in `active`. */
  readonly described: ReadonlyMap<number, number>;
}

/** One segment read through. */
interface Survey {
  readonly pairs: number;
  /** The last good entry; null where there is none. */
  readonly last: Position | null;
  readonly last_record: number;
  /** Every entry is good and none is missing. */
  readonly intact: boolean;
  readonly cursors: readonly CursorState[] | null;
  readonly next_description_id: number;
  readonly checkpoint: Recovered["checkpoint"];
  readonly descriptions: ReadonlyMap<number, { readonly seq: number; readonly bytes: Uint8Array }>;
}

export async function recover(
  store: Store,
  segments: Segments,
  descriptions: Descriptions,
  fault: (fault: JournalFault) => void,
): Promise<Recovered> {
  for (const name of await store.list()) {
    const parsed = parseSegmentName(name);
    if (parsed === null) continue;
    const segment = new Segment(parsed.first, parsed.weight);
    segment.bytes = await store.segmentBytes(name);
    segments.list.push(segment);
  }
  segments.list.sort((a, b) => a.first - b.first);

  const mark = await readMark(store);
  /** At least so much was once written. */
  let floor: Position = mark ?? { seq: 0, weight: 0 };
  let writable = true;
  let newest: Survey | null = null;
  for (let segment = segments.list.at(-1); segment !== undefined; segment = segments.list.at(-1)) {
    if (floor.seq < segment.first - 1) floor = { seq: segment.first - 1, weight: segment.weight };
    newest = await surveyAndRepair(segments, segment, floor.seq);
    if (newest !== null && newest.last !== null) {
      segment.last_record = newest.last_record;
      break;
    }
    if (newest?.pairs === 0 && floor.seq < segment.first) {
      // A crash came between its making and its first write.
      await segments.remove(segment);
      continue;
    }
    writable = false;
    if (!segment.gone) await segments.quarantine(segment, new Error("no good entry is left in it"));
  }

  const last = newest?.last ?? null;
  const head = last !== null && last.seq >= floor.seq ? last : floor;
  if (last !== null && head !== last) {
    const message = `positions ${last.seq + 1} to ${head.seq} were acknowledged and are missing`;
    fault({ code: "journal_corrupt", message });
  }
  writable &&= newest !== null && newest.intact && head === last;

  const described = new Map<number, number>();
  for (const [id, { seq, bytes }] of newest?.descriptions ?? []) {
    descriptions.add(id, bytes);
    described.set(id, seq);
  }
  let cursors = newest?.cursors ?? null;
  let checkpoint = newest?.checkpoint ?? null;
  let next_description_id = newest?.next_description_id ?? 1;
  // Every segment begins with the cursors: going further back is for a damaged beginning.
  for (let index = segments.list.length - 2; cursors === null && index >= 0; index--) {
    const older = segments.list[index];
    const found = older === undefined ? null : await surveyAndRepair(segments, older, 0);
    cursors = found?.cursors ?? null;
    checkpoint ??= found?.checkpoint ?? null;
    next_description_id = Math.max(next_description_id, found?.next_description_id ?? 1);
  }
  descriptions.next_id = Math.max(descriptions.next_id, next_description_id);
  const active = writable ? (segments.list.at(-1) ?? null) : null;
  return { head, cursors: cursors ?? [], checkpoint, active, described };
}

async function readMark(store: Store): Promise<Mark | null> {
  let newest: Mark | null = null;
  for (const bytes of await store.readMarks()) {
    const mark = decodeMark(bytes);
    if (mark !== null && (newest === null || mark.seq > newest.seq)) newest = mark;
  }
  return newest;
}

/** null where it cannot be opened (then it is put aside already). */
async function surveyAndRepair(segments: Segments, segment: Segment, floor_seq: number): Promise<Survey | null> {
  const first = await survey(segments, segment);
  const short = first !== null && (first.last?.seq ?? 0) < floor_seq;
  if (first === null || segment.repaired || (first.intact && !short)) return first;
  // Only where it could help: an empty segment that nothing speaks for is a crash at its making.
  if (first.pairs === 0 && floor_seq < segment.first) return first;
  await segments.repair(segment);
  return survey(segments, segment);
}

async function survey(segments: Segments, segment: Segment): Promise<Survey | null> {
  try {
    const handle = await segments.acquire(segment);
    try {
      const next = segments.next(segment);
      const to = next === undefined ? Number.MAX_SAFE_INTEGER : next.first - 1;
      const scan = handle.scan(encodeKey(segment.first - 1), encodeKey(to));
      let pairs_seen = 0;
      let last: Position | null = null;
      let last_record = segment.first - 1;
      let intact = true;
      let cursors: readonly CursorState[] | null = null;
      let checkpoint: Recovered["checkpoint"] = null;
      let next_description_id = 1;
      const descriptions = new Map<number, { seq: number; bytes: Uint8Array }>();
      for (let pairs = await scan.next(); pairs.length > 0; pairs = await scan.next()) {
        pairs_seen += pairs.length;
        for (const [key, value] of pairs) {
          const entry = decodeEntry(key, value);
          const before: Position = last ?? { seq: segment.first - 1, weight: segment.weight };
          if (entry === null || entry.seq <= before.seq || entry.weight_before < before.weight) {
            intact = false;
            continue;
          }
          if (entry.seq !== before.seq + 1 || entry.weight_before !== before.weight) intact = false;
          last = { seq: entry.seq, weight: entry.weight_before + entry.weight };
          if (entry.kind === KIND.record) last_record = entry.seq;
          else if (entry.kind === KIND.checkpoint) {
            const { covers_seq, bytes } = decodeCheckpoint(entry.payload);
            checkpoint = { covers_seq, bytes: Uint8Array.from(bytes) };
          } else if (entry.kind === KIND.cursors) {
            const state = decodeCursors(entry.payload);
            cursors = state.cursors;
            next_description_id = Math.max(next_description_id, state.next_description_id);
          } else {
            const { id, bytes } = decodeDescription(entry.payload);
            descriptions.set(id, { seq: entry.seq, bytes: Uint8Array.from(bytes) });
            next_description_id = Math.max(next_description_id, id + 1);
          }
        }
      }
      await scan.close();
      return { pairs: pairs_seen, last, last_record, intact, cursors, next_description_id, checkpoint, descriptions };
    } finally {
      segments.release(segment);
    }
  } catch (error) {
    if (error instanceof StoreError && (error.kind === "damaged" || error.kind === "closed")) return null;
    throw error;
  }
}
