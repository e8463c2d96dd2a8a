/** What must hold for Modbus points and the limits under which they are read, beyond their schema. */
import type { CheckedPoint } from "../points.ts";
import type { At, Report } from "../report.ts";
import type { ModbusBehaviour, ModbusPoint } from "../schema.ts";
import { type DataMap, isDataMap, keyAt, valueAt } from "../yaml.ts";

type Checked = CheckedPoint<"modbus">;
type Range = readonly [first: number, last: number];

const ADDRESS_MAX = 65535;
const REGISTERS_MAX = 125;
const INTEGER = /^[us]\d+$/;

/** Bits of a value on the wire; of a string, 0. */
function bitsOf(point: ModbusPoint): number {
  if (point.type === "bool") return 1;
  return point.type === "string" ? 0 : Number(point.type.replace(/^\D+/, ""));
}

/** Registers (or coils) that a point takes. u8 and bool take a whole register, u24 two. */
export function widthOf(point: ModbusPoint): number {
  if (isBitArea(point)) return 1;
  return point.type === "string" ? (point.length ?? 1) : Math.max(1, Math.ceil(bitsOf(point) / 16));
}

const isBitArea = (point: ModbusPoint): boolean => point.area === "coil" || point.area === "discrete";

/** `behaviour` of the profile, under that of the site file; `data` is where it was written. */
export function checkModbus(
  points: readonly Checked[],
  behaviour: ModbusBehaviour,
  data: DataMap,
  report: Report,
): void {
  checkBehaviour(behaviour, data, report);
  for (const checked of points) {
    checkType(checked, report);
    checkAddress(checked, behaviour, report);
    checkScaleRegister(checked, behaviour, report);
    checkCodes(checked, report);
  }
  checkOverlaps(points, report);
}

function checkBehaviour({ forbidden = [], alone = [] }: ModbusBehaviour, data: DataMap, report: Report): void {
  for (const [field, ranges] of [
    ["forbidden", forbidden],
    ["alone", alone],
  ] as const) {
    ranges.forEach(([first, last], index) => {
      const at = itemAt(data, field, index);
      const registers = last - first + 1;
      if (registers < 1) report.fault(at, `${field}: the first address ${first} is above the last ${last}`);
      else if (field === "alone" && registers > REGISTERS_MAX) {
        report.fault(at, `alone: ${registers} registers cannot be read as one block; Modbus gives ${REGISTERS_MAX}`);
      }
    });
  }
}

function itemAt(data: DataMap, field: string, index: number): At {
  const list = data[field];
  return Array.isArray(list) ? valueAt(list, index) : keyAt(data, field);
}

function checkType({ point, data }: Checked, report: Report): void {
  const { type, area } = point;
  if (isBitArea(point)) {
    if (type !== "bool")
      report.fault(
        valueAt(data, "type"),
        `a ${area === "coil" ? "coil" : "discrete input"} is one bit: type bool, not ${type}`,
      );
    for (const field of ["bits", "scale_register", "order", "length"] as const) {
      if (data[field] !== undefined)
        report.fault(
          keyAt(data, field),
          `${field} has no meaning for a ${area === "coil" ? "coil" : "discrete input"}`,
        );
    }
    return;
  }
  if (type === "string" && point.length === undefined)
    report.fault(valueAt(data, "type"), "type string needs length: its number of registers");
  if (type !== "string" && point.length !== undefined)
    report.fault(keyAt(data, "length"), `length is for type string; ${type} has its own`);
  const { bits } = point;
  if (bits === undefined) {
    if (type === "bool")
      report.fault(valueAt(data, "type"), "a single bit of a register needs bits: { shift: N, width: 1 }");
    return;
  }
  if (type !== "bool" && !INTEGER.test(type))
    report.fault(keyAt(data, "bits"), `bits of ${type} have no meaning; the type must be an integer`);
  const width = type === "bool" ? 16 : bitsOf(point);
  if (bits.shift + bits.width > width) {
    report.fault(
      keyAt(data, "bits"),
      `bits ${bits.shift} to ${bits.shift + bits.width - 1} do not exist in ${width} bits`,
    );
  }
}

function checkAddress({ point, data }: Checked, behaviour: ModbusBehaviour, report: Report): void {
  const at = valueAt(data, "address");
  const registers = widthOf(point);
  const last = point.address + registers - 1;
  if (last > ADDRESS_MAX) {
    report.fault(at, `${registers} registers from ${point.address} end at ${last}; the last address is ${ADDRESS_MAX}`);
  }
  const problem = reachProblem([point.address, last], isBitArea(point), behaviour);
  if (problem !== null) report.fault(at, problem);
}

/** Why these addresses cannot come in one read; null where they can. */
function reachProblem([first, last]: Range, bits: boolean, behaviour: ModbusBehaviour): string | null {
  const { registers_max = REGISTERS_MAX, forbidden = [], alone = [] } = behaviour;
  for (const [from, to] of bits ? [] : alone) {
    // A block that is read alone is as long as it is, whatever the limit of other reads.
    if (first >= from && last <= to) return null;
    if (first <= to && last >= from)
      return `${first} to ${last} goes over an end of the block ${from} to ${to}, which is read alone`;
  }
  const wall = forbidden.find(([from, to]) => first <= to && last >= from);
  if (wall !== undefined)
    return `${first === last ? first : `${first} to ${last}`} meets the forbidden range ${wall[0]} to ${wall[1]}`;
  const registers = last - first + 1;
  return bits || registers <= registers_max
    ? null
    : `${registers} registers cannot be read at once; this device gives ${registers_max} (registers_max)`;
}

function checkScaleRegister({ point, data }: Checked, behaviour: ModbusBehaviour, report: Report): void {
  const { scale_register } = point;
  if (scale_register === undefined || isBitArea(point)) return;
  const at = valueAt(data, "scale_register");
  if (point.type === "string" || point.type === "bool") report.fault(at, `type ${point.type} cannot be scaled`);
  const last = point.address + widthOf(point) - 1;
  if (scale_register >= point.address && scale_register <= last)
    report.fault(at, "the scale register lies inside the value");
  // Where the value alone cannot be read, that is told already.
  if (reachProblem([point.address, last], false, behaviour) !== null) return;
  const span: Range = [Math.min(point.address, scale_register), Math.max(last, scale_register)];
  const problem = reachProblem(span, false, behaviour);
  if (problem !== null) report.fault(at, `value and scale register must come in one read: ${problem}`);
}

/** Sentinels, codes, flags and the rollover must be numbers that the raw value can take. */
function checkCodes({ point, data }: Checked, report: Report): void {
  const limits = limitsOf(point);
  const outside = (value: number): boolean => limits !== null && (value < limits[0] || value > limits[1]);
  const type = point.bits === undefined ? point.type : `${point.bits.width} bits of ${point.type}`;
  point.sentinels?.forEach((sentinel, index) => {
    const value = typeof sentinel === "object" ? sentinel.value : sentinel;
    const at = itemAt(data, "sentinels", index);
    if (value === "nan" && limits !== null) report.fault(at, `sentinel nan can never be read as ${type}`);
    else if (value !== "nan" && outside(value))
      report.fault(at, `sentinel ${value} can never be read as ${type}${signHint(point, value)}`);
  });
  for (const code of Object.keys(point.states ?? {})) {
    if (outside(Number(code))) report.fault(keyOf(data, "states", code), `code ${code} can never be read as ${type}`);
  }
  const width = point.bits?.width ?? bitsOf(point);
  for (const bit of Object.keys(point.flags ?? {})) {
    if (Number(bit) >= width) report.fault(keyOf(data, "flags", bit), `bit ${bit} does not exist in ${type}`);
  }
  const { rollover } = point;
  if (rollover === undefined) return;
  const [base = "", exponent] = String(rollover).split("^");
  const at_rollover = exponent === undefined ? Number(base) : Number(base) ** Number(exponent);
  if (limits !== null && at_rollover > limits[1] + 1)
    report.fault(valueAt(data, "rollover"), `${type} never reaches ${rollover}`);
}

function signHint(point: ModbusPoint, value: number): string {
  const bits = bitsOf(point);
  return point.type.startsWith("s") && value > 0 && value < 2 ** bits
    ? `; as ${point.type} it is ${value - 2 ** bits}`
    : "";
}

/** Lowest and highest raw value; null where every number can be. */
function limitsOf(point: ModbusPoint): Range | null {
  if (point.type === "f32" || point.type === "f64" || point.type === "string") return null;
  if (point.bits !== undefined) return [0, 2 ** point.bits.width - 1];
  if (point.type === "bool") return [0, 1];
  const bits = bitsOf(point);
  if (point.type.startsWith("bcd")) return [0, 10 ** (bits / 4) - 1];
  return point.type.startsWith("s") ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1];
}

function keyOf(data: DataMap, field: string, key: string): At {
  const map = data[field];
  return isDataMap(map) ? keyAt(map, key) : keyAt(data, field);
}

/** Two points that share registers and do not read them alike: one of the addresses is probably wrong. */
function checkOverlaps(points: readonly Checked[], report: Report): void {
  const sorted = [...points].sort((a, b) =>
    a.point.area < b.point.area ? -1 : a.point.area > b.point.area ? 1 : a.point.address - b.point.address,
  );
  let before: Checked | undefined;
  for (const checked of sorted) {
    const { point } = checked;
    if (
      before !== undefined &&
      before.point.area === point.area &&
      point.address < before.point.address + widthOf(before.point) &&
      conflict(before.point, point)
    ) {
      report.warn(
        valueAt(checked.data, "address"),
        `point '${point.name}' (${point.type} at ${point.address}) shares registers with '${before.point.name}' (${before.point.type} at ${before.point.address})`,
      );
    }
    if (before === undefined || before.point.area !== point.area || end(point) >= end(before.point)) before = checked;
  }
}

const end = (point: ModbusPoint): number => point.address + widthOf(point);

/** Parts of one register are what bits are for; the same type at the same place is the same reading. */
function conflict(a: ModbusPoint, b: ModbusPoint): boolean {
  if (a.address !== b.address || widthOf(a) !== widthOf(b)) return a.bits === undefined || b.bits === undefined;
  return a.type !== b.type && a.bits === undefined && b.bits === undefined;
}
