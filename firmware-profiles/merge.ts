/**
 * The one rule by which layers (fragment, profile, variant, site file) come together, RFC 7386 with
 * one addition:
 *   - a map is merged key by key, and null takes a key away;
 *   - a list of things that have a `name` is merged by that name, in the order of first appearance;
 *   - everything else, other lists too, is replaced by the later layer.
 * Layers are never written into: each merge makes a new value that keeps the places of its parts.
 */
import {
  type Data,
  type DataMap,
  hasOrigins,
  inheritOrigins,
  isDataMap,
  listFrom,
  type Origin,
  originOf,
  selfOf,
} from "./yaml.ts";

/** `layers` from the first to the last; the last wins. */
export function mergeMaps(...layers: readonly DataMap[]): DataMap {
  const merged: DataMap = {};
  for (const layer of layers) {
    for (const [key, data] of Object.entries(layer)) {
      if (data === null) delete merged[key];
      else merged[key] = mergeData(merged[key], data);
    }
  }
  return inheritOrigins(merged, selfOf(layers.findLast(hasOrigins) ?? {}), layers);
}

function mergeData(base: Data | undefined, data: Data): Data {
  if (isDataMap(data)) return mergeMaps(isDataMap(base) ? base : {}, data);
  if (isNamedList(data) && isNamedList(base) && data.length > 0) return mergeNamed(base, data);
  return data;
}

type Named = DataMap & { name: string };

const isNamedList = (data: Data | undefined): data is Named[] =>
  Array.isArray(data) && data.every((item) => isDataMap(item) && typeof item["name"] === "string");

function mergeNamed(base: Named[], layer: Named[]): Data[] {
  const items = new Map<string, { data: DataMap; origin: Origin | undefined }>(
    base.map((item, index) => [item.name, { data: item, origin: originOf(base, index) }]),
  );
  layer.forEach((item, index) => {
    const before = items.get(item.name);
    const data = before === undefined ? mergeMaps(item) : mergeMaps(before.data, item);
    items.set(item.name, { data, origin: originOf(layer, index) });
  });
  return listFrom(selfOf(layer), [...items.values()]);
}
