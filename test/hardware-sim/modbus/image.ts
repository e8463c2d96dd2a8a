/**
 * The registers of one simulated unit, as its profile says: moving values in the types, orders and
 * scales of the points, nothing where the profile has nothing.
 *
 *   valueOf(point, time) ─▶ raw ─▶ registers ─▶ read ─▶ bytes, or the exception that a device would answer
 */
import type { Device } from "#adapters/contract.ts";
import type { ModbusOptions } from "#adapters/sources/modbus/options.ts";
import { limitsOf, type Limits } from "#adapters/sources/modbus/plan.ts";
import { type Area, isBitArea, spanOf, widthOf } from "#adapters/sources/modbus/types.ts";
import type { ModbusPoint } from "#profiles/schema.ts";
import { valueOf } from "#test/hardware-sim/values.ts";
import { inOrder, rawBytes, rawOf } from "./encode.ts";

/** MODBUS Application Protocol V1.1b3, section 7. */
export const ILLEGAL_FUNCTION = 1;
export const ILLEGAL_ADDRESS = 2;
export const ILLEGAL_VALUE = 3;

const AREAS: Readonly<Record<number, Area>> = { 1: "coil", 2: "discrete", 3: "holding", 4: "input" };
/** A scale register's power of ten: as many decimals as the type has room for, with some to spare. */
const EXPONENT_MIN = -7;
const EXPONENT_MAX = 10;
const HEADROOM = 2;
const RAW_MAX: Partial<Record<ModbusPoint["type"], number>> = {
  u16: 0xfffe,
  s16: 0x7fff,
  u32: 0xffff_fffe,
  s32: 0x7fff_ffff,
};

interface Cells {
  /** Two bytes a register; one a bit. */
  readonly bytes: Uint8Array;
  /** 1 where a read may go. */
  readonly present: Uint8Array;
}

export class Image {
  readonly #device: Device<ModbusPoint, ModbusOptions>;
  readonly #limits: Limits;
  readonly #areas = new Map<Area, Cells>();
  #time_us = Number.NaN;

  constructor(device: Device<ModbusPoint, ModbusOptions>) {
    this.#device = device;
    this.#limits = limitsOf(device.options);
    for (const area of new Set(device.points.map((point) => point.area))) this.#areas.set(area, this.#cells(area));
  }

  /** The data of an answer at this time, or an exception code. */
  read(function_code: number, address: number, count: number, time_us: number): Uint8Array | number {
    const area = AREAS[function_code];
    if (area === undefined) return ILLEGAL_FUNCTION;
    const bits = isBitArea(area);
    const block = this.#limits.alone.find(([first, last]) => !bits && address <= last && address + count > first);
    if (block !== undefined && (block[0] !== address || block[1] !== address + count - 1)) return ILLEGAL_ADDRESS;
    if (count < 1 || (block === undefined && count > (bits ? this.#limits.bits_max : this.#limits.registers_max))) {
      return ILLEGAL_VALUE;
    }
    const cells = this.#areas.get(area);
    if (cells === undefined || address + count > 0x10000) return ILLEGAL_ADDRESS;
    for (let at = address; at < address + count; at += 1) if (cells.present[at] === 0) return ILLEGAL_ADDRESS;
    this.#refresh(time_us);
    if (!bits) return cells.bytes.slice(address * 2, (address + count) * 2);
    const packed = new Uint8Array(Math.ceil(count / 8));
    for (let i = 0; i < count; i += 1)
      if (cells.bytes[address + i] !== 0) packed[i >> 3] = (packed[i >> 3] ?? 0) | (1 << (i & 7));
    return packed;
  }

  #cells(area: Area): Cells {
    const bits = isBitArea(area);
    const present = new Uint8Array(0x10000);
    const points = this.#device.points.filter((point) => point.area === area);
    for (const point of points) {
      const { address, scale_register } = point;
      present.fill(1, address, address + widthOf(point));
      if (scale_register !== undefined) {
        const { first, last } = spanOf(point);
        present.fill(1, first, last + 1);
      }
    }
    // Holes that the profile lets a read cover are there, and hold nothing.
    const gap = this.#limits.gap_registers_max * (bits ? 16 : 1);
    for (let at = present.indexOf(1), hole = 0; at >= 0 && at < present.length; at += 1) {
      if (present[at] === 0) hole += 1;
      else {
        if (hole > 0 && hole <= gap) present.fill(1, at - hole, at);
        hole = 0;
      }
    }
    for (const [first, last] of this.#limits.forbidden) present.fill(0, first, last + 1);
    if (!bits) for (const [first, last] of this.#limits.alone) present.fill(1, first, last + 1);
    return { bytes: new Uint8Array(0x10000 * (bits ? 1 : 2)), present };
  }

  #refresh(time_us: number): void {
    if (time_us === this.#time_us) return;
    this.#time_us = time_us;
    const { points, descriptor, id, options } = this.#device;
    const exponents = this.#exponents(time_us);
    const parts = new Map<string, { point: ModbusPoint; raw: bigint }>();
    for (const [i, point] of points.entries()) {
      const series = descriptor.series[i];
      const cells = this.#areas.get(point.area);
      if (series === undefined || cells === undefined) continue;
      const value = valueOf(point, series, id, time_us);
      if (isBitArea(point.area)) {
        cells.bytes[point.address] = Number(value) === 0 ? 0 : 1;
        continue;
      }
      const exponent = exponents.get(scaleKey(point)) ?? 0;
      const raw = numeric(point, rawOf(point, value, exponent));
      if (point.bits === undefined) this.#store(cells, point, raw, options.order);
      else {
        // Fields of one register are put together before it is written.
        const key = `${point.area}:${point.address}:${point.type}`;
        const mask = (1n << BigInt(point.bits.width)) - 1n;
        const before = parts.get(key)?.raw ?? 0n;
        parts.set(key, { point, raw: before | ((BigInt(raw) & mask) << BigInt(point.bits.shift)) });
      }
      if (point.scale_register !== undefined) {
        const order = point.order ?? options.order ?? "ABCD";
        cells.bytes.set(inOrder(rawBytes("s16", exponent, 1), "s16", order), point.scale_register * 2);
      }
    }
    for (const { point, raw } of parts.values()) {
      const cells = this.#areas.get(point.area);
      if (cells !== undefined) this.#store(cells, point, raw, options.order);
    }
  }

  #store(cells: Cells, point: ModbusPoint, raw: number | bigint | string, order: ModbusOptions["order"]): void {
    const bytes = rawBytes(point.type, raw, widthOf(point));
    cells.bytes.set(inOrder(bytes, point.type, point.order ?? order ?? "ABCD"), point.address * 2);
  }

  /** One power of ten for each scale register, such that the largest value beneath it fits its type. */
  #exponents(time_us: number): Map<string, number> {
    const exponents = new Map<string, number>();
    for (const [i, point] of this.#device.points.entries()) {
      const series = this.#device.descriptor.series[i];
      if (point.scale_register === undefined || series === undefined) continue;
      const key = scaleKey(point);
      const value = Math.abs(Number(valueOf(point, series, this.#device.id, time_us)) - point.offset) / point.scale;
      let exponent = exponents.get(key) ?? (point.kind === "counter" ? 0 : EXPONENT_MIN);
      const max = RAW_MAX[point.type] ?? Number.MAX_SAFE_INTEGER;
      while ((value * HEADROOM) / 10 ** exponent > max && exponent < EXPONENT_MAX) exponent += 1;
      exponents.set(key, exponent);
    }
    return exponents;
  }
}

const scaleKey = (point: ModbusPoint): string => `${point.area}:${point.scale_register}`;

/** A number that is served as a text (a serial number) is its digits. */
function numeric(point: ModbusPoint, raw: number | bigint | string): number | bigint | string {
  if (typeof raw !== "string" || point.type === "string") return raw;
  return BigInt(/\d+/.exec(raw)?.[0] ?? 0);
}
