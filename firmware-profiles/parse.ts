/**
 * Data against a schema, told in the words of the person who wrote it: each issue at its place, with
 * what was expected, what stands there, and what was probably meant.
 */
import type { z } from "zod";
import type { At, Report } from "./report.ts";
import { didYouMean, listed } from "./suggest.ts";
import { type Data, isDataMap, keyAt, originOf, valueAt } from "./yaml.ts";

type Issue = z.core.$ZodIssue;
type RawIssue = z.core.$ZodRawIssue;

/** The schema's output, or undefined where `data` does not fit (told to `report`). */
export function parseData<S extends z.ZodType>(schema: S, data: Data, report: Report, at: At): z.output<S> | undefined {
  for (;;) {
    const result = schema.safeParse(data, { error: message });
    if (result.success) return result.data;
    // A reference such as ${env:PORT} is text until the field that it fills wants a number.
    if (!convertSubstituted(data, result.error.issues)) {
      for (const issue of result.error.issues) tell(issue, data, report, at);
      return undefined;
    }
  }
}

/**
 * Tells what is wrong with what stands in `data`, and nothing of what is missing: where the rest of it would
 * come from a profile that cannot be had, or the data is not used because of another fault.
 */
export function checkStated(schema: z.ZodType, data: Data, report: Report, at: At): void {
  const result = schema.safeParse(data, { error: message });
  for (const issue of result.error?.issues ?? []) tell(issue, data, report, at, false);
}

/** True where something was converted, and another attempt is worth it. */
function convertSubstituted(data: Data, issues: readonly Issue[]): boolean {
  let converted = false;
  for (const issue of issues) {
    if (issue.code !== "invalid_type") continue;
    const { container, key } = locate(data, issue.path);
    if (container === null || key === undefined || originOf(container, key)?.substituted !== true) continue;
    const text = read(container, key);
    if (typeof text !== "string") continue;
    const value = typed(text.trim(), issue.expected);
    if (value === undefined) continue;
    if (Array.isArray(container)) container[Number(key)] = value;
    else container[key] = value;
    converted = true;
  }
  return converted;
}

function typed(text: string, expected: string): number | boolean | undefined {
  if ((expected === "number" || expected === "int") && /^-?\d+(\.\d+)?$/.test(text)) return Number(text);
  if (expected === "boolean" && (text === "true" || text === "false")) return text === "true";
  return undefined;
}

/** Tells an issue at the place that its path leads to. */
function tell(issue: Issue, data: Data, report: Report, at: At, missing = true): void {
  const { container, key } = locate(data, issue.path);
  const field = issue.path.length === 0 ? "" : `${String(issue.path.at(-1))}: `;
  if (issue.code === "unrecognized_keys") {
    const holder = resolvePath(data, issue.path);
    const messages = issue.message.split("\n");
    issue.keys.forEach((name, index) => {
      report.fault(isObject(holder) ? keyAt(holder, name) : at, messages[index] ?? `unknown key '${name}'`);
    });
    return;
  }
  if (issue.code === "invalid_union") {
    const branch = bestBranch(issue.errors, resolvePath(data, issue.path));
    if (branch !== null) {
      for (const inner of branch) tell({ ...inner, path: [...issue.path, ...inner.path] }, data, report, at, missing);
      return;
    }
  }
  if (issue.code === "invalid_key" && container !== null && key !== undefined) {
    const why = issue.issues[0]?.message ?? issue.message;
    report.fault(keyAt(container, key), `'${key}': ${why}`);
    return;
  }
  if (container === null || key === undefined) {
    report.fault(at, issue.message);
    return;
  }
  if (originOf(container, key)?.unresolved === true) return;
  const value = read(container, key);
  if (value === undefined) {
    if (!missing) return;
    // What is missing has no place: the thing that should have it does.
    report.fault(
      placeOfContainer(data, issue.path, at),
      `'${key}' is missing${issue.message === "" ? "" : `: ${issue.message}`}`,
    );
    return;
  }
  const shown = issue.code === "invalid_format" && typeof value === "string" ? `, not ${quote(value)}` : "";
  report.fault(valueAt(container, key), `${/^\d+:/.test(field) ? "" : field}${issue.message}${shown}`);
}

/** The key that leads to the thing which lacks something: `modbus:`, or the first line of a list's item. */
function placeOfContainer(data: Data, path: readonly PropertyKey[], at: At): At {
  const { container, key } = locate(data, path.slice(0, -1));
  if (container === null || key === undefined) return at;
  return Array.isArray(container) ? valueAt(container, key) : keyAt(container, key);
}

/** The branch of a union that was meant: of the right kind, with the fewest faults. Null where none is. */
function bestBranch(branches: readonly (readonly Issue[])[], value: unknown): readonly Issue[] | null {
  const fitting = branches.filter((issues) => !issues.some(isWrongKind));
  if (fitting.length === 0 || !isObject(value)) return fitting.length === 1 ? (fitting[0] ?? null) : null;
  return fitting.reduce((best, issues) => (issues.length < best.length ? issues : best));
}

/** The value as a whole is of another kind than the branch takes. */
function isWrongKind(issue: Issue): boolean {
  if (issue.path.length > 0) return false;
  if (issue.code === "invalid_union") return issue.errors.every((issues) => issues.some(isWrongKind));
  return issue.code === "invalid_type" || issue.code === "invalid_value";
}

/** The message of an issue, made while its schema and input are at hand. */
function message(issue: RawIssue): string | undefined {
  const { input } = issue;
  switch (issue.code) {
    case "unrecognized_keys": {
      const known = knownKeys(issue.inst);
      return issue.keys.map((key) => unknownKey(key, known)).join("\n");
    }
    case "invalid_type":
      if (input === undefined) return descriptionOf(issue.inst);
      return `expected ${kindName(issue.expected)}, ${received(input, issue.expected)}`;
    case "invalid_value": {
      const values = issue.values.map(String);
      if (input === undefined) return `one of ${listed(values, 30)}`;
      const hint = typeof input === "string" ? didYouMean(input, values) : "";
      return `expected ${values.length === 1 ? "" : "one of "}${listed(values, 30)}, ${received(input)}${hint}`;
    }
    case "too_big":
      return `${sized(issue.origin)} ${issue.inclusive === false ? "below" : "at most"} ${issue.maximum}${measured(input)}`;
    case "too_small":
      if (issue.minimum === 1 && issue.origin === "string") return "must not be empty";
      return `${sized(issue.origin)} ${issue.inclusive === false ? "above" : "at least"} ${issue.minimum}${measured(input)}`;
    case "invalid_union":
      if (input === undefined) return descriptionOf(issue.inst);
      return `${unionName(issue.inst)}, ${received(input)}`;
    default:
      return undefined;
  }
}

function unknownKey(key: string, known: readonly string[]): string {
  // { scale: 0,1 } is YAML for { scale: 0, 1: null }.
  if (/^\d+$/.test(key)) return `unknown key '${key}'; was a decimal comma meant? Write a point: 0.${key}`;
  return `unknown key '${key}'${didYouMean(key, known) || (known.length > 0 ? `; known are ${listed(known)}` : "")}`;
}

const sized = (origin: string): string =>
  origin === "string" ? "its length must be" : origin === "array" ? "the number of its items must be" : "must be";

function measured(input: unknown): string {
  if (typeof input === "number") return `, is ${input}`;
  return typeof input === "string" || Array.isArray(input) ? `, is ${input.length}` : "";
}

function kindName(expected: string): string {
  const names: Record<string, string> = {
    string: "a text",
    number: "a number",
    int: "a whole number",
    boolean: "true or false",
    object: "a map (key: value)",
    record: "a map (key: value)",
    array: "a list",
    tuple: "a list",
  };
  return names[expected] ?? expected;
}

function received(input: unknown, expected = ""): string {
  if (input === null) return "nothing stands here";
  if (Array.isArray(input)) return "not a list";
  if (isDataMap(input)) return "not a map";
  if (typeof input === "string")
    return `not ${quote(input)}${(expected === "number" || expected === "int") && input.trim() !== "" ? writtenAs(input) : ""}`;
  return `not ${JSON.stringify(input)}${expected === "string" ? " (put it in quotes)" : ""}`;
}

/** What a text in the place of a number was to be. */
function writtenAs(text: string): string {
  if (Number.isFinite(Number(text))) return " (take the quotes away)";
  return /^-?\d+,\d+$/.test(text) ? ` (write ${text.replace(",", ".")})` : "";
}

const quote = (text: string): string => `'${text.length > 60 ? `${text.slice(0, 57)}...` : text}'`;

/** What a union takes, from its members' kinds. */
function unionName(schema: unknown): string {
  const options = defOf(schema)?.options;
  if (!Array.isArray(options)) return "this fits nothing that may stand here";
  return `expected ${[...new Set(options.map((option) => kindOf(option)))].join(" or ")}`;
}

function kindOf(schema: unknown): string {
  const def = defOf(schema);
  if (def === undefined) return "something else";
  if (def.type === "literal" && Array.isArray(def.values)) return def.values.map(String).join(" or ");
  if (def.type === "union" && Array.isArray(def.options))
    return def.options.map((option) => kindOf(option)).join(" or ");
  if (def.type === "pipe") return kindOf(def.in);
  return kindName(def.type);
}

interface Definition {
  readonly type: string;
  readonly options?: unknown;
  readonly values?: unknown;
  readonly in?: unknown;
  readonly shape?: unknown;
}

/** zod keeps what a schema was made of in `def`; it is public, but typed by kind. */
function defOf(schema: unknown): Definition | undefined {
  return isObject(schema) && "def" in schema ? (schema.def as Definition) : undefined;
}

function knownKeys(schema: unknown): string[] {
  const shape = defOf(schema)?.shape;
  return isObject(shape) ? Object.keys(shape) : [];
}

function descriptionOf(schema: unknown): string {
  if (!isObject(schema) || !("description" in schema) || typeof schema.description !== "string") return "";
  return schema.description.replace(/\.$/, "");
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

function read(container: object, key: string): unknown {
  return Array.isArray(container) ? container[Number(key)] : isDataMap(container) ? container[key] : undefined;
}

function resolvePath(data: Data, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((value, key) => (isObject(value) ? read(value, String(key)) : undefined), data);
}

/** The container of the last step of `path`, and that step. */
function locate(
  data: Data,
  path: readonly PropertyKey[],
): { container: Data[] | { [key: string]: Data } | null; key?: string } {
  const last = path.at(-1);
  const container = resolvePath(data, path.slice(0, -1));
  if (last === undefined || (!Array.isArray(container) && !isDataMap(container))) return { container: null };
  return { container, key: String(last) };
}
