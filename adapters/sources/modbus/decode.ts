/**
 * From the bytes of one answer into the columns of a frame. Pure, and the hottest code of this
 * adapter: a read is compiled once into runs, each a loop over fields of one kind, and a frame's rows
 * stand in the order of those runs. Nothing is allocated per reading, but for texts that changed and
 * 64-bit integers that are scaled.
 *
 *   raw ─▶ sentinel? ─▶ bits ─▶ finite? ─▶ scale, scale register, offset ─▶ range? ─▶ state known? ─▶ column
 *
 * A reading that a step turns down has quality bad and value 0 (null for a text).
 */
import type { ModbusPoint } from "#profiles/schema.ts";
import type { Series } from "../../contract.ts";
import { type Frame, setInt } from "../../frame.ts";
import { GOOD } from "../../quality.ts";
import { type Decode, type Field, fieldOf } from "./fields.ts";
import type { Read } from "./plan.ts";
import { high32, low32, readRaw } from "./raw.ts";
import { INVALID_BCD, NAN, NOT_IMPLEMENTED, OUT_OF_RANGE, UNKNOWN_STATE } from "./reasons.ts";
import { textRun } from "./text.ts";
import type { WordOrder } from "./types.ts";

export interface Decoder {
  /** For createFrame: the point of each row. */
  readonly points: Uint32Array;
  /** Whether the frame needs a column of texts. */
  readonly texts: boolean;
  readonly decode: Decode;
}

/** Compiles a read. `order` is the device's word order. */
export function compileDecoder(
  read: Read,
  points: readonly ModbusPoint[],
  series: readonly Pick<Series, "value" | "kind">[],
  order: WordOrder,
): Decoder {
  const fields = read.points.map((index) => {
    const point = points[index];
    const of = series[index];
    if (point === undefined || of === undefined) throw new RangeError(`no point or series ${index}`);
    return fieldOf(index, point, of, read, order);
  });
  const byRun = new Map<string, Field[]>();
  for (const field of fields) {
    const run = runOf(field);
    byRun.set(run, [...(byRun.get(run) ?? []), field]);
  }
  const rows: number[] = [];
  const runs: Decode[] = [];
  for (const [run, members] of byRun) {
    runs.push(compileRun(run, members, rows.length));
    rows.push(...members.map((field) => field.point));
  }
  const count = rows.length;
  const [only] = runs;
  const runAll: Decode =
    runs.length === 1 && only !== undefined
      ? only
      : (view, base, frame) => {
          for (let i = 0; i < runs.length; i += 1) runs[i]?.(view, base, frame);
        };
  return {
    points: Uint32Array.from(rows),
    texts: fields.some((field) => field.column === "text"),
    decode: (view, base, frame) => {
      frame.count = count;
      frame.quality.fill(GOOD);
      runAll(view, base, frame);
    },
  };
}

/** Fields with the same name share a loop. The plain ones have loops of their own for speed alone. */
function runOf(field: Field): string {
  if (field.column === "text") return "text";
  if (field.kind === "wide") {
    const exact = field.column === "int" && field.scale === 1 && field.offset === 0 && field.width === 0;
    return exact && field.scale_at < 0 ? `exact64:${field.type}:${field.order}` : "wide";
  }
  const plain =
    field.kind === "number" &&
    field.sentinels.length === 0 &&
    field.states === null &&
    field.width === 0 &&
    field.scale_at < 0 &&
    field.low === Number.NEGATIVE_INFINITY &&
    field.high === Number.POSITIVE_INFINITY;
  if (!plain || !["u16", "s16", "u32", "s32", "f32"].includes(field.type)) return "checked";
  if (field.order !== "ABCD") return "checked";
  const identity = field.scale === 1 && field.offset === 0;
  if (field.column === "double") return `${identity ? "identity" : "scaled"}:${field.type}`;
  return identity && field.type !== "f32" ? `int:${field.type}` : "checked";
}

function compileRun(run: string, fields: readonly Field[], row: number): Decode {
  switch (run) {
    case "text":
      return textRun(fields, row);
    case "wide":
      return wideRun(fields, row);
    case "checked":
      return checkedRun(fields, row);
  }
  const [kind] = run.split(":");
  if (kind === "exact64") return exact64Run(fields, row);
  if (kind === "int") return intRun(fields, row);
  return kind === "identity" ? identityRun(fields, row) : scaledRun(fields, row);
}

// One loop a type, written out: a loop that takes its reader as an argument is not inlined once it
// has seen more than a few, and costs three times as much.

const offsetsOf = (fields: readonly Field[]): Int32Array => Int32Array.from(fields, (field) => field.at);

/** Values as they are on the wire. */
function identityRun(fields: readonly Field[], row: number): Decode {
  const at = offsetsOf(fields);
  switch (fields[0]?.type) {
    case "u16":
      return (view, base, { doubles }) => {
        for (let i = 0; i < at.length; i += 1) doubles[row + i] = view.getUint16(base + (at[i] ?? 0));
      };
    case "s16":
      return (view, base, { doubles }) => {
        for (let i = 0; i < at.length; i += 1) doubles[row + i] = view.getInt16(base + (at[i] ?? 0));
      };
    case "u32":
      return (view, base, { doubles }) => {
        for (let i = 0; i < at.length; i += 1) doubles[row + i] = view.getUint32(base + (at[i] ?? 0));
      };
    case "s32":
      return (view, base, { doubles }) => {
        for (let i = 0; i < at.length; i += 1) doubles[row + i] = view.getInt32(base + (at[i] ?? 0));
      };
    default:
      return (view, base, { doubles, quality }) => {
        for (let i = 0; i < at.length; i += 1) {
          const raw = view.getFloat32(base + (at[i] ?? 0));
          // Only a finite number leaves nothing when it is taken from itself.
          if (raw - raw === 0) doubles[row + i] = raw;
          else {
            doubles[row + i] = 0;
            quality[row + i] = NAN;
          }
        }
      };
  }
}

/** The two constants of value = raw * factor / divisor + offset; one of them is 1. */
function scaledRun(fields: readonly Field[], row: number): Decode {
  const at = offsetsOf(fields);
  const factor = Float64Array.from(fields, (field) => (field.divisor !== 0 ? 1 : field.scale));
  const divisor = Float64Array.from(fields, (field) => field.divisor || 1);
  const offset = Float64Array.from(fields, (field) => field.offset);
  switch (fields[0]?.type) {
    case "u16":
      return (view, base, { doubles }) => {
        for (let i = 0; i < at.length; i += 1) {
          const raw = view.getUint16(base + (at[i] ?? 0));
          doubles[row + i] = (raw * (factor[i] ?? 1)) / (divisor[i] ?? 1) + (offset[i] ?? 0);
        }
      };
    case "s16":
      return (view, base, { doubles }) => {
        for (let i = 0; i < at.length; i += 1) {
          const raw = view.getInt16(base + (at[i] ?? 0));
          doubles[row + i] = (raw * (factor[i] ?? 1)) / (divisor[i] ?? 1) + (offset[i] ?? 0);
        }
      };
    case "u32":
      return (view, base, { doubles }) => {
        for (let i = 0; i < at.length; i += 1) {
          const raw = view.getUint32(base + (at[i] ?? 0));
          doubles[row + i] = (raw * (factor[i] ?? 1)) / (divisor[i] ?? 1) + (offset[i] ?? 0);
        }
      };
    case "s32":
      return (view, base, { doubles }) => {
        for (let i = 0; i < at.length; i += 1) {
          const raw = view.getInt32(base + (at[i] ?? 0));
          doubles[row + i] = (raw * (factor[i] ?? 1)) / (divisor[i] ?? 1) + (offset[i] ?? 0);
        }
      };
    default:
      return (view, base, { doubles, quality }) => {
        for (let i = 0; i < at.length; i += 1) {
          const raw = view.getFloat32(base + (at[i] ?? 0));
          const value = (raw * (factor[i] ?? 1)) / (divisor[i] ?? 1) + (offset[i] ?? 0);
          if (value - value === 0) doubles[row + i] = value;
          else {
            doubles[row + i] = 0;
            quality[row + i] = raw - raw === 0 ? OUT_OF_RANGE : NAN;
          }
        }
      };
  }
}

/** Integers as they are, straight into the two words of their rows. */
function intRun(fields: readonly Field[], row: number): Decode {
  const at = offsetsOf(fields);
  switch (fields[0]?.type) {
    case "u16":
      return (view, base, { words }) => {
        for (let i = 0; i < at.length; i += 1) {
          words[(row + i) * 2] = view.getUint16(base + (at[i] ?? 0));
          words[(row + i) * 2 + 1] = 0;
        }
      };
    case "u32":
      return (view, base, { words }) => {
        for (let i = 0; i < at.length; i += 1) {
          words[(row + i) * 2] = view.getInt32(base + (at[i] ?? 0));
          words[(row + i) * 2 + 1] = 0;
        }
      };
    case "s16":
      return (view, base, { words }) => {
        for (let i = 0; i < at.length; i += 1) {
          const value = view.getInt16(base + (at[i] ?? 0));
          words[(row + i) * 2] = value;
          words[(row + i) * 2 + 1] = value >> 31;
        }
      };
    default:
      return (view, base, { words }) => {
        for (let i = 0; i < at.length; i += 1) {
          const value = view.getInt32(base + (at[i] ?? 0));
          words[(row + i) * 2] = value;
          words[(row + i) * 2 + 1] = value >> 31;
        }
      };
  }
}

/** 64-bit integers as they are: two words, no BigInt on the way. */
function exact64Run(fields: readonly Field[], row: number): Decode {
  const order = fields[0]?.order_code ?? 0;
  const unsigned = fields[0]?.type === "u64";
  return (view, base, frame) => {
    for (let i = 0; i < fields.length; i += 1) {
      const field = fields[i];
      if (field === undefined) continue;
      const top = high32(order, view, base + field.at) | 0;
      const bottom = low32(order, view, base + field.at) | 0;
      const at = row + i;
      frame.words[at * 2] = bottom;
      frame.words[at * 2 + 1] = top;
      if (field.wide_sentinels.length > 0) {
        for (const sentinel of field.wide_sentinels) {
          if (Number(BigInt.asIntN(32, sentinel.raw >> 32n)) !== top) continue;
          if (Number(BigInt.asIntN(32, sentinel.raw)) === bottom) reject(frame, at, sentinel.quality);
        }
        if (frame.quality[at] !== GOOD) continue;
      }
      // A signed column has no room for the upper half of the unsigned range.
      if (unsigned && top < 0) reject(frame, at, OUT_OF_RANGE);
      else check(field, top * 4294967296 + (bottom >>> 0), frame, at);
    }
  };
}

/** 64-bit integers that are scaled, cut into bits, or wanted as doubles. */
function wideRun(fields: readonly Field[], row: number): Decode {
  return (view, base, frame) => {
    for (let i = 0; i < fields.length; i += 1) {
      const field = fields[i];
      if (field === undefined) continue;
      const high = high32(field.order_code, view, base + field.at);
      const low = low32(field.order_code, view, base + field.at);
      const at = row + i;
      const pattern = (BigInt(high) << 32n) | BigInt(low);
      const exact = field.type === "s64" ? BigInt.asIntN(64, pattern) : pattern;
      const sentinel = field.wide_sentinels.find(({ raw }) => raw === exact);
      if (sentinel !== undefined) reject(frame, at, sentinel.quality);
      else if (field.width > 0) {
        finish(field, Number(BigInt.asUintN(field.width, pattern >> BigInt(field.shift))), view, base, frame, at);
      } else if (
        field.column === "int" &&
        field.scale_at < 0 &&
        Number.isInteger(field.scale) &&
        Number.isInteger(field.offset)
      ) {
        const value = exact * BigInt(field.scale) + BigInt(field.offset);
        if (BigInt.asIntN(64, value) === value) {
          frame.ints[at] = value;
          check(field, Number(value), frame, at);
        } else reject(frame, at, OUT_OF_RANGE);
      } else finish(field, Number(exact), view, base, frame, at);
    }
  };
}

/** Everything else: every step of the drawing at the top. */
function checkedRun(fields: readonly Field[], row: number): Decode {
  return (view, base, frame) => {
    for (let i = 0; i < fields.length; i += 1) {
      const field = fields[i];
      if (field === undefined) continue;
      const at = row + i;
      if (field.kind === "bit") {
        const bit = (view.getUint8(base + field.at) >> field.shift) & 1;
        if (!rejected(field, bit, frame, at)) finish(field, bit, view, base, frame, at);
        continue;
      }
      const raw = readRaw(field.type_code, field.order_code, view, base + field.at);
      if (field.sentinels.length > 0 && rejected(field, raw, frame, at)) continue;
      if (field.width > 0) {
        const mask = field.width === 32 ? 0xffff_ffff : (1 << field.width) - 1;
        finish(field, ((raw >>> field.shift) & mask) >>> 0, view, base, frame, at);
      } else if (Number.isFinite(raw))
        finish(field, field.type === "bool" && raw !== 0 ? 1 : raw, view, base, frame, at);
      else reject(frame, at, field.type === "bcd16" || field.type === "bcd32" ? INVALID_BCD : NAN);
    }
  };
}

function reject(frame: Frame, row: number, quality: number): void {
  frame.doubles[row] = 0;
  frame.quality[row] = quality;
}

function rejected(field: Field, raw: number, frame: Frame, row: number): boolean {
  for (let i = 0; i < field.sentinels.length; i += 1) {
    const sentinel = field.sentinels[i];
    // NaN is a sentinel like any other, and equals nothing.
    if (sentinel === undefined) continue;
    if (sentinel.raw !== raw && !(Number.isNaN(raw) && Number.isNaN(sentinel.raw))) continue;
    reject(frame, row, sentinel.quality);
    return true;
  }
  return false;
}

/** SunSpec sunssf: -10 to 10 (SunSpec Information Model Specification, 4.2.6); beyond it nothing is believed. */
const POWERS = Float64Array.from({ length: 11 }, (_, exponent) => 10 ** exponent);

/** Scale, check, store. */
function finish(field: Field, raw: number, view: DataView, base: number, frame: Frame, row: number): void {
  let value = field.divisor !== 0 ? raw / field.divisor : raw * field.scale;
  if (field.scale_at >= 0) {
    const little = field.order === "BADC" || field.order === "DCBA";
    const exponent = view.getInt16(base + field.scale_at, little);
    if (exponent === -32768) return reject(frame, row, NOT_IMPLEMENTED);
    const power = POWERS[Math.abs(exponent)];
    if (power === undefined) return reject(frame, row, OUT_OF_RANGE);
    value = exponent < 0 ? value / power : value * power;
  }
  value += field.offset;
  if (!Number.isFinite(value)) return reject(frame, row, OUT_OF_RANGE);
  if (field.column === "double") frame.doubles[row] = value;
  else {
    const whole = Math.round(value);
    if (Number.isSafeInteger(whole)) setInt(frame, row, whole);
    else if (whole >= -(2 ** 63) && whole < 2 ** 63) frame.ints[row] = BigInt(whole);
    else return reject(frame, row, OUT_OF_RANGE);
  }
  check(field, value, frame, row);
}

/** Range and state of a value that stands in its column already. */
function check(field: Field, value: number, frame: Frame, row: number): void {
  if (value < field.low || value > field.high) reject(frame, row, OUT_OF_RANGE);
  else if (field.states !== null && !field.states.has(value)) frame.quality[row] = UNKNOWN_STATE;
}
