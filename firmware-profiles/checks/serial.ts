/** What must hold for points and messages of serial line protocols, beyond their schema. */
import type { CheckedPoint } from "../points.ts";
import type { Report } from "../report.ts";
import type { SerialBehaviour } from "../schema.ts";
import { didYouMean, listed } from "../suggest.ts";
import { type DataMap, isDataMap, keyAt, valueAt } from "../yaml.ts";

type Framing = NonNullable<SerialBehaviour["framing"]>;

export function checkSerial(
  points: readonly CheckedPoint<"serial">[],
  behaviour: SerialBehaviour,
  data: DataMap,
  report: Report,
): void {
  const unframed = behaviour.framing === undefined ? null : framingProblem(behaviour.framing);
  if (unframed !== null) report.fault(valueAt(data, "framing"), `framing: ${unframed}`);
  const groups = new Map<string, readonly string[]>();
  const list = data["messages"];
  (behaviour.messages ?? []).forEach((message, index) => {
    const item = Array.isArray(list) ? list[index] : undefined;
    const at = isDataMap(item) ? item : data;
    if (groups.has(message.name)) report.fault(valueAt(at, "name"), `message '${message.name}' stands here twice`);
    else groups.set(message.name, namedGroups(message.pattern));
    const problem = patternProblem(message.pattern);
    if (problem !== null) report.fault(valueAt(at, "pattern"), `pattern: ${problem}`);
    const errors = isDataMap(at["errors"]) ? at["errors"] : at;
    for (const pattern of Object.keys(message.errors ?? {})) {
      const wrong = patternProblem(pattern);
      if (wrong !== null) report.fault(keyAt(errors, pattern), `errors: ${wrong}`);
    }
    const known = namedGroups(message.pattern);
    for (const [, group = ""] of (message.example ?? "").matchAll(EXAMPLE_GROUP)) {
      if (known.includes(group)) continue;
      report.fault(valueAt(at, "example"), `example: the pattern has no group '${group}'${didYouMean(group, known)}`);
    }
  });
  for (const { point, data: fields } of points) {
    const at = valueAt(fields, "address");
    const [name = "", group = ""] = point.address.split(".");
    const known = groups.get(name);
    if (known === undefined) {
      report.fault(
        at,
        `there is no message '${name}'${didYouMean(name, groups.keys()) || (groups.size > 0 ? `; there are ${listed(groups.keys())}` : ": messages are missing")}`,
      );
    } else if (!known.includes(group)) {
      report.fault(
        at,
        `the pattern of message '${name}' has no group '${group}'${didYouMean(group, known) || (known.length > 0 ? `; it has ${listed(known)}` : "; write (?<name>...)")}`,
      );
    }
  }
}

/** A place for a value in an example: `{group}`, `{group:10}`. */
const EXAMPLE_GROUP = /\{([A-Za-z_]\w*)(?::\d+)?\}/g;

/** Why no frame could ever come of it; null where one can. */
export function framingProblem({ end, length, gap, max, checksum }: Framing): string | null {
  if (end === undefined && length === undefined && gap === undefined) {
    return "nothing ends a frame: give end, length or gap";
  }
  if (length === undefined) return null;
  const sum_bytes = checksum === undefined ? 0 : checksum.kind.startsWith("crc16") ? 2 : 1;
  const rest = (end?.length ?? 0) + (checksum?.coding === "hex" ? 2 * sum_bytes : sum_bytes);
  if (length <= rest) return `length ${length} leaves nothing beside the end and the checksum (${rest} bytes)`;
  return length > max ? `length ${length} is above max ${max}` : null;
}

/** Names of the groups `(?<name>...)` of a pattern. */
export function namedGroups(pattern: string): string[] {
  return [...pattern.matchAll(/\(\?<([A-Za-z_$][\w$]*)>/g)].map(([, name = ""]) => name);
}

/** Why a pattern must not be run: it is none, or an unlucky frame could keep it busy for minutes. */
export function patternProblem(pattern: string): string | null {
  try {
    RegExp(pattern);
  } catch (error) {
    return error instanceof Error
      ? error.message.replace(/^Invalid regular expression: /, "this is no regular expression: ")
      : "this is no regular expression";
  }
  return repeatsRepetition(pattern)
    ? "a repetition inside a repetition, as in (a+)+, can take for ever on a wrong frame; write it without"
    : null;
}

/** Whether a group that holds an open-ended repetition is itself repeated without end. */
function repeatsRepetition(pattern: string): boolean {
  // Escapes and classes hold no repetition; what is left is groups and quantifiers.
  const bare = pattern.replace(/\\./gs, "x").replace(/\[[^\]]*\]/g, "x");
  const open: boolean[] = [];
  const quantifier = /^(?:[*+]|\{\d+,\})/;
  for (let at = 0; at < bare.length; at += 1) {
    if (bare[at] === "(") open.push(false);
    const endless = quantifier.test(bare.slice(at + 1));
    if (bare[at] === ")") {
      const inner = open.pop() ?? false;
      if (inner && endless) return true;
      if (inner && open.length > 0) open[open.length - 1] = true;
    }
    if (endless && open.length > 0 && bare[at] !== "(") open[open.length - 1] = true;
  }
  return false;
}
