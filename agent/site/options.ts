/** Which of an adapter's option schemas a section is written for. */
import type { AdapterEntry } from "#adapters/registry.ts";
import { checkStated } from "#profiles/parse.ts";
import type { At, Report } from "#profiles/report.ts";
import { didYouMean, nearest } from "#profiles/suggest.ts";
import { type DataMap, keyAt } from "#profiles/yaml.ts";
import type { z } from "zod";

type Choices = AdapterEntry<unknown>["options"];

/** The schema whose telling key the section has; null (told) where it has none of them, or several. */
export function chooseOptions(
  name: string,
  choices: Choices,
  section: DataMap,
  at: At,
  report: Report,
): z.ZodObject | null {
  const [only] = choices;
  if (choices.length === 1 && only !== undefined) return only.schema;
  const stated = choices.filter(({ key }) => key !== null && section[key] !== undefined);
  const keys = choices.map(({ key }) => key ?? "").join(" or ");
  const [first, second] = stated;
  if (first === undefined) {
    const known = new Set(choices.flatMap(({ schema }) => Object.keys(schema.shape)));
    const meant = choices.find(({ key }) => Object.keys(section).some((word) => nearest(word, known) === key));
    if (meant !== undefined) {
      checkStated(meant.schema, section, report, at);
      return null;
    }
    for (const key of Object.keys(section)) {
      if (!known.has(key)) report.fault(keyAt(section, key), `unknown key '${key}'${didYouMean(key, known)}`);
    }
    report.fault(at, `${name} needs ${keys}: the way to the device`);
    return null;
  }
  if (second !== undefined) {
    report.fault(keyAt(section, second.key ?? ""), `${name} takes ${keys}, not both`);
    return null;
  }
  return first.schema;
}
