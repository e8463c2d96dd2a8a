/**
 * What stands between the bus and the wire: a link has at most one request under way, and says of
 * each how it ended. TCP and RTU are links; ASCII, UDP and TLS would be.
 */
import type { LinesideError } from "../../contract.ts";
import type { Quality } from "../../quality.ts";
import { dataBytes, type Read } from "./plan.ts";
import type { ReadFunction } from "./types.ts";

/** A read as it is sent: compiled once, sent many times. */
export interface Request {
  readonly unit: number;
  readonly function_code: ReadFunction;
  readonly address: number;
  readonly count: number;
  /** Bytes of data that the answer has to carry. */
  readonly data_bytes: number;
  /** The Modbus TCP frame; its first two bytes, the transaction id, are the link's to fill in. */
  readonly frame: Buffer;
}

/** MBAP header and PDU (MODBUS Messaging on TCP/IP V1.0b, 3.1.3). */
export function requestOf(unit: number, read: Pick<Read, "area" | "function_code" | "address" | "count">): Request {
  const { function_code, address, count } = read;
  const frame = Buffer.from([
    0,
    0,
    0,
    0,
    0,
    6,
    unit,
    function_code,
    address >> 8,
    address & 0xff,
    count >> 8,
    count & 0xff,
  ]);
  return { unit, function_code, address, count, data_bytes: dataBytes(read), frame };
}

export interface LinkEvents {
  /** How the request ended: GOOD with its data at byte `base` of `view`, or why not. The view is lent. */
  readonly answered: (quality: Quality, view: DataView | null, base: number) => void;
  /** Bytes that answer nothing asked: late, doubled, not ours. The other side is alive. */
  readonly heard: () => void;
  /** What was sent was no more than a preparation: the same request is to be sent anew, before all others. */
  readonly again: () => void;
  /** The link broke by itself; it is closed. */
  readonly lost: (error: LinesideError) => void;
}

export interface Link {
  /** Rejects with a LinesideError whose code says why, `aborted` where the signal does. */
  open(signal: AbortSignal): Promise<void>;
  send(request: Request): void;
  /** The wait for the answer is over, and whatever comes late is dropped; says how it ended. */
  giveUp(): Quality;
  /** Monotonic time before which nothing may be sent: the silence between RTU frames. */
  ready_ms(): number;
  /** The same for requests to one unit. */
  unit_ready_ms(unit: number): number;
  /** Ends it, also while it opens. */
  close(): Promise<void>;
}
