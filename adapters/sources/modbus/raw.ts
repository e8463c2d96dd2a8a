/**
 * Raw numbers out of registers, in any type and order. Switches and not closures: these are read by
 * loops over fields of mixed types, and a call that goes everywhere is not inlined.
 */
import type { WireType, WordOrder } from "./types.ts";

/** A word order as a number, for switches. */
export const ORDER_CODES: Readonly<Record<WordOrder, number>> = { ABCD: 0, CDAB: 1, BADC: 2, DCBA: 3 };

/** How a type is read, as a number. 64-bit integers and texts are read by ways of their own. */
export const TYPE_CODES: Readonly<Record<WireType, number>> = {
  bool: 0,
  u16: 0,
  s16: 1,
  u8: 2,
  bcd16: 3,
  u32: 4,
  s32: 5,
  u24: 6,
  bcd32: 7,
  f32: 8,
  f64: 9,
  u64: 10,
  s64: 10,
  string: 10,
};

const scratchWords = new Uint32Array(2);
const scratchFloat = new Float32Array(scratchWords.buffer);
const scratchDouble = new Float64Array(scratchWords.buffer);

/** Two registers as an unsigned number. */
export function pattern32(order: number, view: DataView, at: number): number {
  switch (order) {
    case 0:
      return view.getUint32(at);
    case 1:
      return ((view.getUint16(at + 2) << 16) | view.getUint16(at)) >>> 0;
    case 2:
      return ((view.getUint16(at, true) << 16) | view.getUint16(at + 2, true)) >>> 0;
    default:
      return view.getUint32(at, true);
  }
}

/** The upper and the lower half of four registers, unsigned. */
export const high32 = (order: number, view: DataView, at: number): number =>
  pattern32(order, view, order === 0 || order === 2 ? at : at + 4);
export const low32 = (order: number, view: DataView, at: number): number =>
  pattern32(order, view, order === 0 || order === 2 ? at + 4 : at);

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

/** The raw number at a byte position; NaN also for a BCD digit above 9. */
export function readRaw(type: number, order: number, view: DataView, at: number): number {
  switch (type) {
    case 0:
      return view.getUint16(at, order >= 2);
    case 1:
      return view.getInt16(at, order >= 2);
    case 2:
      return view.getUint8(order >= 2 ? at : at + 1);
    case 3:
      return bcd(view.getUint16(at, order >= 2), 4);
    case 4:
      return pattern32(order, view, at);
    case 5:
      return pattern32(order, view, at) | 0;
    case 6:
      return pattern32(order, view, at) & 0xff_ffff;
    case 7:
      return bcd(pattern32(order, view, at), 8);
    case 8:
      scratchWords[0] = pattern32(order, view, at);
      return scratchFloat[0] ?? 0;
    case 9:
      scratchWords[0] = low32(order, view, at);
      scratchWords[1] = high32(order, view, at);
      return scratchDouble[0] ?? 0;
    default:
      return Number.NaN;
  }
}
