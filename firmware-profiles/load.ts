/**
 * Finds a profile by its name, reads it with everything that it imports, and makes one layered
 * profile of them. What depends on a device (its firmware, its parameters) comes later, in resolve.ts.
 *
 *   name ─find─▶ file ─parse─▶ data ─┐
 *           import: fragments ───────┴─layer─▶ Profile ─resolve(facts)─▶ points, behaviour ─▶ Device
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { checkPoints } from "./checks/points.ts";
import { type Files, topOf } from "./files.ts";
import { EMPTY_LAYER, type Layer, over, withFile } from "./layers.ts";
import type { Profile } from "./loaded.ts";
import { parseData } from "./parse.ts";
import { compilePoints } from "./points.ts";
import { fragmentSchemas, profileName, profileSchemas, protocolName } from "./profile.ts";
import type { At, Report } from "./report.ts";
import { defaultFacts, resolveProfile } from "./resolve.ts";
import { type Protocol, protocols } from "./schema.ts";
import { didYouMean } from "./suggest.ts";
import { checkLayers, conditionOf, namesOf } from "./variants.ts";
import { type Data, type DataMap, isDataMap, keyAt, selfOf, valueAt } from "./yaml.ts";

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
  readonly #loaded = new Map<string, Promise<Profile | null | "missing">>();

  constructor(context: LoadContext) {
    this.#context = context;
  }

  async load(name: string, at: At): Promise<Profile | null> {
    const { report } = this.#context;
    if (!profileName.safeParse(name).success) {
      const bare = name.replace(/^(\.?\/)*(firmware-profiles\/)?/, "").replace(/\.ya?ml$/, "");
      const meant = profileName.safeParse(bare).success
        ? `; did you mean '${bare}'?`
        : didYouMean(bare, await profileNames(this.#context.shipped));
      report.fault(at, `a profile is named as eastron/sdm630, in lower case, not '${name}'${meant}`);
      return null;
    }
    let loading = this.#loaded.get(name);
    if (loading === undefined) {
      loading = this.#find(`${name}.yaml`).then<Profile | null | "missing">((found) =>
        found === null ? "missing" : this.#build(name, found),
      );
      this.#loaded.set(name, loading);
    }
    const profile = await loading;
    if (profile !== "missing") return profile;
    const names = await profileNames(this.#context.shipped);
    const hint = didYouMean(name, names) || "; firmware-profiles/README.md lists them";
    report.fault(at, `there is no profile '${name}', neither beside the site file nor shipped${hint}`);
    return null;
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
    // What did not fit is told; the rest is checked all the same, with stand-ins for what is missing.
    const model = textAt(data, "model");
    const models = [...new Set([model, ...(head?.models ?? [])])];
    const names = namesOf(models, layer.versions, layer.parameters);
    const profile: Profile = {
      name,
      protocol,
      title: textAt(data, "title"),
      manufacturer: textAt(data, "manufacturer"),
      model,
      models,
      version: textAt(data, "version"),
      names,
      data,
      ...layer,
      variants: layer.variants.flatMap((variant) => conditionOf(variant, names, report)),
    };
    checkLayers(profile, report);
    await checkAsIs(profile, report);
    return head === undefined ? null : profile;
  }

  /** `data` over everything that it imports. `chain`: the files that import it. */
  async #layer(data: DataMap, protocol: Protocol, chain: readonly string[]): Promise<Layer> {
    const { report } = this.#context;
    let below = EMPTY_LAYER;
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

/** The profile as it is where a site file says nothing of its devices. */
async function checkAsIs(profile: Profile, report: Report): Promise<void> {
  const { points, behaviour } = resolveProfile(profile, defaultFacts(profile));
  const compiled = compilePoints(profile.protocol, points, 1000, report);
  const parsed = protocols[profile.protocol].behaviour.safeParse(behaviour);
  await checkPoints(profile.protocol, compiled, parsed.success ? parsed.data : {}, behaviour, report);
}

const textAt = (data: DataMap, key: string): string => {
  const value = data[key];
  return typeof value === "string" ? value : "";
};

interface FoundFile {
  readonly name: string;
  readonly data: Data | undefined;
}

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
