/** Which of an adapter's option schemas a section is written for. */
import type { AdapterEntry } from "#adapters/registry.ts";
import type { At, Report } from "#profiles/report.ts";
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
    report.fault(at, `${name} needs ${keys}: the way to the device`);
    return null;
  }
  if (second !== undefined) {
    report.fault(keyAt(section, second.key ?? ""), `${name} takes ${keys}, not both`);
    return null;
  }
  return first.schema;
}
