/**
 * Layers of a profile: what each file states, over what it imports. Nothing is merged before a device's
 * facts are known; a layer only says what stands over what.
 *
 *   defaults of importing files < defaults of the file that has the point < defaults of variants
 *     < fields of the point < changes by importing files < changes by variants < the site file
 */
import { mergeMaps } from "./merge.ts";
import type { Evidence, ParameterDefinition } from "./profile.ts";
import type { Report } from "./report.ts";
import type { Protocol } from "./schema.ts";
import { type Data, type DataMap, isDataMap, valueAt } from "./yaml.ts";

/** A point before it is checked: layers of stated fields over layers of defaults, the last wins. */
export interface LayeredPoint {
  readonly defaults: readonly DataMap[];
  readonly fields: readonly DataMap[];
}

export interface Layer {
  readonly points: ReadonlyMap<string, LayeredPoint>;
  readonly defaults: readonly DataMap[];
  readonly behaviour: DataMap;
  readonly every: Data | undefined;
  readonly variants: readonly DataMap[];
  readonly sources: Readonly<Record<string, Evidence>>;
  readonly versions: Readonly<Record<string, string>>;
  readonly parameters: Readonly<Record<string, ParameterDefinition>>;
}

export const EMPTY_LAYER: Layer = {
  points: new Map(),
  defaults: [],
  behaviour: {},
  every: undefined,
  variants: [],
  sources: {},
  versions: {},
  parameters: {},
};

/** Two imports of one file, the later over the earlier. */
export function over(below: Layer, above: Layer): Layer {
  const points = new Map(below.points);
  for (const [name, point] of above.points) {
    const before = points.get(name);
    points.set(name, before === undefined ? point : overPoint(before, point));
  }
  return {
    points,
    defaults: [...below.defaults, ...above.defaults],
    behaviour: mergeMaps(below.behaviour, above.behaviour),
    every: above.every ?? below.every,
    variants: [...below.variants, ...above.variants],
    sources: { ...below.sources, ...above.sources },
    versions: { ...below.versions, ...above.versions },
    parameters: { ...below.parameters, ...above.parameters },
  };
}

const overPoint = (below: LayeredPoint, above: LayeredPoint): LayeredPoint => ({
  defaults: [...below.defaults, ...above.defaults],
  fields: [...below.fields, ...above.fields],
});

/** A file over its imports: its defaults stand under theirs, its points over theirs. */
export function withFile(below: Layer, data: DataMap, protocol: Protocol, report: Report): Layer {
  const own = mapAt(data, "defaults");
  const defaults = [...below.defaults, own];
  const points = new Map<string, LayeredPoint>();
  for (const [name, point] of below.points) points.set(name, { ...point, defaults: [own, ...point.defaults] });
  const stated = listAt(data, "points");
  const first = new Map<string, DataMap>();
  for (const fields of stated) {
    const name = fields["name"];
    if (typeof name !== "string") continue;
    if (first.has(name)) {
      report.fault(valueAt(fields, "name"), `point '${name}' stands here twice`);
      continue;
    }
    first.set(name, fields);
    points.set(name, layeredPoint(points.get(name), fields, defaults));
  }
  return {
    points,
    defaults,
    behaviour: mergeMaps(below.behaviour, mapAt(data, protocol)),
    every: data["every"] ?? below.every,
    variants: [...below.variants, ...listAt(data, "variants")],
    // Their schemas were checked with the file; what did not fit is told and left out by `namesOf`.
    sources: { ...below.sources, ...(mapAt(data, "sources") as unknown as Record<string, Evidence>) },
    versions: { ...below.versions, ...(mapAt(data, "versions") as unknown as Record<string, string>) },
    parameters: {
      ...below.parameters,
      ...(mapAt(data, "parameters") as unknown as Record<string, ParameterDefinition>),
    },
  };
}

/** `fields` over the point that was there, or as a new one over `defaults`. */
export function layeredPoint(
  before: LayeredPoint | undefined,
  fields: DataMap,
  defaults: readonly DataMap[],
): LayeredPoint {
  return before === undefined ? { defaults, fields: [fields] } : { ...before, fields: [...before.fields, fields] };
}

/** A patch names one point or several. */
export function namesIn(patch: DataMap): string[] {
  const name = patch["name"];
  const names = Array.isArray(name) ? name : [name];
  return names.filter((each) => typeof each === "string");
}

export const mapAt = (data: DataMap, key: string): DataMap => {
  const value = data[key];
  return isDataMap(value) ? value : {};
};

export const listAt = (data: DataMap, key: string): DataMap[] => {
  const value = data[key];
  return Array.isArray(value) ? value.filter(isDataMap) : [];
};
