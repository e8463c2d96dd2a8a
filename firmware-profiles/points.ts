/** Layered points of a device to checked ones: merged, parsed with the protocol's schema, defaults filled in. */
import type { LayeredPoint } from "./layers.ts";
import { mergeMaps } from "./merge.ts";
import { parseData } from "./parse.ts";
import type { Report } from "./report.ts";
import { type Protocol, protocols } from "./schema.ts";
import type { PointOf } from "./series.ts";
import { type DataMap, selfOf } from "./yaml.ts";

/** A point that fits its schema, with the data that it came from, for the places of its fields. */
export interface CheckedPoint<P extends Protocol = Protocol> {
  readonly point: PointOf[P];
  readonly data: DataMap;
}

export interface CompiledPoints {
  readonly checked: readonly CheckedPoint[];
  /** Points that did not fit (told); a part of them can still be checked. */
  readonly unfit: readonly DataMap[];
}

/** Points that do not fit are told and set aside, so that the others can be checked further. */
export function compilePoints(
  protocol: Protocol,
  points: ReadonlyMap<string, LayeredPoint>,
  every_ms: number,
  report: Report,
): CompiledPoints {
  const checked: CheckedPoint[] = [];
  const unfit: DataMap[] = [];
  for (const [, { defaults, fields }] of points) {
    const merged = mergeMaps(...defaults, ...fields);
    const at = selfOf(fields[0] ?? merged);
    const data = protocol === "modbus" && isBitArea(merged) ? mergeMaps({ type: "bool" }, merged) : merged;
    const parsed = parseData(protocols[protocol].point, data, report, at);
    if (parsed === undefined) {
      unfit.push(data);
      continue;
    }
    checked.push({ point: { ...parsed, every: parsed.every ?? every_ms }, data });
  }
  return { checked, unfit };
}

/** Coils and discrete inputs hold single bits; that need not be written out. */
const isBitArea = (data: DataMap): boolean => data["area"] === "coil" || data["area"] === "discrete";
