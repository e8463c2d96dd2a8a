/**
 * Profile and facts to points: every variant whose condition holds is applied in order, the later one
 * wins. A pure function, so that it can be asked again when a connected device tells its firmware.
 */
import { evaluate, type Facts } from "./facts.ts";
import { type LayeredPoint, layeredPoint, listAt, mapAt, namesIn } from "./layers.ts";
import type { Profile, Variant } from "./loaded.ts";
import { mergeMaps } from "./merge.ts";
import type { ParameterDefinition } from "./profile.ts";
import { type Data, type DataMap, inheritOrigins, selfOf } from "./yaml.ts";

export interface Resolved {
  readonly points: ReadonlyMap<string, LayeredPoint>;
  readonly behaviour: DataMap;
  readonly every: Data | undefined;
  /** The variants that were applied. */
  readonly applied: readonly Variant[];
  /** Version components that would have decided and were not stated: the newest was taken. */
  readonly unstated: readonly string[];
}

export function resolveProfile(profile: Profile, facts: Facts): Resolved {
  const points = new Map(profile.points);
  let behaviour = profile.behaviour;
  let every = profile.every;
  const defaults: DataMap[] = [];
  const applied: Variant[] = [];
  const unstated = new Set<string>();
  for (const variant of profile.variants) {
    const verdict = evaluate(variant.condition, facts);
    for (const name of verdict.unstated) unstated.add(name);
    if (!verdict.holds) continue;
    const { data } = variant;
    applied.push(variant);
    defaults.push(mapAt(data, "defaults"));
    behaviour = mergeMaps(behaviour, mapAt(data, profile.protocol));
    every = data["every"] ?? every;
    for (const name of Array.isArray(data["remove"]) ? data["remove"] : []) {
      if (typeof name === "string") points.delete(name);
    }
    for (const patch of listAt(data, "points")) {
      for (const name of namesIn(patch)) {
        const before = points.get(name);
        // A patch of several points, or of one that is not here, adds nothing without an address.
        if (before === undefined && !("address" in patch)) continue;
        points.set(name, layeredPoint(before, named(patch, name), profile.defaults));
      }
    }
  }
  for (const [name, point] of points) points.set(name, { ...point, defaults: [...point.defaults, ...defaults] });
  return { points, behaviour, every, applied, unstated: [...unstated] };
}

/** A patch of several points, for one of them. */
const named = (patch: DataMap, name: string): DataMap => inheritOrigins({ ...patch, name }, selfOf(patch), [patch]);

/** What is known of a device of which nobody said anything: newest firmware, parameters at their defaults. */
export function defaultFacts(profile: Profile): Facts {
  const parameters = new Map<string, string | number | boolean>();
  for (const [name, definition] of Object.entries(profile.parameters)) {
    parameters.set(name, fallbackOf(definition));
  }
  return { model: profile.model, versions: new Map(), parameters };
}

/** A parameter's default; of one that has none, the first value that it can have. */
export function fallbackOf(definition: ParameterDefinition): string | number | boolean {
  if (definition.default !== undefined) return definition.default;
  if ("values" in definition) return definition.values[0] ?? "";
  return definition.type === "number" ? 0 : false;
}
