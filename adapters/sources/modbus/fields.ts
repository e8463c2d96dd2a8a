/**
 * Points as the decoder wants them: offsets into the answer, codes for readRaw, sentinels as the numbers
 * that it returns. Everything here runs once, when a plan is compiled.
 */
import type { ModbusPoint } from "#profiles/schema.ts";
import type { Series } from "../../contract.ts";
import type { Frame } from "../../frame.ts";
import { bad, type Quality } from "../../quality.ts";
import { divisorOf } from "../../scale.ts";
import type { Read } from "./plan.ts";
import { ORDER_CODES, TYPE_CODES } from "./raw.ts";
import { INTEGER_BITS, isBitArea, type WireType, type WordOrder } from "./types.ts";

/** Fills rows of a frame from an answer whose data begin at byte `base` of `view`. */
export type Decode = (view: DataView, base: number, frame: Frame) => void;

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
  /** For readRaw. */
  readonly type_code: number;
  readonly order_code: number;
  /** Bytes from the start of the answer's data. */
  readonly at: number;
  /** Bit area: position within the byte. Bit field: shift. */
  readonly shift: number;
  /** Bits kept of the integer; 0 keeps all. */
  readonly width: number;
  readonly column: Series["value"];
  readonly scale: number;
  /** In place of `scale` where it is not 0. */
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
}

/**
 * A sentinel as readRaw returns it. Manuals give the bit pattern (0x8000) as often as
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
  const at = point.address - read.address;
  return {
    point: index,
    kind: bitArea ? "bit" : point.type === "string" ? "text" : wide ? "wide" : "number",
    type: point.type,
    order: own,
    type_code: TYPE_CODES[point.type],
    order_code: ORDER_CODES[own],
    at: bitArea ? at >> 3 : at * 2,
    shift: bitArea ? at & 7 : (point.bits?.shift ?? 0),
    width: point.bits?.width ?? 0,
    column: series.value,
    scale: point.scale,
    divisor: divisorOf(point.scale),
    offset: point.offset,
    scale_at: point.scale_register === undefined ? -1 : (point.scale_register - read.address) * 2,
    low: point.range?.[0] ?? Number.NEGATIVE_INFINITY,
    high: point.range?.[1] ?? Number.POSITIVE_INFINITY,
    sentinels,
    wide_sentinels: exact,
    states:
      point.kind === "state" && point.states !== undefined ? new Set(Object.keys(point.states).map(Number)) : null,
    length: (point.length ?? 1) * 2,
  };
}
