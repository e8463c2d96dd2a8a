/**
 * The port beneath modbus-serial. modbus-serial's own ports take the first bytes of the right length
 * for the answer; this one looks for the answer to this very request: unit, function, byte count and
 * checksum, wherever it begins. What comes before it (noise, an echo, a late answer of another unit)
 * is skipped, what comes unasked is dropped.
 */
import { EventEmitter } from "node:events";
import type { LinesideError } from "../../contract.ts";
import { crcFits } from "./crc.ts";
import type { Request } from "./link.ts";
import type { Line, LineEvents, OpenLine } from "./lines.ts";

export interface RtuPortEvents {
  /** Bytes that nobody waits for. */
  readonly stray: () => void;
  readonly lost: (error: LinesideError) => void;
}

/** Unit, function, byte count or exception code, CRC. */
const HEADER_BYTES = 3;
const CRC_BYTES = 2;
const EXCEPTION_BYTES = 5;
const REQUEST_BYTES = 8;
/** An answer has at most 256; anything may stand before it. Older bytes go first. */
const BUFFER_BYTES = 1024;

export class RtuPort extends EventEmitter {
  /** modbus-serial keeps the ids of TCP here; on a line they stand still. */
  _transactionIdRead = 1;
  _transactionIdWrite = 1;
  signal: AbortSignal | null = null;
  readonly #openLine: OpenLine;
  readonly #events: RtuPortEvents;
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  #length = 0;
  #echo: Buffer | null = null;
  #expected: Request | null = null;
  #line: Line | null = null;

  constructor(openLine: OpenLine, events: RtuPortEvents) {
    super();
    this.#openLine = openLine;
    this.#events = events;
  }

  get isOpen(): boolean {
    return this.#line !== null;
  }

  open(callback: (error?: unknown) => void): void {
    const events = {
      bytes: (bytes: Uint8Array) => this.#take(bytes),
      lost: (error: LinesideError) => {
        this.#line = null;
        this.#events.lost(error);
      },
    };
    void this.#open(events, callback);
  }

  async #open(events: LineEvents, callback: (error?: unknown) => void): Promise<void> {
    try {
      this.#line = await this.#openLine(events, this.signal ?? new AbortController().signal);
    } catch (error) {
      return callback(error);
    }
    callback();
  }

  close(callback: () => void): void {
    const line = this.#line;
    this.#line = null;
    this.#expected = null;
    if (line === null) callback();
    else void this.#close(line, callback);
  }

  async #close(line: Line, callback: () => void): Promise<void> {
    try {
      await line.close();
    } finally {
      callback();
    }
  }

  /** What the next write asks for. */
  expect(request: Request): void {
    this.#expected = request;
    this.#length = 0;
  }

  write(frame: Buffer): void {
    this.#echo = frame;
    this.#line?.write(frame);
  }

  /** Stops waiting; true where bytes came that are no frame of anybody. */
  giveUp(): boolean {
    const isNoise = this.#length > 0 && !(this.#length >= EXCEPTION_BYTES && crcFits(this.#buffer, 0, this.#length));
    this.#expected = null;
    this.#length = 0;
    return isNoise;
  }

  #take(bytes: Uint8Array): void {
    if (this.#expected === null) return this.#events.stray();
    const kept = bytes.length > BUFFER_BYTES ? bytes.subarray(bytes.length - BUFFER_BYTES) : bytes;
    const excess = this.#length + kept.length - BUFFER_BYTES;
    if (excess > 0) {
      this.#buffer.copyWithin(0, excess, this.#length);
      this.#length -= excess;
    }
    this.#buffer.set(kept, this.#length);
    this.#length += kept.length;
    this.#search(this.#expected);
  }

  #search(expected: Request): void {
    const bytes = this.#buffer;
    const whole = HEADER_BYTES + expected.data_bytes + CRC_BYTES;
    this.#dropEcho(whole);
    for (let start = 0; start + EXCEPTION_BYTES <= this.#length; start += 1) {
      if (bytes[start] !== expected.unit) continue;
      const code = bytes[start + 1];
      let end: number;
      if (code === expected.function_code && bytes[start + 2] === expected.data_bytes) end = start + whole;
      else if (code === (expected.function_code | 0x80)) end = start + EXCEPTION_BYTES;
      else continue;
      if (end > this.#length) continue;
      // A frame that is alone and broken is the answer all the same: modbus-serial says so.
      if (crcFits(bytes, start, end) || (start === 0 && end === this.#length)) {
        this.#expected = null;
        this.#length = 0;
        this.emit("data", Buffer.from(bytes.subarray(start, end)));
        return;
      }
    }
  }

  /** Two-wire adapters may send back what was written; no answer looks like its request, but one of its length. */
  #dropEcho(whole: number): void {
    const echo = this.#echo;
    if (echo === null || whole === REQUEST_BYTES || this.#length < echo.length) return;
    this.#echo = null;
    if (this.#buffer.compare(echo, 0, echo.length, 0, echo.length) !== 0) return;
    this.#buffer.copyWithin(0, echo.length, this.#length);
    this.#length -= echo.length;
  }
}
