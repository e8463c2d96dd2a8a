/**
 * Points as the decoder wants them: offsets into the answer, raw readers, sentinels as the numbers
 * that the readers return. Everything here runs once, when a plan is compiled.
 */
import type { ModbusPoint } from "#profiles/schema.ts";
import type { Series } from "../../contract.ts";
import type { Frame } from "../../frame.ts";
import { bad, type Quality } from "../../quality.ts";
import type { Read } from "./plan.ts";
import { INTEGER_BITS, isBitArea, type WireType, type WordOrder } from "./types.ts";

/** Fills rows of a frame from an answer whose data begin at byte `base` of `view`. */
export type Decode = (view: DataView, base: number, frame: Frame) => void;

/** Reads a raw value at a byte position; NaN marks a BCD digit above 9. */
export type Reader = (view: DataView, at: number) => number;

export interface Sentinel {
  readonly raw: number;
  readonly quality: Quality;
}

export interface Field {
  /** Index of the point within the device. */
  readonly point: number;
  readonly kind: "number" | "wide" | "bit" | "text";
  readonly type: WireType;
  readonly order: WordOrder;
  /** Bytes from the start of the answer's data. */
  readonly at: number;
  /** Bit area: position within the byte. Bit field: shift. */
  readonly shift: number;
  /** Bits kept of the integer; 0 keeps all. */
  readonly width: number;
  readonly column: Series["value"];
  readonly scale: number;
  /** 1 / scale where that is an integer: dividing by 10 is exact where multiplying by 0.1 is not. */
  readonly divisor: number;
  readonly offset: number;
  /** Bytes to the scale register; -1 without one. */
  readonly scale_at: number;
  readonly low: number;
  readonly high: number;
  readonly sentinels: readonly Sentinel[];
  readonly wide_sentinels: readonly { readonly raw: bigint; readonly quality: Quality }[];
  /** Codes that have a name; null where any will do. */
  readonly states: ReadonlySet<number> | null;
  /** Text: bytes. */
  readonly length: number;
  readonly read: Reader;
}

const le16 = (order: WordOrder): boolean => order === "BADC" || order === "DCBA";

function bits32(order: WordOrder): Reader {
  switch (order) {
    case "ABCD":
      return (view, at) => view.getUint32(at);
    case "CDAB":
      return (view, at) => ((view.getUint16(at + 2) << 16) | view.getUint16(at)) >>> 0;
    case "BADC":
      return (view, at) => ((view.getUint16(at, true) << 16) | view.getUint16(at + 2, true)) >>> 0;
    case "DCBA":
      return (view, at) => view.getUint32(at, true);
  }
}

/** High and low half of a 64-bit value: where each stands depends on the order alone. */
export function halves64(order: WordOrder): { readonly high: Reader; readonly low: Reader } {
  const half = bits32(order);
  const highFirst = order === "ABCD" || order === "BADC";
  const first: Reader = half;
  const second: Reader = (view, at) => half(view, at + 4);
  return highFirst ? { high: first, low: second } : { high: second, low: first };
}

/** The decimal number whose digits are the nibbles of `raw`; NaN for a nibble above 9. */
function bcd(raw: number, digits: number): number {
  let value = 0;
  for (let shift = (digits - 1) * 4; shift >= 0; shift -= 4) {
    const digit = (raw >>> shift) & 0xf;
    if (digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  return value;
}

/** How the raw number of a type is read; 64-bit integers and texts have ways of their own. */
export function readerOf(type: WireType, order: WordOrder): Reader {
  const little = le16(order);
  switch (type) {
    case "bool":
    case "u16":
      return (view, at) => view.getUint16(at, little);
    case "s16":
      return (view, at) => view.getInt16(at, little);
    case "u8":
      return little ? (view, at) => view.getUint8(at) : (view, at) => view.getUint8(at + 1);
    case "bcd16":
      return (view, at) => bcd(view.getUint16(at, little), 4);
    case "u32":
      return bits32(order);
    case "u24": {
      const read = bits32(order);
      return (view, at) => read(view, at) & 0xff_ffff;
    }
    case "s32": {
      const read = bits32(order);
      return (view, at) => read(view, at) | 0;
    }
    case "bcd32": {
      const read = bits32(order);
      return (view, at) => bcd(read(view, at), 8);
    }
    case "f32": {
      if (order === "ABCD") return (view, at) => view.getFloat32(at);
      if (order === "DCBA") return (view, at) => view.getFloat32(at, true);
      const read = bits32(order);
      const scratch = new DataView(new ArrayBuffer(4));
      return (view, at) => {
        scratch.setUint32(0, read(view, at));
        return scratch.getFloat32(0);
      };
    }
    case "f64": {
      if (order === "ABCD") return (view, at) => view.getFloat64(at);
      if (order === "DCBA") return (view, at) => view.getFloat64(at, true);
      const { high, low } = halves64(order);
      const scratch = new DataView(new ArrayBuffer(8));
      return (view, at) => {
        scratch.setUint32(0, high(view, at));
        scratch.setUint32(4, low(view, at));
        return scratch.getFloat64(0);
      };
    }
    case "u64":
    case "s64":
    case "string":
      return () => Number.NaN;
  }
}

/**
 * A sentinel as the reader of this type returns it. Manuals give the bit pattern (0x8000) as often as
 * the number (-32768): for integers both mean the same. Null where the type can never show it.
 */
function rawSentinel(type: WireType, value: number): number | null {
  if (type === "f32") return Math.fround(value);
  if (type === "f64") return value;
  if (type === "bcd16" || type === "bcd32") return value;
  const bits = INTEGER_BITS[type];
  if (!Number.isInteger(value)) return null;
  const size = 2 ** bits;
  const pattern = ((value % size) + size) % size;
  const signed = type === "s16" || type === "s32";
  return signed && pattern >= size / 2 ? pattern - size : pattern;
}

/**
 * A 64-bit sentinel, as the numbers that it may mean. YAML numbers are doubles: 2^64 - 1 arrives as
 * 2^64, which no device can send, and 2^63 - 1 as 2^63, which is also how the pattern 0x8000... is
 * written; a signed type takes both for it.
 */
function wideSentinels(type: WireType, value: number): readonly bigint[] {
  if (!Number.isInteger(value)) return [];
  const exact = BigInt(value);
  if (exact === 1n << 64n) return [type === "s64" ? -1n : exact - 1n];
  if (type === "u64") return [BigInt.asUintN(64, exact)];
  return exact === 1n << 63n ? [exact - 1n, -exact] : [BigInt.asIntN(64, exact)];
}

/** Compiles one point of a read. `order` is the device's; the point's own goes before it. */
export function fieldOf(
  index: number,
  point: ModbusPoint,
  series: Pick<Series, "value" | "kind">,
  read: Pick<Read, "area" | "address">,
  order: WordOrder,
): Field {
  const bitArea = isBitArea(read.area);
  const own = point.order ?? order;
  const wide = point.type === "u64" || point.type === "s64";
  const sentinels: Sentinel[] = [];
  const exact: { raw: bigint; quality: Quality }[] = [];
  for (const given of point.sentinels ?? []) {
    const { value, reason } = typeof given === "object" ? given : { value: given, reason: "sentinel" };
    const quality = bad(reason);
    if (value === "nan") sentinels.push({ raw: Number.NaN, quality });
    else if (wide) {
      for (const raw of wideSentinels(point.type, value)) exact.push({ raw, quality });
    } else {
      const raw = bitArea ? value : rawSentinel(point.type, value);
      if (raw !== null) sentinels.push({ raw, quality });
    }
  }
  const inverse = Math.round(1 / point.scale);
  const at = point.address - read.address;
  return {
    point: index,
    kind: bitArea ? "bit" : point.type === "string" ? "text" : wide ? "wide" : "number",
    type: point.type,
    order: own,
    at: bitArea ? at >> 3 : at * 2,
    shift: bitArea ? at & 7 : (point.bits?.shift ?? 0),
    width: point.bits?.width ?? 0,
    column: series.value,
    scale: point.scale,
    divisor: inverse > 1 && 1 / inverse === point.scale ? inverse : 0,
    offset: point.offset,
    scale_at: point.scale_register === undefined ? -1 : (point.scale_register - read.address) * 2,
    low: point.range?.[0] ?? Number.NEGATIVE_INFINITY,
    high: point.range?.[1] ?? Number.POSITIVE_INFINITY,
    sentinels,
    wide_sentinels: exact,
    states:
      point.kind === "state" && point.states !== undefined ? new Set(Object.keys(point.states).map(Number)) : null,
    length: (point.length ?? 1) * 2,
    read: readerOf(point.type, own),
  };
}
