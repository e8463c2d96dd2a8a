/**
 * Decodes journal payloads into batches. Nothing is copied: the columns of a frame are views of the
 * decompressed body, or of tables that all frames share. A decoded frame is therefore only read.
 */
import { type Descriptor, type Event, LinesideError } from "#adapters/contract.ts";
import type { Frame } from "#adapters/frame.ts";
import { GOOD, type Quality, qualityOf, type QualityClass } from "#adapters/quality.ts";
import { zstdDecompressSync } from "node:zlib";
import * as layout from "./layout.ts";

const CLASSES: readonly QualityClass[] = ["good", "uncertain", "bad"];

export interface DecodedPayload {
  readonly frames: { descriptor: Descriptor; frame: Frame }[];
  readonly events: Event[];
  readonly readings: number;
  /** Readings that were lost before the journal and are only counted here. */
  readonly lost: number;
}

/**
 * Decodes one payload. `descriptorOf` gives the descriptors that it names.
 * Throws LinesideError `journal_format` where the bytes are not ours: a newer version, or damage that
 * a checksum did not see.
 */
export function decodePayload(payload: Uint8Array, descriptorOf: (id: number) => Descriptor): DecodedPayload {
  const reader = new Reader(bodyOf(payload));
  const qualities: Quality[] = [GOOD];
  const frames: { descriptor: Descriptor; frame: Frame }[] = [];
  const events: Event[] = [];
  let readings = 0;
  let lost = 0;
  while (!reader.done) {
    const block = reader.byte();
    if (block === layout.BLOCK_REASON) {
      const name = CLASSES[reader.byte()] ?? fail("unknown quality class");
      qualities.push(qualityOf(name, reader.string(reader.varint())));
    } else if (block === layout.BLOCK_FRAME) {
      const descriptor = descriptorOf(reader.varint());
      const frame = readFrame(reader, qualities);
      readings += frame.count;
      frames.push({ descriptor, frame });
    } else if (block === layout.BLOCK_EVENT) {
      const descriptor = descriptorOf(reader.varint());
      events.push({ ...(JSON.parse(reader.string(reader.varint())) as Omit<Event, "descriptor">), descriptor });
    } else if (block === layout.BLOCK_LOST) {
      lost += reader.varint();
    } else {
      fail(`unknown block ${block}`);
    }
  }
  return { frames, events, readings, lost };
}

function readFrame(reader: Reader, qualities: readonly Quality[]): Frame {
  const rows = reader.varint();
  if (rows > layout.BODY_BYTES_MAX) fail("too many rows");
  const flags = reader.byte();
  const time_us = reader.double();
  const points = readPoints(reader, rows, flags);
  const quality = readQuality(reader, rows, flags, qualities);
  if (flags & (layout.TIMES | layout.STARTS | layout.VALUES)) reader.align();
  const times_us = flags & layout.TIMES ? reader.column(rows) : null;
  const starts_us = flags & layout.STARTS ? reader.column(rows) : null;
  const doubles = flags & layout.VALUES ? reader.column(rows) : new Float64Array(rows);
  let texts: (string | null)[] | null = null;
  if (flags & layout.TEXTS) {
    texts = [];
    for (let row = 0; row < rows; row++) {
      const length = reader.varint();
      texts.push(length === 0 ? null : reader.string(length - 1));
    }
  }
  return {
    points,
    count: rows,
    doubles,
    ints: new BigInt64Array(doubles.buffer, doubles.byteOffset, rows),
    words: new Int32Array(doubles.buffer, doubles.byteOffset, rows * 2),
    quality,
    time_us,
    times_us,
    starts_us,
    texts,
  };
}

/** 0, 1, 2, ... and a quality that is GOOD everywhere: most frames show a stretch of these. */
let run = new Uint32Array();
let good = new Uint16Array();
/** Beyond this a frame gets columns of its own. */
const SHARED_ROWS_MAX = 64 * 1024;

function readPoints(reader: Reader, rows: number, flags: number): Uint32Array {
  if ((flags & layout.POINTS_RUN) === 0) {
    const points = new Uint32Array(rows);
    for (let row = 0; row < rows; row++) points[row] = reader.varint();
    return points;
  }
  const first = reader.varint();
  if (first + rows > SHARED_ROWS_MAX) return Uint32Array.from({ length: rows }, (_, row) => first + row);
  if (first + rows > run.length) run = Uint32Array.from({ length: 2 * (first + rows) }, (_, point) => point);
  return run.subarray(first, first + rows);
}

function readQuality(reader: Reader, rows: number, flags: number, qualities: readonly Quality[]): Uint16Array {
  if (flags & layout.QUALITY_SAME) {
    return new Uint16Array(rows).fill(qualities[reader.varint()] ?? fail("unknown quality"));
  }
  if (flags & layout.QUALITY_ROWS) {
    const quality = new Uint16Array(rows);
    for (let row = 0; row < rows; row++) quality[row] = qualities[reader.varint()] ?? fail("unknown quality");
    return quality;
  }
  if (rows > SHARED_ROWS_MAX) return new Uint16Array(rows);
  if (rows > good.length) good = new Uint16Array(2 * rows);
  return good.subarray(0, rows);
}

function bodyOf(payload: Uint8Array): Buffer {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
  if (bytes.length < layout.HEADER_BYTES) fail("too short");
  if (bytes.readUInt8(0) !== layout.VERSION) {
    fail(`version ${bytes.readUInt8(0)}, this agent reads version ${layout.VERSION}`);
  }
  const length = bytes.readUInt32LE(4);
  if (length > layout.BODY_BYTES_MAX) fail("impossible length");
  const content = bytes.subarray(layout.HEADER_BYTES);
  const codec = bytes.readUInt8(1);
  const body =
    codec === layout.CODEC_PLAIN
      ? content
      : codec === layout.CODEC_ZSTD
        ? zstdDecompressSync(content, { maxOutputLength: Math.max(length, 1), chunkSize: Math.max(length, 64) })
        : fail(`unknown codec ${codec}`);
  if (body.length !== length) fail("length differs");
  // Views of eight bytes a row need their place in memory to be aligned; a plain body stands anywhere.
  return body.byteOffset % layout.COLUMN_ALIGNMENT === 0 ? body : Buffer.from(Uint8Array.from(body).buffer);
}

function fail(what: string): never {
  throw new LinesideError("journal_format", `a journal record cannot be read: ${what}`);
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    return this.#bytes[this.#at++] ?? fail("ends early");
  }

  varint(): number {
    let value = 0;
    let factor = 1;
    for (let count = 0; count < 8; count++) {
      const byte = this.byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      factor *= 0x80;
    }
    return fail("a number is too long");
  }

  double(): number {
    this.#need(8);
    const value = this.#bytes.readDoubleLE(this.#at);
    this.#at += 8;
    return value;
  }

  string(length: number): string {
    this.#need(length);
    const text = this.#bytes.toString("utf8", this.#at, this.#at + length);
    this.#at += length;
    return text;
  }

  /** To where a column begins. */
  align(): void {
    this.#at = Math.ceil(this.#at / layout.COLUMN_ALIGNMENT) * layout.COLUMN_ALIGNMENT;
  }

  /** Eight bytes a row. */
  column(rows: number): Float64Array {
    this.#need(rows * 8);
    const column = new Float64Array(this.#bytes.buffer, this.#bytes.byteOffset + this.#at, rows);
    this.#at += rows * 8;
    return column;
  }

  #need(bytes: number): void {
    if (this.#at + bytes > this.#bytes.length) fail("ends early");
  }
}
