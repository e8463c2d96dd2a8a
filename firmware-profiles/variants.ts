/** The variants of a profile: their conditions read and checked, and what they change known to exist. */
import { parseCondition } from "./condition.ts";
import { checkCondition, type NameKind, type Names } from "./facts.ts";
import { type Layer, listAt, namesIn } from "./layers.ts";
import type { Profile, Variant } from "./loaded.ts";
import type { Report } from "./report.ts";
import { didYouMean } from "./suggest.ts";
import { type DataMap, isDataMap, originOf, selfOf, valueAt } from "./yaml.ts";

/** What conditions of a profile may name. */
export function namesOf(
  models: readonly string[],
  versions: Layer["versions"],
  parameters: Layer["parameters"],
): Names {
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
export function conditionOf(data: DataMap, names: Names, report: Report): Variant[] {
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
export function checkLayers(profile: Profile, report: Report): void {
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
