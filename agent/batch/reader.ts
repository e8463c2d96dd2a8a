/** Decodes journal payloads into batches: columns are copied once, so that they are aligned and live on. */
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
  const points = new Uint32Array(rows);
  if (flags & layout.POINTS_RUN) {
    const first = reader.varint();
    for (let row = 0; row < rows; row++) points[row] = first + row;
  } else {
    for (let row = 0; row < rows; row++) points[row] = reader.varint();
  }
  const quality = new Uint16Array(rows);
  if (flags & layout.QUALITY_SAME) quality.fill(qualities[reader.varint()] ?? fail("unknown quality"));
  if (flags & layout.QUALITY_ROWS) {
    for (let row = 0; row < rows; row++) quality[row] = qualities[reader.varint()] ?? fail("unknown quality");
  }
  const times_us = flags & layout.TIMES ? new Float64Array(reader.column(rows)) : null;
  const starts_us = flags & layout.STARTS ? new Float64Array(reader.column(rows)) : null;
  const memory = flags & layout.VALUES ? reader.column(rows) : new ArrayBuffer(rows * 8);
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
    doubles: new Float64Array(memory),
    ints: new BigInt64Array(memory),
    words: new Int32Array(memory),
    quality,
    time_us,
    times_us,
    starts_us,
    texts,
  };
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
        ? zstdDecompressSync(content, { maxOutputLength: Math.max(length, 1) })
        : fail(`unknown codec ${codec}`);
  if (body.length !== length) fail("length differs");
  return body;
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

  /** Eight bytes a row, copied so that typed arrays over them are aligned. */
  column(rows: number): ArrayBuffer {
    this.#need(rows * 8);
    const memory = new ArrayBuffer(rows * 8);
    new Uint8Array(memory).set(this.#bytes.subarray(this.#at, this.#at + rows * 8));
    this.#at += rows * 8;
    return memory;
  }

  #need(bytes: number): void {
    if (this.#at + bytes > this.#bytes.length) fail("ends early");
  }
}
