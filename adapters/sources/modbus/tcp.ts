/**
 * Modbus TCP (MODBUS Messaging on TCP/IP Implementation Guide V1.0b).
 *
 *   send ─▶ transaction id ─▶ socket ─▶ bytes ─▶ MBAP frames ─▶ ours? ─▶ answered
 *                                         │                     └ id of another request: dropped, the wait goes on
 *                                         └ no Modbus TCP: the connection is closed, there is no finding back
 *
 * Written for the hot path: one buffer for all connections, nothing allocated per answer.
 */
import type net from "node:net";
import { type Clock, LinesideError } from "../../contract.ts";
import { GOOD, type Quality } from "../../quality.ts";
import type { Link, LinkEvents, Request } from "./link.ts";
import { exceptionQuality, GARBAGE, TIMEOUT, WRONG_UNIT } from "./reasons.ts";
import { closeSocket, openSocket, type SocketOptions } from "./socket.ts";

/** Six bytes of header, then what its length field counts: unit and PDU, 254 bytes at most. */
const HEADER_BYTES = 6;
const LENGTH_MIN = 3;
const LENGTH_MAX = 254;
/**
 * All connections read into the same memory: bytes are looked at before the next socket is read, and
 * what is left of a frame is copied.
 */
const BYTES = Buffer.allocUnsafeSlow(4096);
const VIEW = new DataView(BYTES.buffer);

export class TcpLink implements Link {
  readonly #options: SocketOptions;
  readonly #clock: Clock;
  readonly #events: LinkEvents;
  /** The beginning of a frame whose rest has not come; null until a frame is parted for the first time. */
  #rest: { readonly bytes: Buffer; readonly view: DataView; length: number } | null = null;
  #socket: net.Socket | null = null;
  #request: Request | null = null;
  #transaction = 0;

  constructor(options: SocketOptions, clock: Clock, events: LinkEvents) {
    this.#options = options;
    this.#clock = clock;
    this.#events = events;
  }

  async open(signal: AbortSignal): Promise<void> {
    const events = { bytes: (count: number) => this.#take(count), lost: (error: LinesideError) => this.#lose(error) };
    this.#socket = await openSocket(this.#options, this.#clock, BYTES, events, signal);
  }

  send(request: Request): void {
    const { frame } = request;
    const id = (this.#transaction = (this.#transaction + 1) & 0xffff);
    this.#request = request;
    frame[0] = id >> 8;
    frame[1] = id & 0xff;
    const socket = this.#socket;
    if (socket === null) return;
    // A frame that the kernel has not taken yet is still read from this memory.
    socket.write(socket.writableLength > 0 ? Buffer.from(frame) : frame);
  }

  giveUp(): Quality {
    this.#request = null;
    return TIMEOUT;
  }

  ready_ms(): number {
    return 0;
  }

  unit_ready_ms(): number {
    return 0;
  }

  async close(): Promise<void> {
    const socket = this.#socket;
    this.#socket = null;
    this.#request = null;
    if (socket !== null) await closeSocket(socket);
  }

  #take(count: number): void {
    const rest = this.#rest;
    if (rest === null || rest.length === 0) {
      this.#frames(BYTES, VIEW, count);
      return;
    }
    // At most one frame is ever kept back, so both parts fit.
    BYTES.copy(rest.bytes, rest.length, 0, count);
    const length = rest.length + count;
    rest.length = 0;
    this.#frames(rest.bytes, rest.view, length);
  }

  /** All frames in `count` bytes from 0; an unfinished one is kept for the next read. */
  #frames(bytes: Buffer, view: DataView, count: number): void {
    let start = 0;
    while (count - start >= HEADER_BYTES) {
      const length = view.getUint16(start + 4);
      if (view.getUint16(start + 2) !== 0 || length < LENGTH_MIN || length > LENGTH_MAX) {
        this.#refuse(bytes.toString("hex", start, Math.min(start + 12, count)));
        return;
      }
      const end = start + HEADER_BYTES + length;
      if (end > count) break;
      this.#answer(bytes, view, start, length);
      if (this.#socket === null) return;
      start = end;
    }
    if (start === count) return;
    this.#rest ??= restBuffer();
    bytes.copy(this.#rest.bytes, 0, start, count);
    this.#rest.length = count - start;
  }

  #answer(bytes: Buffer, view: DataView, start: number, length: number): void {
    const request = this.#request;
    if (request === null || view.getUint16(start) !== this.#transaction) {
      this.#events.heard();
      return;
    }
    this.#request = null;
    const code = bytes[start + 7] ?? 0;
    if (bytes[start + 6] !== request.unit) this.#events.answered(WRONG_UNIT, null, 0);
    else if (code === request.function_code) {
      const fits = length === request.data_bytes + 3 && bytes[start + 8] === request.data_bytes;
      this.#events.answered(fits ? GOOD : GARBAGE, view, start + 9);
    } else if (code === (request.function_code | 0x80) && length === 3) {
      this.#events.answered(exceptionQuality(bytes[start + 8] ?? 0), null, 0);
    } else this.#events.answered(GARBAGE, null, 0);
  }

  #refuse(hex: string): void {
    const where = `${this.#options.host}:${this.#options.port}`;
    this.#lose(
      new LinesideError(
        "garbage",
        `${where} sent what is no Modbus TCP (${hex}...): is it RTU over TCP, framing: rtu?`,
      ),
    );
  }

  #lose(error: LinesideError): void {
    // Once alone: what was closed on purpose, or is lost already, is no news.
    const socket = this.#socket;
    if (socket === null) return;
    this.#socket = null;
    this.#request = null;
    socket.destroy();
    this.#events.lost(error);
  }
}

function restBuffer(): { bytes: Buffer; view: DataView; length: number } {
  const bytes = Buffer.allocUnsafeSlow(HEADER_BYTES + LENGTH_MAX + BYTES.length);
  return { bytes, view: new DataView(bytes.buffer), length: 0 };
}
