/**
 * Finds a profile by its name, reads it with everything that it imports, and makes one layered
 * profile of them. What depends on a device (its firmware, its parameters) comes later, in resolve.ts.
 *
 *   name ─find─▶ file ─parse─▶ data ─┐
 *           import: fragments ───────┴─layer─▶ Profile ─resolve(facts)─▶ points, behaviour ─▶ Device
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type Condition, parseCondition } from "./condition.ts";
import { checkCondition, type NameKind, type Names } from "./facts.ts";
import { type Files, topOf } from "./files.ts";
import { mergeMaps } from "./merge.ts";
import { parseData } from "./parse.ts";
import {
  type Evidence,
  fragmentSchemas,
  type ParameterDefinition,
  profileName,
  profileSchemas,
  protocolName,
} from "./profile.ts";
import type { At, Report } from "./report.ts";
import type { Protocol } from "./schema.ts";
import { didYouMean, listed } from "./suggest.ts";
import { type Data, type DataMap, isDataMap, keyAt, originOf, selfOf, valueAt } from "./yaml.ts";

/** A point before it is checked: layers of stated fields over layers of defaults, the last wins. */
export interface LayeredPoint {
  readonly defaults: readonly DataMap[];
  readonly fields: readonly DataMap[];
}

export interface Variant {
  readonly condition: Condition;
  readonly data: DataMap;
  readonly at: At;
}

/** A profile with its imports, before any variant. Immutable; shared by all devices of the profile. */
export interface Profile {
  readonly name: string;
  readonly protocol: Protocol;
  readonly title: string;
  readonly manufacturer: string;
  readonly model: string;
  /** `model` and all others that it serves. */
  readonly models: readonly string[];
  readonly version: string;
  readonly sources: Readonly<Record<string, Evidence>>;
  readonly versions: Readonly<Record<string, string>>;
  readonly parameters: Readonly<Record<string, ParameterDefinition>>;
  readonly names: Names;
  readonly points: ReadonlyMap<string, LayeredPoint>;
  readonly defaults: readonly DataMap[];
  readonly behaviour: DataMap;
  readonly every: Data | undefined;
  readonly variants: readonly Variant[];
  /** The data of the file itself, for the places of its head. */
  readonly data: DataMap;
}

export interface LoadContext {
  readonly files: Files;
  readonly report: Report;
  /** Folder of the site file, and its name for people; null where there is no site file. */
  readonly beside: { readonly path: string; readonly name: string } | null;
  /** Folder of the shipped profiles. */
  readonly shipped: string;
}

/** Beyond it imports are a mistake. */
const IMPORT_DEPTH_MAX = 8;

/** Loads each profile once; `at` is where its name stands. null where it cannot be had (told). */
export class ProfileLoader {
  readonly #context: LoadContext;
  readonly #loaded = new Map<string, Promise<Profile | null>>();

  constructor(context: LoadContext) {
    this.#context = context;
  }

  async load(name: string, at: At): Promise<Profile | null> {
    const { report } = this.#context;
    if (!profileName.safeParse(name).success) {
      const bare = name.replace(/^(\.?\/)*(firmware-profiles\/)?/, "").replace(/\.ya?ml$/, "");
      report.fault(
        at,
        `a profile is named as eastron/sdm630, not '${name}'${profileName.safeParse(bare).success ? `; did you mean '${bare}'?` : ""}`,
      );
      return null;
    }
    const found = await this.#find(`${name}.yaml`);
    if (found === null) {
      const names = await profileNames(this.#context.shipped);
      report.fault(
        at,
        `there is no profile '${name}', neither beside the site file nor shipped${didYouMean(name, names) || `; shipped are ${listed(names)}`}`,
      );
      return null;
    }
    let loading = this.#loaded.get(name);
    if (loading === undefined) {
      loading = this.#build(name, found);
      this.#loaded.set(name, loading);
    }
    return loading;
  }

  /** Beside the site file first, so that a site can have its own edition of a shipped profile. */
  async #find(path: string): Promise<FoundFile | null> {
    const { beside, shipped, files } = this.#context;
    const candidates = [
      ...(beside === null ? [] : [{ path: join(beside.path, path), name: join(beside.name, path) }]),
      { path: join(shipped, path), name: `firmware-profiles/${path}` },
    ];
    for (const { path: candidate, name } of candidates) {
      const data = await files.yaml(candidate, name);
      if (data !== null) return { name, data };
    }
    return null;
  }

  async #build(name: string, { data, name: file }: FoundFile): Promise<Profile | null> {
    const { report } = this.#context;
    if (data === undefined) return null;
    if (!isDataMap(data)) {
      report.fault(topOf(file), "a profile is a map: title, manufacturer, model, protocol, points");
      return null;
    }
    const protocol = parseData(protocolName, data["protocol"] ?? "", report, keyAt(data, "protocol"));
    if (protocol === undefined) return null;
    const head = parseData(profileSchemas[protocol], data, report, selfOf(data));
    const layer = await this.#layer(data, protocol, []);
    if (head === undefined) return null;
    const models = [...new Set([head.model, ...(head.models ?? [])])];
    const names = namesOf(models, layer.versions, layer.parameters);
    const profile: Profile = {
      name,
      protocol,
      title: head.title,
      manufacturer: head.manufacturer,
      model: head.model,
      models,
      version: head.version,
      names,
      data,
      ...layer,
      variants: layer.variants.flatMap((variant) => conditionOf(variant, names, report)),
    };
    checkLayers(profile, report);
    return profile;
  }

  /** `data` over everything that it imports. `chain`: the files that import it. */
  async #layer(data: DataMap, protocol: Protocol, chain: readonly string[]): Promise<Layer> {
    const { report } = this.#context;
    let below = EMPTY;
    const imports = Array.isArray(data["import"]) ? data["import"] : [];
    for (const [index, path] of imports.entries()) {
      if (typeof path !== "string") continue;
      const at = valueAt(imports, index);
      if (chain.includes(path)) {
        report.fault(at, `circular import: ${[...chain.slice(chain.indexOf(path)), path].join(" imports ")}`);
        continue;
      }
      if (chain.length >= IMPORT_DEPTH_MAX) {
        report.fault(at, `imports go deeper than ${IMPORT_DEPTH_MAX} files`);
        continue;
      }
      const found = await this.#find(path);
      if (found === null)
        report.fault(at, `there is no fragment '${path}', neither beside the site file nor in firmware-profiles/`);
      if (found === null || found.data === undefined) continue;
      if (!isDataMap(found.data)) {
        report.fault(topOf(found.name), "a fragment is a map: points, defaults, ...");
        continue;
      }
      parseData(fragmentSchemas[protocol], found.data, report, selfOf(found.data));
      below = over(below, await this.#layer(found.data, protocol, [...chain, path]));
    }
    return withFile(below, data, protocol, report);
  }
}

interface FoundFile {
  readonly name: string;
  readonly data: Data | undefined;
}

interface Layer {
  readonly points: ReadonlyMap<string, LayeredPoint>;
  readonly defaults: readonly DataMap[];
  readonly behaviour: DataMap;
  readonly every: Data | undefined;
  readonly variants: readonly DataMap[];
  readonly sources: Readonly<Record<string, Evidence>>;
  readonly versions: Readonly<Record<string, string>>;
  readonly parameters: Readonly<Record<string, ParameterDefinition>>;
}

const EMPTY: Layer = {
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
function over(below: Layer, above: Layer): Layer {
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
function withFile(below: Layer, data: DataMap, protocol: Protocol, report: Report): Layer {
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

function namesOf(models: readonly string[], versions: Layer["versions"], parameters: Layer["parameters"]): Names {
  const names = new Map<string, NameKind>([["model", { kind: "model", values: models }]]);
  for (const name of Object.keys(versions)) names.set(name, { kind: "version" });
  for (const [name, parameter] of Object.entries(parameters)) {
    if (!isDataMap(parameter)) continue;
    if ("values" in parameter && Array.isArray(parameter.values))
      names.set(name, { kind: "values", values: parameter.values.map(String) });
    else if (parameter["type"] === "number" || parameter["type"] === "boolean")
      names.set(name, { kind: parameter["type"] });
  }
  return names;
}

/** The condition of a variant; none where it cannot be read or names what nobody declared. */
function conditionOf(data: DataMap, names: Names, report: Report): Variant[] {
  const when = data["when"];
  if (typeof when !== "string") return [];
  const inside = originOf(data, "when")?.inside ?? null;
  const at = valueAt(data, "when");
  const tell = (column: number, message: string): void => {
    const where = inside === null ? ` (character ${column + 1})` : "";
    report.fault(inside === null ? at : { file: at.file, offset: inside + column }, `when: ${message}${where}`);
  };
  const parsed = parseCondition(when);
  if ("problem" in parsed) {
    tell(parsed.problem.column, parsed.problem.message);
    return [];
  }
  const problems = checkCondition(parsed.condition, names);
  for (const { column, message } of problems) tell(column, message);
  return problems.length > 0 ? [] : [{ condition: parsed.condition, data, at: selfOf(data) }];
}

/** Names that variants change or remove must exist somewhere; evidence must be declared. */
function checkLayers(profile: Profile, report: Report): void {
  const added = profile.variants.flatMap(({ data }) =>
    listAt(data, "points").flatMap((patch) => ("address" in patch ? namesIn(patch) : [])),
  );
  const known = new Set([...profile.points.keys(), ...added]);
  const cited = [...profile.points.values()].flatMap(({ fields }) => fields);
  for (const { data } of profile.variants) {
    cited.push(data);
    for (const patch of listAt(data, "points")) {
      cited.push(patch);
      for (const name of namesIn(patch)) {
        if (!known.has(name))
          report.fault(
            valueAt(patch, "name"),
            `there is no point '${name}' to change${didYouMean(name, known)} (a new point needs an address)`,
          );
      }
    }
    const removed = data["remove"];
    if (!Array.isArray(removed)) continue;
    removed.forEach((name, index) => {
      if (typeof name === "string" && !known.has(name))
        report.fault(valueAt(removed, index), `there is no point '${name}' to remove${didYouMean(name, known)}`);
    });
  }
  for (const fields of cited) {
    const source = fields["source"];
    // A single word is an id; anything longer explains itself.
    if (typeof source !== "string" || !/^[\w.-]+$/.test(source) || Object.hasOwn(profile.sources, source)) continue;
    report.fault(
      valueAt(fields, "source"),
      `no evidence '${source}' under sources${didYouMean(source, Object.keys(profile.sources))}`,
    );
  }
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

/** Names of the profiles in a folder, without the fragments of common/. */
export async function profileNames(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(".yaml"))
    .map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(folder.length)
        .replace(/^[\\/]/, "")
        .replaceAll("\\", "/"),
    )
    .filter((path) => path.includes("/") && !path.startsWith("common/") && !path.split("/").includes("recordings"))
    .map((path) => path.replace(/\.yaml$/, ""))
    .sort();
}
