/**
 * Bytes on disk, and nothing else: pure functions, so that every byte has a literal test.
 *
 *   key     u64 position in the log ("seq"), big-endian: LevelDB's order is the log's order
 *   value   u32 CRC-32 over the key and everything after this field
 *           u8  version (1)     u8 kind     u16 number of references
 *           u64 weight of the log before this entry     u32 weight of this entry
 *           references, 8 bytes each: u32 description id, u32 how many positions back it stands
 *           payload
 *
 * All integers are big-endian. Every entry of any kind takes the next position, so a missing one shows as a
 * hole in the keys, and the weight before the next good one says how many readings the hole cost. The checksum
 * covers the key (an entry cannot pass for its neighbour); the position is therefore not repeated in the value.
 * A description is always written in the segment of the entry that refers to it: a segment explains itself.
 *
 * A segment's directory is named by its first position and the weight before it, each as 16 digits, so that
 * a segment that no longer opens still says what it held.
 */
import { crc32 } from "node:zlib";
import { JournalError } from "./contract.ts";

export const KEY_BYTES = 8;
export const HEADER_BYTES = 20;
export const REFERENCE_BYTES = 8;
const VERSION = 1;
const REFERENCES_MAX = 0xffff;
export const WEIGHT_MAX = 0xffff_ffff;

export const KIND = { record: 1, description: 2, cursors: 3, checkpoint: 4 } as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

/** An entry of any kind, as it stands on disk. */
export interface StoredEntry {
  readonly seq: number;
  readonly kind: Kind;
  /** Weight of everything before it. */
  readonly weight_before: number;
  readonly weight: number;
  /** Description ids, and the positions at which they stand. */
  readonly references: readonly number[];
  readonly described_at: readonly number[];
  readonly payload: Uint8Array;
}

/** A caller's state, and the last position that it includes. */
export interface Checkpoint {
  readonly covers_seq: number;
  readonly bytes: Uint8Array;
}

/** A cursor as it is kept. */
export interface CursorState {
  readonly name: string;
  readonly seq: number;
  /** Weight of the log up to and including `seq`. */
  readonly weight: number;
  /** Weight of the log when the cursor was made. */
  readonly start_weight: number;
  readonly delivered: number;
  readonly dropped: number;
}

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** A safe integer as u64; DataView's own would make a BigInt for each. */
function setU64(to: DataView, at: number, value: number): void {
  to.setUint32(at, Math.floor(value / 4294967296));
  to.setUint32(at + 4, value >>> 0);
}

const getU64 = (from: DataView, at: number): number => from.getUint32(at) * 4294967296 + from.getUint32(at + 4);

export function encodeKey(seq: number): Uint8Array {
  const key = Buffer.allocUnsafe(KEY_BYTES);
  setU64(view(key), 0, seq);
  return key;
}

/** The position that a key stands for; null where it is none of ours. */
export function decodeKey(key: Uint8Array): number | null {
  if (key.length !== KEY_BYTES) return null;
  const seq = getU64(view(key), 0);
  return Number.isSafeInteger(seq) ? seq : null;
}

/** The value under `key`. Copies the payload. */
export function encodeEntry(key: Uint8Array, entry: Omit<StoredEntry, "seq">, seq: number): Uint8Array {
  const { references, described_at, payload } = entry;
  if (references.length > REFERENCES_MAX) {
    throw new JournalError("journal_too_large", `an entry refers to at most ${REFERENCES_MAX} descriptions`);
  }
  const start = HEADER_BYTES + references.length * REFERENCE_BYTES;
  const value = Buffer.allocUnsafe(start + payload.length);
  const header = view(value);
  header.setUint8(4, VERSION);
  header.setUint8(5, entry.kind);
  header.setUint16(6, references.length);
  setU64(header, 8, entry.weight_before);
  header.setUint32(16, entry.weight);
  for (let index = 0; index < references.length; index++) {
    header.setUint32(HEADER_BYTES + index * REFERENCE_BYTES, references[index] ?? 0);
    header.setUint32(HEADER_BYTES + index * REFERENCE_BYTES + 4, seq - (described_at[index] ?? seq));
  }
  value.set(payload, start);
  header.setUint32(0, checksum(key, value));
  return value;
}

const checksum = (key: Uint8Array, value: Uint8Array): number => crc32(value.subarray(4), crc32(key));

const KINDS: ReadonlySet<number> = new Set(Object.values(KIND));
const isKind = (kind: number): kind is Kind => KINDS.has(kind);

/** The entry, or null where any bit of it is not as it was written. The payload is a view on `value`. */
export function decodeEntry(key: Uint8Array, value: Uint8Array): StoredEntry | null {
  const seq = decodeKey(key);
  if (seq === null || value.length < HEADER_BYTES) return null;
  const header = view(value);
  if (header.getUint32(0) !== checksum(key, value)) return null;
  const kind = header.getUint8(5);
  if (header.getUint8(4) !== VERSION || !isKind(kind)) return null;
  const count = header.getUint16(6);
  const start = HEADER_BYTES + count * REFERENCE_BYTES;
  if (start > value.length) return null;
  const references: number[] = [];
  const described_at: number[] = [];
  for (let at = HEADER_BYTES; at < start; at += REFERENCE_BYTES) {
    references.push(header.getUint32(at));
    described_at.push(seq - header.getUint32(at + 4));
  }
  return {
    seq,
    kind,
    weight_before: getU64(header, 8),
    weight: header.getUint32(16),
    references,
    described_at,
    payload: value.subarray(start),
  };
}

/** kind `description`: u32 id, bytes. */
export function encodeDescription(id: number, bytes: Uint8Array): Uint8Array {
  const payload = Buffer.allocUnsafe(4 + bytes.length);
  payload.writeUInt32BE(id);
  payload.set(bytes, 4);
  return payload;
}

export function decodeDescription(payload: Uint8Array): { readonly id: number; readonly bytes: Uint8Array } {
  return { id: view(payload).getUint32(0), bytes: payload.subarray(4) };
}

/** kind `checkpoint`: u64 last position that it includes, bytes. */
export function encodeCheckpoint({ covers_seq, bytes }: Checkpoint): Uint8Array {
  const payload = Buffer.allocUnsafe(8 + bytes.length);
  setU64(view(payload), 0, covers_seq);
  payload.set(bytes, 8);
  return payload;
}

export function decodeCheckpoint(payload: Uint8Array): Checkpoint {
  return { covers_seq: getU64(view(payload), 0), bytes: payload.subarray(8) };
}

/** kind `cursors`, first in every segment: u32 next description id, u16 count, then each cursor: name, five u64. */
export interface CursorsState {
  readonly next_description_id: number;
  readonly cursors: readonly CursorState[];
}

export const CURSOR_NAME_BYTES_MAX = 255;

export function encodeCursors(state: CursorsState): Uint8Array {
  const names = state.cursors.map((cursor) => Buffer.from(cursor.name, "utf8"));
  const payload = Buffer.alloc(6 + names.reduce((sum, name) => sum + 1 + name.length + 40, 0));
  const to = view(payload);
  to.setUint32(0, state.next_description_id);
  to.setUint16(4, names.length);
  let at = 6;
  for (const [index, cursor] of state.cursors.entries()) {
    const name = names[index] ?? Buffer.alloc(0);
    to.setUint8(at, name.length);
    payload.set(name, at + 1);
    at += 1 + name.length;
    for (const figure of [cursor.seq, cursor.weight, cursor.start_weight, cursor.delivered, cursor.dropped]) {
      setU64(to, at, figure);
      at += 8;
    }
  }
  return payload;
}

export function decodeCursors(payload: Uint8Array): CursorsState {
  const from = view(payload);
  const cursors: CursorState[] = [];
  let at = 6;
  for (let left = from.getUint16(4); left > 0; left--) {
    const end = at + 1 + from.getUint8(at);
    const name = Buffer.from(payload.subarray(at + 1, end)).toString("utf8");
    const [seq = 0, weight = 0, start_weight = 0, delivered = 0, dropped = 0] = [0, 8, 16, 24, 32].map((offset) =>
      getU64(from, end + offset),
    );
    cursors.push({ name, seq, weight, start_weight, delivered, dropped });
    at = end + 40;
  }
  return { next_description_id: from.getUint32(0), cursors };
}

/** The high-water mark beside the segments: the last position that was acknowledged, and the weight up to it. */
export interface Mark {
  readonly seq: number;
  readonly weight: number;
}

export const MARK_BYTES = 20;

/** u32 CRC-32 of the rest, u64 seq, u64 weight. */
export function encodeMark(mark: Mark): Uint8Array {
  const bytes = Buffer.alloc(MARK_BYTES);
  setU64(view(bytes), 4, mark.seq);
  setU64(view(bytes), 12, mark.weight);
  bytes.writeUInt32BE(crc32(bytes.subarray(4)));
  return bytes;
}

export function decodeMark(bytes: Uint8Array): Mark | null {
  if (bytes.length !== MARK_BYTES || view(bytes).getUint32(0) !== crc32(bytes.subarray(4))) return null;
  return { seq: getU64(view(bytes), 4), weight: getU64(view(bytes), 12) };
}

const SEGMENT_NAME = /^(\d{16})-(\d{16})$/;

export const segmentName = (first: number, weight: number): string =>
  `${String(first).padStart(16, "0")}-${String(weight).padStart(16, "0")}`;

/** null where a directory is none of ours. */
export function parseSegmentName(name: string): { readonly first: number; readonly weight: number } | null {
  const match = SEGMENT_NAME.exec(name);
  return match === null ? null : { first: Number(match[1]), weight: Number(match[2]) };
}
