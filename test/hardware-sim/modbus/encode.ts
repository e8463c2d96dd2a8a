/**
 * The inverse of adapters/sources/modbus/decode.ts: engineering values into registers, as a device
 * would hold them. Written from the specification of each type, not from the decoder, so that one
 * proves the other.
 */
import type { WireType, WordOrder } from "#adapters/sources/modbus/types.ts";
import type { ModbusPoint } from "#profiles/schema.ts";

/** Bytes of a raw value, most significant first; a string's in reading order. */
export function rawBytes(type: WireType, raw: number | bigint | string, registers: number): Uint8Array {
  const bytes = new Uint8Array(registers * 2);
  const view = new DataView(bytes.buffer);
  if (type === "string") {
    bytes.set(new TextEncoder().encode(String(raw)).subarray(0, bytes.length));
    return bytes;
  }
  if (type === "f32") view.setFloat32(0, Number(raw));
  else if (type === "f64") view.setFloat64(0, Number(raw));
  else if (type === "bcd16" || type === "bcd32") {
    const digits = Math.abs(Math.round(Number(raw)))
      .toString()
      .slice(-bytes.length * 2)
      .padStart(bytes.length * 2, "0");
    bytes.set(Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16)));
  } else {
    let rest = BigInt.asUintN(bytes.length * 8, typeof raw === "bigint" ? raw : BigInt(Math.round(Number(raw))));
    if (type === "u8") rest &= 0xffn;
    if (type === "u24") rest &= 0xff_ffffn;
    for (let i = bytes.length - 1; i >= 0; i -= 1) {
      bytes[i] = Number(rest & 0xffn);
      rest >>= 8n;
    }
  }
  return bytes;
}

/** Puts bytes that stand most significant first into the order of the wire. */
export function inOrder(bytes: Uint8Array, type: WireType, order: WordOrder): Uint8Array {
  const words: [number, number][] = [];
  for (let i = 0; i < bytes.length; i += 2) words.push([bytes[i] ?? 0, bytes[i + 1] ?? 0]);
  const wordsSwapped = order === "CDAB" || order === "DCBA";
  const bytesSwapped = order === "BADC" || order === "DCBA";
  if (wordsSwapped && type !== "string") words.reverse();
  return Uint8Array.from(words.flatMap(([a, b]) => (bytesSwapped ? [b, a] : [a, b])));
}

const LIMITS: Partial<Record<WireType, readonly [number, number]>> = {
  bool: [0, 1],
  u8: [0, 0xff],
  u16: [0, 0xffff],
  s16: [-0x8000, 0x7fff],
  u24: [0, 0xff_ffff],
  u32: [0, 0xffff_ffff],
  s32: [-0x8000_0000, 0x7fff_ffff],
  bcd16: [0, 9999],
  bcd32: [0, 99_999_999],
};

/** The raw number a device would send for an engineering value: unscaled, rounded, within its type. */
export function rawOf(point: ModbusPoint, value: number | bigint | string, exponent = 0): number | bigint | string {
  if (typeof value !== "number") return value;
  const unscaled = (value - point.offset) / (point.scale * 10 ** exponent);
  if (point.type === "f32" || point.type === "f64") return unscaled;
  const [low, high] = LIMITS[point.type] ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  const limit = point.bits === undefined ? high : Math.min(high, 2 ** point.bits.width - 1);
  return Math.min(limit, Math.max(low, Math.round(unscaled)));
}
