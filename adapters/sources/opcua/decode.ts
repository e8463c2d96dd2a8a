/**
 * One value of one point into one row of a frame. What depends on the point alone (column, scale,
 * limits, sentinels) is compiled once into a writer; per value nothing is allocated but texts.
 *
 *   DataValue ─▶ status ─▶ quality · timestamps ─▶ times_us · Variant ─▶ writer.number | int64 | text ─▶ row
 */
import type { OpcuaPoint } from "#profiles/schema.ts";
import { type DataValue, DataType, VariantArrayType } from "node-opcua-client";
import type { Series } from "../../contract.ts";
import { type Frame, setInt } from "../../frame.ts";
import { bad, isBad, type Quality } from "../../quality.ts";
import { divisorOf } from "../../scale.ts";
import { qualityOfStatus } from "./status.ts";

const TYPE_MISMATCH = bad("type_mismatch");
export const TYPE_UNSUPPORTED = bad("type_unsupported");
const OUT_OF_RANGE = bad("out_of_range");
const NAN = bad("nan");
export const NO_VALUE = bad("no_value");
const TWO_32 = 4_294_967_296;
/** DateTime 0 (1601-01-01) and the type's last value (9999-12-31) both mean that there is no time (Part 6, 5.2.2.5). */
const TIME_MIN_MS = -11_644_473_600_000;
const TIME_MAX_MS = 253_402_214_400_000;
/** Nanoseconds since 1970 in 64 bits, as receivers keep them, end in 2262. */
const READING_US_MAX = 2 ** 63 / 1000;

/** Takes raw values of one point; sets value and, unless it is good, quality. The row starts as the status left it. */
export interface Writer {
  number(frame: Frame, row: number, raw: number): void;
  /** A 64-bit integer in two words; `signed` says what the upper one means. */
  int64(frame: Frame, row: number, high: number, low: number, signed: boolean): void;
  boolean(frame: Frame, row: number, raw: boolean): void;
  text(frame: Frame, row: number, raw: string): void;
  /** Milliseconds since 1970 and picoseconds below them. */
  date(frame: Frame, row: number, ms: number, picoseconds: number): void;
}

/** Marks a row as having no value. */
export function refuse(frame: Frame, row: number, quality: Quality): void {
  frame.doubles[row] = 0;
  if (frame.texts) frame.texts[row] = null;
  frame.quality[row] = quality;
}

export function compileWriter(point: OpcuaPoint, series: Series): Writer {
  const check = compileCheck(point);
  switch (series.value) {
    case "text":
      return textWriter(check);
    case "int":
      return intWriter(check, point.type === "bool");
    default:
      return doubleWriter(check, point);
  }
}

interface Check {
  /** The quality that a raw value means of itself (a sentinel); 0 where it is a value. */
  sentinel(raw: number): Quality;
  /** Whether a value after scaling can be true. */
  inRange(value: number): boolean;
}

const NO_SENTINEL = (): Quality => 0;
const ANY = (): boolean => true;

function compileCheck(point: OpcuaPoint): Check {
  const known = new Map<number, Quality>();
  for (const entry of point.sentinels ?? []) {
    const { value, reason } = typeof entry === "object" ? entry : { value: entry, reason: "sentinel" };
    known.set(value === "nan" ? Number.NaN : value, bad(reason));
  }
  const range = point.range;
  return {
    // A Map finds NaN, which no comparison would.
    sentinel: known.size === 0 ? NO_SENTINEL : (raw) => known.get(raw) ?? 0,
    inRange: range === undefined ? ANY : (value) => value >= range[0] && value <= range[1],
  };
}

function doubleWriter(check: Check, point: OpcuaPoint): Writer {
  const { scale, offset } = point;
  const divisor = divisorOf(scale);
  const plain = scale === 1 && offset === 0;
  const number = (frame: Frame, row: number, raw: number): void => {
    const sentinel = check.sentinel(raw);
    if (sentinel !== 0) return refuse(frame, row, sentinel);
    if (Number.isNaN(raw)) return refuse(frame, row, NAN);
    const value = plain ? raw : (divisor === 0 ? raw * scale : raw / divisor) + offset;
    if (!check.inRange(value)) return refuse(frame, row, OUT_OF_RANGE);
    frame.doubles[row] = value;
  };
  return {
    number,
    int64: (frame, row, high, low, signed) => number(frame, row, toNumber(high, low, signed)),
    boolean: (frame, row, raw) => number(frame, row, raw ? 1 : 0),
    text: (frame, row) => refuse(frame, row, TYPE_MISMATCH),
    date: (frame, row, ms, picoseconds) => number(frame, row, ms / 1000 + picoseconds / 1e12),
  };
}

function intWriter(check: Check, isBoolean: boolean): Writer {
  const number = (frame: Frame, row: number, raw: number): void => {
    const sentinel = check.sentinel(raw);
    if (sentinel !== 0) return refuse(frame, row, sentinel);
    // A float is welcome while it is a whole number that a double holds exactly; a fraction is not an int.
    if (!Number.isSafeInteger(raw) || (isBoolean && raw !== 0 && raw !== 1)) return refuse(frame, row, TYPE_MISMATCH);
    if (!check.inRange(raw)) return refuse(frame, row, OUT_OF_RANGE);
    setInt(frame, row, raw);
  };
  return {
    number,
    int64: (frame, row, high, low, signed) => {
      const near = toNumber(high, low, signed);
      const sentinel = check.sentinel(near);
      if (sentinel !== 0) return refuse(frame, row, sentinel);
      if (isBoolean && near !== 0 && near !== 1) return refuse(frame, row, TYPE_MISMATCH);
      // An unsigned value above 2^63 - 1 has no place in an OTLP int64.
      if ((!signed && high >>> 0 > 0x7fff_ffff) || !check.inRange(near)) return refuse(frame, row, OUT_OF_RANGE);
      frame.words[row * 2] = low | 0;
      frame.words[row * 2 + 1] = high | 0;
    },
    boolean: (frame, row, raw) => number(frame, row, raw ? 1 : 0),
    text: (frame, row) => refuse(frame, row, TYPE_MISMATCH),
    date: (frame, row, ms) => number(frame, row, Math.floor(ms / 1000)),
  };
}

function textWriter(check: Check): Writer {
  const text = (frame: Frame, row: number, raw: string): void => {
    frame.doubles[row] = 0;
    if (frame.texts) frame.texts[row] = raw;
  };
  const number = (frame: Frame, row: number, raw: number): void => {
    const sentinel = check.sentinel(raw);
    if (sentinel !== 0) return refuse(frame, row, sentinel);
    text(frame, row, String(raw));
  };
  return {
    number,
    int64: (frame, row, high, low, signed) => {
      const near = toNumber(high, low, signed);
      const sentinel = check.sentinel(near);
      if (sentinel !== 0) return refuse(frame, row, sentinel);
      text(frame, row, toBigInt(high, low, signed).toString());
    },
    boolean: (frame, row, raw) => text(frame, row, raw ? "true" : "false"),
    text,
    date: (frame, row, ms, picoseconds) => text(frame, row, isoText(ms, picoseconds)),
  };
}

/** Status, time and value of one DataValue, as the library decoded it, into a row. `time_us` is when the answer came. */
export function writeDataValue(frame: Frame, row: number, writer: Writer, value: DataValue, time_us: number): void {
  const quality = qualityOfStatus(value.statusCode.value);
  if (frame.times_us) frame.times_us[row] = timeOf(value, time_us);
  if (isBad(quality)) return refuse(frame, row, quality);
  frame.quality[row] = quality;
  writeVariant(frame, row, writer, value.value);
}

function writeVariant(frame: Frame, row: number, writer: Writer, variant: DataValue["value"] | null | undefined): void {
  const raw: unknown = variant?.value;
  if (!variant || variant.dataType === DataType.Null) return refuse(frame, row, NO_VALUE);
  if (variant.arrayType !== VariantArrayType.Scalar) return refuse(frame, row, TYPE_UNSUPPORTED);
  switch (variant.dataType) {
    case DataType.SByte:
    case DataType.Byte:
    case DataType.Int16:
    case DataType.UInt16:
    case DataType.Int32:
    case DataType.UInt32:
    case DataType.Float:
    case DataType.Double:
      return typeof raw === "number" ? writer.number(frame, row, raw) : refuse(frame, row, TYPE_MISMATCH);
    case DataType.Boolean:
      return typeof raw === "boolean" ? writer.boolean(frame, row, raw) : refuse(frame, row, TYPE_MISMATCH);
    case DataType.Int64:
    case DataType.UInt64: {
      // The library gives 64-bit integers as [high, low].
      if (!Array.isArray(raw)) return refuse(frame, row, TYPE_MISMATCH);
      const [high, low]: unknown[] = raw;
      if (typeof high !== "number" || typeof low !== "number") return refuse(frame, row, TYPE_MISMATCH);
      return writer.int64(frame, row, high, low, variant.dataType === DataType.Int64);
    }
    case DataType.DateTime: {
      if (!(raw instanceof Date)) return refuse(frame, row, NO_VALUE);
      const ms = raw.getTime();
      if (!isTime(ms)) return refuse(frame, row, NO_VALUE);
      // The library hangs what a Date cannot hold on the Date itself.
      return writer.date(frame, row, ms, (raw as Date & { picoseconds?: number }).picoseconds ?? 0);
    }
    case DataType.String:
    case DataType.XmlElement:
    case DataType.Guid:
      // A null string and an empty one mean the same to whoever reads it.
      return writer.text(frame, row, typeof raw === "string" ? raw : "");
    case DataType.LocalizedText:
      return writer.text(frame, row, textField(raw, "text"));
    case DataType.QualifiedName:
      return writer.text(frame, row, textField(raw, "name"));
    default:
      return refuse(frame, row, TYPE_UNSUPPORTED);
  }
}

/** Source time, else server time, else when the answer came; microseconds since 1970. */
function timeOf(value: DataValue, time_us: number): number {
  const { sourceTimestamp, sourcePicoseconds, serverTimestamp, serverPicoseconds } = value;
  const source_us = (sourceTimestamp?.getTime() ?? 0) * 1000 + Math.floor(sourcePicoseconds / 1e6);
  if (isReadingTime(source_us)) return source_us;
  const server_us = (serverTimestamp?.getTime() ?? 0) * 1000 + Math.floor(serverPicoseconds / 1e6);
  return isReadingTime(server_us) ? server_us : time_us;
}

/** Whether a reading can have this time; a clock that was never set, "none" and NaN are no times. */
export const isReadingTime = (time_us: number): boolean => time_us > 0 && time_us < READING_US_MAX;

const isTime = (ms: number): boolean => ms > TIME_MIN_MS && ms < TIME_MAX_MS;

function toNumber(high: number, low: number, signed: boolean): number {
  return (signed ? high | 0 : high >>> 0) * TWO_32 + (low >>> 0);
}

function toBigInt(high: number, low: number, signed: boolean): bigint {
  return (BigInt(signed ? high | 0 : high >>> 0) << 32n) | BigInt(low >>> 0);
}

/** ISO 8601 with as many digits as the device gave: milliseconds, or down to 100 ns. */
function isoText(ms: number, picoseconds: number): string {
  const text = new Date(ms).toISOString();
  const ticks = Math.floor(picoseconds / 100_000);
  return ticks === 0 ? text : `${text.slice(0, -1)}${String(ticks).padStart(4, "0")}Z`;
}

function textField(raw: unknown, field: "text" | "name"): string {
  if (typeof raw !== "object" || raw === null) return "";
  const value: unknown = Reflect.get(raw, field);
  return typeof value === "string" ? value : "";
}
