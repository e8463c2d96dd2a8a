/** Encodes frames and events into journal payloads as they come; nothing is kept as objects. */
import type { Event } from "#adapters/contract.ts";
import type { Frame } from "#adapters/frame.ts";
import { classOf, isBad, type Quality, reasonOf } from "#adapters/quality.ts";
import { constants, zstdCompressSync } from "node:zlib";
import * as layout from "./layout.ts";

const CLASS_CODE = { good: 0, uncertain: 1, bad: 2 } as const;

export interface Payload {
  readonly payload: Uint8Array;
  /** Readings carried, and readings lost before this point. */
  readonly weight: number;
  /** Descriptors that the payload names. */
  readonly references: readonly number[];
}

export class BatchWriter {
  #bytes = Buffer.allocUnsafe(64 * 1024);
  #at = layout.HEADER_BYTES;
  #weight = 0;
  readonly #references = new Set<number>();
  /** Quality -> its number in this payload. */
  readonly #qualities = new Map<Quality, number>();

  /** Bytes so far: the caller closes a payload when it is large enough. */
  get size(): number {
    return this.#at - layout.HEADER_BYTES;
  }

  get empty(): boolean {
    return this.#at === layout.HEADER_BYTES;
  }

  frame(descriptor: number, frame: Frame): void {
    const rows = frame.count;
    if (rows === 0) return;
    const { flags, same } = this.#columns(frame);
    this.#references.add(descriptor);
    this.#weight += rows;
    // Fixed part with its alignment, and at most: 5 + 2 bytes for points and quality, 8 for each of values, times, starts.
    this.#reserve(64 + rows * 31);
    this.#byte(layout.BLOCK_FRAME);
    this.#varint(descriptor);
    this.#varint(rows);
    this.#byte(flags);
    this.#double(frame.time_us);
    if (flags & layout.POINTS_RUN) this.#varint(frame.points[0] ?? 0);
    else for (let row = 0; row < rows; row++) this.#varint(frame.points[row] ?? 0);
    if (flags & layout.QUALITY_SAME) this.#varint(same);
    if (flags & layout.QUALITY_ROWS) {
      for (let row = 0; row < rows; row++) this.#varint(this.#qualities.get(frame.quality[row] ?? 0) ?? 0);
    }
    if (flags & (layout.TIMES | layout.STARTS | layout.VALUES)) this.#align();
    if (frame.times_us !== null) this.#column(frame.times_us, rows);
    if (frame.starts_us !== null) this.#column(frame.starts_us, rows);
    if (flags & layout.VALUES) this.#column(frame.doubles, rows);
    if (frame.texts !== null) for (let row = 0; row < rows; row++) this.#text(frame.texts[row] ?? null);
  }

  event(descriptor: number, event: Omit<Event, "descriptor">): void {
    this.#references.add(descriptor);
    const { name, time_us, severity, body, attributes, target } = event;
    const text = JSON.stringify({ name, time_us, severity, body, attributes, target });
    this.#reserve(16 + text.length * 3);
    this.#byte(layout.BLOCK_EVENT);
    this.#varint(descriptor);
    this.#string(text);
  }

  /** Readings that never reached the journal: they count in its conservation. */
  lost(readings: number): void {
    this.#weight += readings;
    this.#reserve(16);
    this.#byte(layout.BLOCK_LOST);
    this.#varint(readings);
  }

  /** Closes the payload and starts a new one. */
  finish(): Payload {
    const bytes = this.#bytes;
    const body = bytes.subarray(layout.HEADER_BYTES, this.#at);
    const packed = body.length < layout.COMPRESS_BYTES_MIN ? null : compress(body);
    const smaller = packed !== null && packed.length < body.length;
    const content = smaller ? packed : body;
    const payload = Buffer.allocUnsafeSlow(layout.HEADER_BYTES + content.length);
    payload.writeUInt8(layout.VERSION, 0);
    payload.writeUInt8(smaller ? layout.CODEC_ZSTD : layout.CODEC_PLAIN, 1);
    payload.writeUInt16LE(0, 2);
    payload.writeUInt32LE(body.length, 4);
    payload.set(content, layout.HEADER_BYTES);
    const finished = { payload, weight: this.#weight, references: [...this.#references] };
    this.#at = layout.HEADER_BYTES;
    this.#weight = 0;
    this.#references.clear();
    this.#qualities.clear();
    return finished;
  }

  /** Which columns say anything; qualities met for the first time are written as REASON blocks. */
  #columns(frame: Frame): { flags: number; same: number } {
    const { points, quality, count } = frame;
    let run = true;
    let sameQuality = true;
    let anyValue = false;
    let anyReason = false;
    const firstPoint = points[0] ?? 0;
    const firstQuality = quality[0] ?? 0;
    let known = -1;
    for (let row = 0; row < count; row++) {
      if (points[row] !== firstPoint + row) run = false;
      const q = quality[row] ?? 0;
      if (q !== firstQuality) sameQuality = false;
      if (q !== 0) {
        anyReason = true;
        if (q !== known) this.#define(q);
        known = q;
      }
      if (!isBad(q)) anyValue = true;
    }
    let flags = 0;
    if (run) flags |= layout.POINTS_RUN;
    if (anyReason) flags |= sameQuality ? layout.QUALITY_SAME : layout.QUALITY_ROWS;
    if (frame.times_us !== null) flags |= layout.TIMES;
    if (frame.starts_us !== null) flags |= layout.STARTS;
    if (frame.texts !== null) flags |= layout.TEXTS;
    if (anyValue) flags |= layout.VALUES;
    return { flags, same: this.#qualities.get(firstQuality) ?? 0 };
  }

  #define(quality: Quality): void {
    if (this.#qualities.has(quality)) return;
    this.#qualities.set(quality, this.#qualities.size + 1);
    const reason = reasonOf(quality);
    this.#reserve(16 + reason.length * 3);
    this.#byte(layout.BLOCK_REASON);
    this.#byte(CLASS_CODE[classOf(quality)]);
    this.#string(reason);
  }

  /** The header has eight bytes, so that a place in the buffer is aligned as the place in the body is. */
  #align(): void {
    while (this.#at % layout.COLUMN_ALIGNMENT !== 0) this.#byte(0);
  }

  #column(values: Float64Array, rows: number): void {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, rows * 8);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #byte(value: number): void {
    this.#bytes[this.#at++] = value;
  }

  #double(value: number): void {
    this.#at = this.#bytes.writeDoubleLE(value, this.#at);
  }

  #varint(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#at++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#at++] = rest;
  }

  #string(text: string): void {
    const length = Buffer.byteLength(text);
    this.#reserve(length + 8);
    this.#varint(length);
    this.#at += this.#bytes.write(text, this.#at, "utf8");
  }

  #text(text: string | null): void {
    if (text === null) {
      this.#reserve(8);
      this.#byte(0);
      return;
    }
    const length = Buffer.byteLength(text);
    this.#reserve(length + 8);
    this.#varint(length + 1);
    this.#at += this.#bytes.write(text, this.#at, "utf8");
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#at + bytes));
    this.#bytes.copy(grown, 0, 0, this.#at);
    this.#bytes = grown;
  }
}

/** Output comes in pieces of `chunkSize`: one that is large enough saves joining them. Half is plenty for readings. */
function compress(body: Uint8Array): Buffer {
  const params = { [constants.ZSTD_c_compressionLevel]: 1 };
  return zstdCompressSync(body, { params, chunkSize: body.length >> 1 });
}
