/** One target of a site file: its type by its key, its options by that type's schema. */
import { targets } from "#adapters/registry.ts";
import { parseData } from "#profiles/parse.ts";
import { type At, lineAndColumn, type Report } from "#profiles/report.ts";
import { didYouMean, listed } from "#profiles/suggest.ts";
import { type DataMap, isDataMap, keyAt, valueAt } from "#profiles/yaml.ts";
import type { SiteTarget, TargetName } from "./contract.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { chooseOptions } from "./options.ts";
import { targetSchema, targetNames } from "./schema.ts";

/** null where a fault stands in the way (told). */
export function buildTarget(data: DataMap, at: At, report: Report): SiteTarget | null {
  const types = targetNames.filter((name) => data[name] !== undefined);
  const known = Object.keys(targetSchema.shape);
  const strange = Object.keys(data).find((key) => !known.includes(key));
  const [type, second] = types;
  if (second !== undefined) {
    report.fault(
      keyAt(data, second),
      `one target has one type, and ${type ?? ""} stands here already; begin another one with '-'`,
    );
    return null;
  }
  if (type === undefined) {
    // The only strange key is probably the type that was meant.
    if (strange === undefined) report.fault(at, `a target needs a type: one of ${listed(targetNames)}`);
    else
      report.fault(
        keyAt(data, strange),
        `there is no target type '${strange}'${didYouMean(strange, targetNames) || `; there are ${listed(targetNames)}`}`,
      );
    return null;
  }
  const head = parseData(targetSchema, data, report, at);
  const options = optionsOf(type, data, report);
  if (head === undefined || options === null) return null;
  const { id, from } = head;
  const name = typeof id === "string" ? id : type;
  const place = { file: at.file.name, ...lineAndColumn(at) };
  return { name, type, options, from, fingerprint: fingerprintOf({ name, type, options, from }), place };
}

function optionsOf(type: TargetName, data: DataMap, report: Report): unknown {
  // `- console:` alone is a target with all its defaults.
  const section = data[type] ?? {};
  const at = keyAt(data, type);
  if (!isDataMap(section)) {
    report.fault(valueAt(data, type), `${type}: expected a map (key: value)`);
    return null;
  }
  const schema = chooseOptions(type, targets[type].options, section, at, report);
  return schema === null ? null : (parseData(schema, section, report, at) ?? null);
}
