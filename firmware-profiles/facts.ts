/**
 * What is known of a device, and what a condition makes of it: names and values are checked once,
 * when the profile is loaded; evaluation is a pure function that can be asked again when a connected
 * device has told its firmware.
 */
import { type Condition, comparisons, type Operator, type Problem } from "./condition.ts";
import { didYouMean, listed } from "./suggest.ts";
import { compareVersions, parseVersion } from "./version.ts";

/** What a name stands for. */
export type NameKind =
  | { readonly kind: "version" }
  | { readonly kind: "model"; readonly values: readonly string[] }
  | { readonly kind: "number" }
  | { readonly kind: "boolean" }
  | { readonly kind: "values"; readonly values: readonly string[] };

export type Names = ReadonlyMap<string, NameKind>;

/** What is known of one device. A version that nobody stated is absent. */
export interface Facts {
  readonly model: string;
  readonly versions: ReadonlyMap<string, string>;
  readonly parameters: ReadonlyMap<string, string | number | boolean>;
}

/** Names that nobody declared, values that can never be, comparisons that mean nothing. */
export function checkCondition(condition: Condition, names: Names): Problem[] {
  return comparisons(condition).flatMap(({ name, operator, literals }) => {
    const known = names.get(name.text);
    if (known === undefined) {
      return [
        {
          column: name.column,
          message: `unknown name '${name.text}'${didYouMean(name.text, names.keys()) || `; known are ${listed(names.keys())}`}`,
        },
      ];
    }
    const needsOrder = operator !== "=" && operator !== "!=" && operator !== "in";
    if (needsOrder && known.kind !== "version" && known.kind !== "number") {
      return [{ column: name.column, message: `'${name.text}' has no order; compare it with =, != or in` }];
    }
    return literals.flatMap(({ text, column }) => {
      const message = literalProblem(known, text);
      return message === null ? [] : [{ column, message }];
    });
  });
}

function literalProblem(known: NameKind, text: string): string | null {
  switch (known.kind) {
    case "version":
      return parseVersion(text) === null ? `'${text}' is no version: it has no digit` : null;
    case "number":
      return text.trim() === "" || Number.isNaN(Number(text)) ? `expected a number, not '${text}'` : null;
    case "boolean":
      return text === "true" || text === "false" ? null : `expected true or false, not '${text}'`;
    case "model":
    case "values":
      return known.values.includes(text)
        ? null
        : `'${text}' is not one of ${listed(known.values)}${didYouMean(text, known.values)}`;
  }
}

/** Whether a condition holds, and the versions that it would have needed and nobody stated. */
export interface Verdict {
  readonly holds: boolean;
  readonly unstated: readonly string[];
}

/**
 * Evaluates a checked condition. A version that nobody stated is taken for the newest: above every
 * literal. Where that decides the outcome, the verdict names it.
 */
export function evaluate(condition: Condition, facts: Facts): Verdict {
  const unstated = new Set<string>();
  const holds = truth(condition, facts, (name) => unstated.add(name));
  return { holds, unstated: matters(condition, facts) ? [...unstated] : [] };
}

type Kleene = boolean | null;

/** Three-valued: null where the outcome hangs on what is not stated. */
function matters(condition: Condition, facts: Facts): boolean {
  const value = (part: Condition): Kleene => {
    switch (part.kind) {
      case "and": {
        const terms = new Set(part.terms.map(value));
        return terms.has(false) ? false : terms.has(null) ? null : true;
      }
      case "or": {
        const terms = new Set(part.terms.map(value));
        return terms.has(true) ? true : terms.has(null) ? null : false;
      }
      case "not": {
        const term = value(part.term);
        return term === null ? null : !term;
      }
      default:
        return isStated(part.name.text, facts) ? truth(part, facts, () => undefined) : null;
    }
  };
  return value(condition) === null;
}

const isStated = (name: string, facts: Facts): boolean =>
  name === "model" || facts.parameters.has(name) || facts.versions.has(name);

function truth(condition: Condition, facts: Facts, unstated: (name: string) => void): boolean {
  switch (condition.kind) {
    case "or": {
      // Every term is evaluated, for each may hang on another version that should be named.
      const terms = condition.terms.map((term) => truth(term, facts, unstated));
      return terms.includes(true);
    }
    case "and": {
      const terms = condition.terms.map((term) => truth(term, facts, unstated));
      return !terms.includes(false);
    }
    case "not":
      return !truth(condition.term, facts, unstated);
    case "compare":
      return compare(condition.name.text, condition.operator, condition.literal.text, facts, unstated);
    case "in":
      return condition.literals.some(({ text }) => compare(condition.name.text, "=", text, facts, unstated));
  }
}

function compare(
  name: string,
  operator: Operator,
  literal: string,
  facts: Facts,
  unstated: (name: string) => void,
): boolean {
  if (name === "model") return (facts.model === literal) === (operator === "=");
  const parameter = facts.parameters.get(name);
  if (typeof parameter === "number") return ordered(parameter - Number(literal), operator);
  if (parameter !== undefined) return (String(parameter) === literal) === (operator === "=");
  const stated = parseVersion(facts.versions.get(name) ?? "");
  const wanted = parseVersion(literal);
  if (stated === null) unstated(name);
  return ordered(stated === null || wanted === null ? 1 : compareVersions(stated, wanted), operator);
}

function ordered(order: number, operator: Operator): boolean {
  switch (operator) {
    case "=":
      return order === 0;
    case "!=":
      return order !== 0;
    case "<":
      return order < 0;
    case "<=":
      return order <= 0;
    case ">":
      return order > 0;
    case ">=":
      return order >= 0;
  }
}
