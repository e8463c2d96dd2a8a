/** What a site file says of a device, as facts that its profile's conditions are decided by. */
import { type Facts } from "#profiles/facts.ts";
import type { Profile } from "#profiles/loaded.ts";
import type { ParameterDefinition } from "#profiles/profile.ts";
import { fallbackOf } from "#profiles/resolve.ts";
import type { Report } from "#profiles/report.ts";
import { didYouMean, listed } from "#profiles/suggest.ts";
import { parseVersion } from "#profiles/version.ts";
import { type Data, type DataMap, isDataMap, keyAt, originOf, valueAt } from "#profiles/yaml.ts";

/** Facts of `device`, a device's part of the site file, checked against what its profile knows. */
export function factsOf(profile: Profile, device: DataMap, report: Report): Facts {
  return {
    model: modelOf(profile, device, report),
    versions: versionsOf(device, Object.keys(profile.versions), report),
    parameters: parametersOf(profile, device, report),
  };
}

function modelOf(profile: Profile, device: DataMap, report: Report): string {
  const { model } = device;
  if (typeof model !== "string" || profile.models.includes(model))
    return typeof model === "string" ? model : profile.model;
  report.fault(
    valueAt(device, "model"),
    `profile ${profile.name} does not know model '${model}'${didYouMean(model, profile.models) || `; it serves ${listed(profile.models)}`}`,
  );
  return profile.model;
}

/**
 * Version components of `firmware:`, by the names that conditions use. A single version is `firmware`;
 * in a map, `main` is short for `firmware.main`. `known`: the profile's; null where there is none.
 */
export function versionsOf(device: DataMap, known: readonly string[] | null, report: Report): Map<string, string> {
  const versions = new Map<string, string>();
  const { firmware } = device;
  if (firmware === undefined || firmware === null) return versions;
  const add = (name: string, container: DataMap, key: string): void => {
    const text = versionText(container, key);
    if (text === null) return;
    if (parseVersion(text) === null) report.fault(valueAt(container, key), `'${text}' is no version: it has no digit`);
    else versions.set(name, text);
  };
  if (!isDataMap(firmware)) {
    if (known !== null && known.length > 0 && !known.includes("firmware")) {
      const parts = known.map((name) => name.replace(/^firmware\./, ""));
      report.fault(
        valueAt(device, "firmware"),
        `this profile knows several versions: write firmware: { ${parts.map((name) => `${name}: "..."`).join(", ")} }`,
      );
    }
    add("firmware", device, "firmware");
    return versions;
  }
  for (const key of Object.keys(firmware)) {
    const name =
      known === null || known.includes(`firmware.${key}`) || (!known.includes(key) && known.length === 0)
        ? `firmware.${key}`
        : key;
    if (known !== null && known.length > 0 && !known.includes(name)) {
      const parts = known.map((each) => each.replace(/^firmware\./, ""));
      report.fault(
        keyAt(firmware, key),
        `this profile knows no version '${key}'${didYouMean(key, parts) || `; it knows ${listed(parts)}`}`,
      );
      continue;
    }
    add(name, firmware, key);
  }
  return versions;
}

/** As it was written: 2.10 without quotes is the number 2.1 to YAML. */
function versionText(container: DataMap, key: string): string | null {
  const value = container[key];
  if (typeof value === "string") return value;
  return typeof value === "number" ? (originOf(container, key)?.text ?? String(value)) : null;
}

function parametersOf(profile: Profile, device: DataMap, report: Report): Map<string, string | number | boolean> {
  const stated = isDataMap(device["parameters"]) ? device["parameters"] : {};
  const definitions = profile.parameters;
  for (const key of Object.keys(stated)) {
    if (Object.hasOwn(definitions, key)) continue;
    const known = Object.keys(definitions);
    report.fault(
      keyAt(stated, key),
      `profile ${profile.name} has no parameter '${key}'${didYouMean(key, known) || (known.length > 0 ? `; it has ${listed(known)}` : "")}`,
    );
  }
  const parameters = new Map<string, string | number | boolean>();
  for (const [name, definition] of Object.entries(definitions)) {
    const value = stated[name] ?? null;
    const checked = value === null ? null : parameterValue(definition, value);
    // After a fault the check goes on with a value that the profile can be resolved with.
    parameters.set(name, checked ?? fallbackOf(definition));
    if (checked !== null) continue;
    if (value !== null) {
      const hint = suggestion(definition, value);
      report.fault(
        valueAt(stated, name),
        `${name}: expected ${expected(definition)}, not ${JSON.stringify(value)}${hint}`,
      );
    } else if (definition.default === undefined) {
      report.fault(
        keyAt(device, "profile"),
        `profile ${profile.name} needs parameters: { ${name}: ... }: ${definition.description}`,
      );
    }
  }
  return parameters;
}

function parameterValue(definition: ParameterDefinition, value: Data): string | number | boolean | null {
  if ("values" in definition) return definition.values.find((known) => String(known) === textOf(value)) ?? null;
  if (definition.type === "number" && typeof value === "number") return value;
  return definition.type === "boolean" && typeof value === "boolean" ? value : null;
}

function expected(definition: ParameterDefinition): string {
  if ("values" in definition) return `one of ${listed(definition.values.map(String))}`;
  return definition.type === "number" ? "a number" : "true or false";
}

const suggestion = (definition: ParameterDefinition, value: Data): string =>
  "values" in definition ? didYouMean(textOf(value), definition.values.map(String)) : "";

/** 3 and "3" are one value: YAML decides by the quotes, people do not. */
const textOf = (value: Data): string => (typeof value === "string" ? value : JSON.stringify(value));
