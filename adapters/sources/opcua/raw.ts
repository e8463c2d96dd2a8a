/**
 * Data change notifications, straight from their bytes into rows (Part 6, 5.2: binary encoding).
 *
 *   library: message ─▶ PublishResponse ─▶ DataChangeNotification (bytes kept) ─▶ rawOf ─▶ readNotification ─▶ rows
 *
 * The library would make four objects of each value, divide each time in software, know no status
 * code but the standard's (it writes others to the console as Bad), and drop in silence whatever
 * stands behind a value that it cannot decode.
 */
import { DataChangeNotification } from "node-opcua-client";
import type { Frame } from "../../frame.ts";
import { isBad } from "../../quality.ts";
import { isReadingTime, NO_VALUE, refuse, TYPE_UNSUPPORTED, type Writer } from "./decode.ts";
import { qualityOfStatus } from "./status.ts";

type Stream = Parameters<DataChangeNotification["decode"]>[0];

/** 1970 in ticks of 100 ns since 1601, in two words. */
const EPOCH_TICKS = 116_444_736_000_000_000n;
const EPOCH_HIGH = Number(EPOCH_TICKS >> 32n);
const EPOCH_LOW = Number(EPOCH_TICKS & 0xffff_ffffn);
const TWO_32 = 4_294_967_296;
/** 9999-01-01: from there on a time means "none" (Part 6, 5.2.2.5). */
const TIME_MAX_HIGH = Number((253_370_764_800_000n * 10_000n + EPOCH_TICKS) >> 32n);
/** Bytes of the built-in types with a fixed size, by type id (Part 6, 5.1.2); 0 for the others. */
const SIZES = Uint8Array.of(0, 1, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8, 0, 8, 16, 0, 0, 0, 0, 4);
const DEPTH_MAX = 100;
const ARRAY = 0x80;
const DIMENSIONS = 0x40;
const TYPE = 0x3f;

const kept = new WeakMap<DataChangeNotification, Buffer>();
let installed = false;

/**
 * From now on the library leaves the bodies of data change notifications as they came, and decodes
 * one only when somebody asks for its `monitoredItems`. For the whole process, and harmless there.
 */
export function keepNotificationsRaw(): void {
  if (installed) return;
  installed = true;
  const { prototype } = DataChangeNotification;
  const decode: unknown = Reflect.get(prototype, "decode");
  if (typeof decode !== "function") throw new TypeError("the library decodes notifications in another way");
  prototype.decode = function keepRaw(this: DataChangeNotification, stream: Stream): void {
    const from = stream.length;
    // The body of an extension object follows its length (Part 6, 5.2.2.15).
    const to = from + stream.buffer.readUInt32LE(from - 4);
    if (to > stream.buffer.length) throw new RangeError("a notification is longer than its message");
    const body = stream.buffer.subarray(from, to);
    kept.set(this, body);
    stream.length = to;
    const decodeNow = (): void => {
      Reflect.deleteProperty(this, "monitoredItems");
      const again = stream.length;
      stream.length = from;
      Reflect.apply(decode, this, [stream]);
      stream.length = again;
    };
    Object.defineProperty(this, "monitoredItems", {
      configurable: true,
      enumerable: true,
      get: () => {
        decodeNow();
        return this.monitoredItems;
      },
    });
  };
}

/** The body of a notification that came while keepNotificationsRaw was in force. */
export function rawOf(notification: DataChangeNotification): Buffer | null {
  return kept.get(notification) ?? null;
}

/** What readNotification gives its rows to. */
export interface RowTaker {
  /** A new row for the client handle; -1 where nobody knows it. */
  row(handle: number): number;
  readonly frame: Frame;
  writer(handle: number): Writer | undefined;
  /** The status code as it came, all bits of it. */
  status(code: number): void;
}

/** How many items a notification's body announces. Throws RangeError where it is too short to say. */
export const itemsOf = (body: Buffer): number => Math.max(0, body.readInt32LE(0));

/** All items of a notification's body. Throws RangeError where the bytes do not hold what they announce. */
export function readNotification(body: Buffer, taker: RowTaker): void {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const count = itemsOf(body);
  let at = 4;
  for (let i = 0; i < count; i++) {
    const handle = view.getUint32(at, true);
    const mask = view.getUint8(at + 4);
    const value = at + 5;
    at = (mask & 1) !== 0 ? skipVariant(view, value, 0) : value;
    let status = 0;
    if ((mask & 2) !== 0) {
      status = view.getUint32(at, true);
      at += 4;
    }
    let time_us = Number.NaN;
    if ((mask & 4) !== 0) {
      time_us = timeAt(view, at);
      at += 8;
    }
    // Picoseconds count what is below 100 ns: nothing that a microsecond shows.
    if ((mask & 0x10) !== 0) at += 2;
    if ((mask & 8) !== 0) {
      if (!isReadingTime(time_us)) time_us = timeAt(view, at);
      at += 8;
    }
    if ((mask & 0x20) !== 0) at += 2;

    const writer = taker.writer(handle);
    const row = writer === undefined ? -1 : taker.row(handle);
    if (writer === undefined || row < 0) continue;
    const { frame } = taker;
    if (status !== 0) taker.status(status);
    if (frame.times_us && isReadingTime(time_us)) frame.times_us[row] = time_us;
    const quality = qualityOfStatus(status);
    frame.quality[row] = quality;
    if (isBad(quality)) refuse(frame, row, quality);
    else if ((mask & 1) === 0) refuse(frame, row, NO_VALUE);
    else writeValue(view, body, value, frame, row, writer);
  }
}

function writeValue(view: DataView, body: Buffer, at: number, frame: Frame, row: number, writer: Writer): void {
  const encoding = view.getUint8(at);
  if (encoding > TYPE) return refuse(frame, row, TYPE_UNSUPPORTED);
  const from = at + 1;
  switch (encoding) {
    case 0:
      return refuse(frame, row, NO_VALUE);
    case 1:
      return writer.boolean(frame, row, view.getUint8(from) !== 0);
    case 2:
      return writer.number(frame, row, view.getInt8(from));
    case 3:
      return writer.number(frame, row, view.getUint8(from));
    case 4:
      return writer.number(frame, row, view.getInt16(from, true));
    case 5:
      return writer.number(frame, row, view.getUint16(from, true));
    case 6:
      return writer.number(frame, row, view.getInt32(from, true));
    case 7:
      return writer.number(frame, row, view.getUint32(from, true));
    case 8:
    case 9:
      return writer.int64(frame, row, view.getInt32(from + 4, true), view.getInt32(from, true), encoding === 8);
    case 10:
      return writer.number(frame, row, view.getFloat32(from, true));
    case 11:
      return writer.number(frame, row, view.getFloat64(from, true));
    case 12:
    case 16:
      return writer.text(frame, row, textAt(view, body, from));
    case 13: {
      const time_us = timeAt(view, from);
      if (Number.isNaN(time_us)) return refuse(frame, row, NO_VALUE);
      const ms = Math.floor(time_us / 1000);
      return writer.date(frame, row, ms, (time_us - ms * 1000) * 1e6 + tickOf(view, from) * 1e5);
    }
    case 14:
      return writer.text(frame, row, guidAt(view, from));
    case 20:
      return writer.text(frame, row, textAt(view, body, from + 2));
    case 21: {
      const mask = view.getUint8(from);
      const text = (mask & 1) !== 0 ? skipBytes(view, from + 1) : from + 1;
      return writer.text(frame, row, (mask & 2) !== 0 ? textAt(view, body, text) : "");
    }
    default:
      return refuse(frame, row, TYPE_UNSUPPORTED);
  }
}

/** Microseconds since 1970; NaN where the DateTime means "none". All in doubles, and exact. */
function timeAt(view: DataView, at: number): number {
  const low = view.getUint32(at, true);
  const high = view.getInt32(at + 4, true);
  if (high < 0 || high >= TIME_MAX_HIGH || (high === 0 && low === 0)) return Number.NaN;
  const over = high - EPOCH_HIGH;
  const tens = Math.floor(over / 10);
  // over * 2^32 ticks would not fit a double; a tenth of it does.
  return tens * TWO_32 + Math.floor(((over - tens * 10) * TWO_32 + (low - EPOCH_LOW)) / 10);
}

/** The 100 ns below the microsecond: 0 to 9. */
function tickOf(view: DataView, at: number): number {
  // 2^32 is 6 more than a multiple of 10.
  return ((view.getUint32(at + 4, true) % 10) * 6 + (view.getUint32(at, true) % 10)) % 10;
}

function textAt(view: DataView, body: Buffer, at: number): string {
  const end = skipBytes(view, at);
  return end === at + 4 ? "" : body.toString("utf8", at + 4, end);
}

function guidAt(view: DataView, at: number): string {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
  const head = `${hex(view.getUint32(at, true), 8)}-${hex(view.getUint16(at + 4, true), 4)}-${hex(view.getUint16(at + 6, true), 4)}`;
  const tail = Array.from({ length: 8 }, (_, i) => hex(view.getUint8(at + 8 + i), 2)).join("");
  return `${head}-${tail.slice(0, 4)}-${tail.slice(4)}`.toUpperCase();
}

// --- Where a value ends -------------------------------------------------------------------------

function skipVariant(view: DataView, at: number, depth: number): number {
  const encoding = view.getUint8(at);
  const type = encoding & TYPE;
  at++;
  if ((encoding & ARRAY) === 0) return skipType(view, at, type, depth);
  at = skipArray(view, at, type, depth);
  return (encoding & DIMENSIONS) !== 0 ? skipArray(view, at, 6, depth) : at;
}

function skipArray(view: DataView, at: number, type: number, depth: number): number {
  const count = view.getInt32(at, true);
  at += 4;
  // Null takes no bytes, however many there are.
  if (count <= 0 || type === 0) return at;
  // No element is smaller than a byte: a count from a stranger must not keep us busy.
  checked(view, at + count);
  const size = SIZES[type] ?? 0;
  if (size > 0) return checked(view, at + count * size);
  for (let i = 0; i < count; i++) at = skipType(view, at, type, depth);
  return at;
}

function skipType(view: DataView, at: number, type: number, depth: number): number {
  if (depth > DEPTH_MAX) throw new RangeError("values nested too deeply");
  const size = SIZES[type] ?? 0;
  if (size > 0) return checked(view, at + size);
  switch (type) {
    case 0:
      return at;
    case 17:
    case 18:
      return skipNodeId(view, at);
    case 20:
      return skipBytes(view, at + 2);
    case 21: {
      const mask = view.getUint8(at);
      at++;
      if ((mask & 1) !== 0) at = skipBytes(view, at);
      return (mask & 2) !== 0 ? skipBytes(view, at) : at;
    }
    case 22: {
      at = skipNodeId(view, at);
      return view.getUint8(at) === 0 ? at + 1 : skipBytes(view, at + 1);
    }
    case 23: {
      const mask = view.getUint8(at);
      at = (mask & 1) !== 0 ? skipVariant(view, at + 1, depth + 1) : at + 1;
      const rest = [2, 4, 0x10, 8, 0x20].reduce(
        (sum, bit, i) => sum + ((mask & bit) !== 0 ? ([4, 8, 2, 8, 2][i] ?? 0) : 0),
        0,
      );
      return checked(view, at + rest);
    }
    case 24:
      return skipVariant(view, at, depth + 1);
    case 25:
      return skipDiagnosticInfo(view, at, depth + 1);
    default:
      // String, ByteString, XmlElement, and what future versions may add (Part 6, 5.2.2.16).
      return skipBytes(view, at);
  }
}

function skipNodeId(view: DataView, at: number): number {
  const encoding = view.getUint8(at);
  at++;
  switch (encoding & TYPE) {
    case 0:
      at += 1;
      break;
    case 1:
      at += 3;
      break;
    case 2:
      at += 6;
      break;
    case 4:
      at += 18;
      break;
    default:
      at = skipBytes(view, at + 2);
  }
  // Expanded: the URI, then the server's index.
  if ((encoding & ARRAY) !== 0) at = skipBytes(view, at);
  return checked(view, (encoding & DIMENSIONS) !== 0 ? at + 4 : at);
}

function skipDiagnosticInfo(view: DataView, at: number, depth: number): number {
  const mask = view.getUint8(at);
  at++;
  for (const bit of [1, 2, 4, 8]) if ((mask & bit) !== 0) at += 4;
  if ((mask & 0x10) !== 0) at = skipBytes(view, at);
  if ((mask & 0x20) !== 0) at += 4;
  return (mask & 0x40) !== 0 ? skipType(view, at, 25, depth) : checked(view, at);
}

/** A length and so many bytes; -1 is none. */
function skipBytes(view: DataView, at: number): number {
  const length = view.getInt32(at, true);
  return checked(view, length > 0 ? at + 4 + length : at + 4);
}

function checked(view: DataView, at: number): number {
  if (at > view.byteLength) throw new RangeError("a value is longer than its notification");
  return at;
}
