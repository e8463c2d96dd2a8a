/** What the planner, the decoders and the simulator have to know of each type and area. */
import type { ModbusPoint } from "#profiles/schema.ts";
import { LinesideError } from "../../contract.ts";

export type Area = ModbusPoint["area"];
export type WireType = ModbusPoint["type"];
export type WordOrder = NonNullable<ModbusPoint["order"]>;
/** Read Coils, Read Discrete Inputs, Read Holding Registers, Read Input Registers. */
export type ReadFunction = 1 | 2 | 3 | 4;

export const FUNCTION_OF: Readonly<Record<Area, ReadFunction>> = { coil: 1, discrete: 2, holding: 3, input: 4 };

/** Most registers and bits that one answer can carry (MODBUS Application Protocol V1.1b3, 6.1 to 6.4). */
export const PROTOCOL_REGISTERS_MAX = 125;
export const PROTOCOL_BITS_MAX = 2000;

export const isBitArea = (area: Area): boolean => area === "coil" || area === "discrete";

const REGISTERS: Readonly<Record<Exclude<WireType, "string">, number>> = {
  bool: 1,
  u8: 1,
  u16: 1,
  s16: 1,
  bcd16: 1,
  u24: 2,
  u32: 2,
  s32: 2,
  f32: 2,
  bcd32: 2,
  u64: 4,
  s64: 4,
  f64: 4,
};

/** Bits of the integer that a type carries; 0 for what is no integer. */
export const INTEGER_BITS: Readonly<Record<WireType, number>> = {
  bool: 16,
  u8: 8,
  u16: 16,
  s16: 16,
  u24: 24,
  u32: 32,
  s32: 32,
  u64: 64,
  s64: 64,
  f32: 0,
  f64: 0,
  bcd16: 0,
  bcd32: 0,
  string: 0,
};

/** Registers that the value alone takes; 1 (a bit) in the bit areas. */
export function widthOf(point: Pick<ModbusPoint, "area" | "type" | "length">): number {
  if (isBitArea(point.area)) return 1;
  return point.type === "string" ? (point.length ?? 1) : REGISTERS[point.type];
}

export interface Span {
  readonly first: number;
  readonly last: number;
}

/** All that has to be in one request for this point: its registers and its scale register. */
export function spanOf(point: ModbusPoint): Span {
  const last = point.address + widthOf(point) - 1;
  const other = point.scale_register;
  return other === undefined
    ? { first: point.address, last }
    : { first: Math.min(point.address, other), last: Math.max(last, other) };
}

/** Fails where a point asks for what its area or type cannot give. */
export function checkPoint(point: ModbusPoint): void {
  const fail = (field: string, message: string): never => {
    throw new LinesideError("config", `point ${point.name}, ${field}: ${message}`);
  };
  if (isBitArea(point.area)) {
    if (!["bool", "u8", "u16"].includes(point.type)) fail("type", `a ${point.area} is one bit; use type bool`);
    if (point.bits !== undefined) fail("bits", `a ${point.area} is one bit already`);
    if (point.scale_register !== undefined) fail("scale_register", `there are no registers in area ${point.area}`);
  }
  if (point.type === "string" && point.length === undefined) fail("length", "type string needs a number of registers");
  if (point.bits !== undefined) {
    const bits = INTEGER_BITS[point.type];
    if (bits === 0) fail("bits", `type ${point.type} is no integer`);
    if (point.bits.shift + point.bits.width > bits) fail("bits", `type ${point.type} has only ${bits} bits`);
  }
  if (spanOf(point).last > 0xffff) fail("address", "its last register is beyond 65535");
}
