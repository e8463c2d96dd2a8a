/**
 * What a point means, without its address: the one derivation from a profile's point to the Series
 * that every later stage (journal, mapping to OTLP, console) works with.
 */
import type { ModbusPoint, OpcuaPoint, Point, PointKind, Protocol, SerialPoint } from "./schema.ts";

export type Attributes = Readonly<Record<string, string | number | boolean>>;

/** What one point of a device is to every later stage: its meaning, without its address. */
export interface Series {
  readonly name: string;
  readonly metric: string;
  /** UCUM, case sensitive. */
  readonly unit: string;
  readonly description: string;
  readonly kind: PointKind;
  /** Which column carries the value: `Frame.ints`, `Frame.doubles` or `Frame.texts`. */
  readonly value: "int" | "double" | "text";
  /** A counter that only ever goes up (apart from resets and rollovers). */
  readonly monotonic: boolean;
  readonly attributes: Attributes;
  /** kind `state`: the name of each code. */
  readonly states?: readonly (readonly [code: number, name: string])[];
  /** kind `state` over a bit field: the name of each bit, bit 0 the least significant. */
  readonly flags?: readonly (readonly [bit: number, name: string])[];
}

/** The point type of each protocol. */
export interface PointOf {
  readonly modbus: ModbusPoint;
  readonly opcua: OpcuaPoint;
  readonly serial: SerialPoint;
}

/** The series of a checked point of `protocol`. */
export function seriesOf<P extends Protocol>(protocol: P, point: PointOf[P]): Series;
export function seriesOf(protocol: Protocol, point: PointOf[Protocol]): Series {
  const { states, flags } = point;
  return {
    name: point.name,
    metric: point.metric ?? point.name,
    unit: point.unit,
    description: point.description ?? "",
    kind: point.kind,
    value: columnOf(protocol, point),
    monotonic: point.kind === "counter" && point.monotonic,
    attributes: point.attributes,
    ...(states && { states: byCode(states) }),
    ...(flags && { flags: byCode(flags) }),
  };
}

/** int only where nothing turns the device's integer into a fraction; 64 bits stay exact that way. */
function columnOf(protocol: Protocol, point: PointOf[Protocol]): Series["value"] {
  if (point.kind === "text" || point.type === "string") return "text";
  if (point.scale !== 1 || point.offset !== 0) return "double";
  if ("scale_register" in point && point.scale_register !== undefined) return "double";
  return isIntegerOnWire(protocol, point) ? "int" : "double";
}

function isIntegerOnWire(protocol: Protocol, point: Pick<Point, "kind"> & { type?: string | undefined }): boolean {
  if (protocol === "modbus") return point.type !== "f32" && point.type !== "f64";
  // OPC UA and serial: f64 unless said otherwise; a state is a code, and a code is an integer.
  return point.type === "i64" || point.type === "bool" || (point.type === undefined && point.kind === "state");
}

function byCode(names: Readonly<Record<string, string>>): (readonly [number, string])[] {
  return Object.entries(names)
    .map(([code, name]) => [Number(code), name] as const)
    .sort(([a], [b]) => a - b);
}
