/** Layered points of a device to checked ones: merged, parsed with the protocol's schema, defaults filled in. */
import type { LayeredPoint } from "./load.ts";
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

/** Points that do not fit are told and left out, so that the others can be checked further. */
export function compilePoints<P extends Protocol>(
  protocol: P,
  points: ReadonlyMap<string, LayeredPoint>,
  every_ms: number,
  report: Report,
): CheckedPoint<P>[];
export function compilePoints(
  protocol: Protocol,
  points: ReadonlyMap<string, LayeredPoint>,
  every_ms: number,
  report: Report,
): CheckedPoint[] {
  const checked: CheckedPoint[] = [];
  for (const [, { defaults, fields }] of points) {
    const merged = mergeMaps(...defaults, ...fields);
    const at = selfOf(fields[0] ?? merged);
    const data = protocol === "modbus" && isBitArea(merged) ? mergeMaps({ type: "bool" }, merged) : merged;
    const parsed = parseData(protocols[protocol].point, data, report, at);
    if (parsed === undefined) continue;
    // The schema is the one of this protocol; the union of all three is what the compiler sees.
    checked.push({ point: { ...parsed, every: parsed.every ?? every_ms } as PointOf[Protocol], data });
  }
  return checked;
}

/** Coils and discrete inputs hold single bits; that need not be written out. */
const isBitArea = (data: DataMap): boolean => data["area"] === "coil" || data["area"] === "discrete";
