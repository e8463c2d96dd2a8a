/**
 * The language of `when:`, and nothing beyond it: profiles are data, not programs.
 *
 *   condition  = all { "or" all }
 *   all        = single { "and" single }
 *   single     = "not" single | "(" condition ")" | name operator literal | name "in" "(" literal { "," literal } ")"
 *   operator   = "=" | "!=" | "<" | "<=" | ">" | ">="
 *   name       = a version component (firmware, firmware.main), "model", or a parameter of the profile
 *   literal    = "quoted", 'quoted' or bare: 2.6  1.03~1  V112  3P3W
 *
 *   firmware >= 2.6 and model in ("GEN24", "Symo") or not (wiring = 3P3W)
 */
export type Operator = "=" | "!=" | "<" | "<=" | ">" | ">=";

/** A word of the condition; `column` from 0 in its text. */
export interface Word {
  readonly text: string;
  readonly column: number;
}

export type Condition =
  | { readonly kind: "or" | "and"; readonly terms: readonly Condition[] }
  | { readonly kind: "not"; readonly term: Condition }
  | { readonly kind: "compare"; readonly name: Word; readonly operator: Operator; readonly literal: Word }
  | { readonly kind: "in"; readonly name: Word; readonly literals: readonly Word[] };

/** What is wrong, and where in the text (from 0). */
export interface Problem {
  readonly column: number;
  readonly message: string;
}

export type ParsedCondition = { readonly condition: Condition } | { readonly problem: Problem };

interface Token extends Word {
  readonly kind: "word" | "quoted" | "sign" | "end";
}

const KEYWORDS: ReadonlySet<string> = new Set(["and", "or", "not", "in"]);
const OPERATORS: ReadonlySet<string> = new Set(["=", "!=", "<", "<=", ">", ">="]);
const NAME = /^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$/;
/** Beyond it nobody reads a condition any more; it also bounds the recursion. */
const LENGTH_MAX = 1000;

export function parseCondition(text: string): ParsedCondition {
  if (text.length > LENGTH_MAX)
    return { problem: { column: LENGTH_MAX, message: `longer than ${LENGTH_MAX} characters` } };
  try {
    const parser = new Parser(tokenize(text));
    return { condition: parser.whole() };
  } catch (error) {
    if (error instanceof Unreadable) return { problem: error.problem };
    throw error;
  }
}

class Unreadable extends Error {
  readonly problem: Problem;
  constructor(column: number, message: string) {
    super(message);
    this.problem = { column, message };
  }
}

function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  const pattern =
    /\s*(?:(?<quoted>"[^"]*"|'[^']*')|(?<sign>!=|<=|>=|==|&&|\|\||[=<>(),!])|(?<word>[^\s"'=<>(),!&|]+)|(?<bad>\S))/gy;
  for (;;) {
    const match = pattern.exec(text);
    if (match === null) break;
    const { quoted, sign, word, bad } = match.groups ?? {};
    const found = quoted ?? sign ?? word ?? bad ?? "";
    const column = match.index + match[0].length - found.length;
    if (bad !== undefined)
      throw new Unreadable(
        column,
        bad === '"' || bad === "'" ? "a quote is opened and never closed" : `unexpected '${bad}'`,
      );
    if (sign === "==") throw new Unreadable(column, "write = for 'equal'");
    if (sign === "&&") throw new Unreadable(column, "write and for &&");
    if (sign === "||") throw new Unreadable(column, "write or for ||");
    if (sign === "!") throw new Unreadable(column, "write not for !");
    if (quoted !== undefined) tokens.push({ kind: "quoted", text: quoted.slice(1, -1), column });
    else tokens.push({ kind: sign === undefined ? "word" : "sign", text: found, column });
  }
  tokens.push({ kind: "end", text: "", column: text.trimEnd().length });
  return tokens;
}

class Parser {
  readonly #tokens: readonly Token[];
  #next = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  whole(): Condition {
    const condition = this.#any();
    const rest = this.#peek();
    if (rest.kind !== "end") throw new Unreadable(rest.column, `expected and, or, or the end, not '${rest.text}'`);
    return condition;
  }

  #any(): Condition {
    return this.#joined("or", () => this.#joined("and", () => this.#single()));
  }

  #joined(kind: "or" | "and", part: () => Condition): Condition {
    const terms = [part()];
    while (this.#isWord(kind)) {
      this.#next += 1;
      terms.push(part());
    }
    return terms.length === 1 && terms[0] !== undefined ? terms[0] : { kind, terms };
  }

  #single(): Condition {
    if (this.#isWord("not")) {
      this.#next += 1;
      return { kind: "not", term: this.#single() };
    }
    if (this.#isSign("(")) {
      this.#next += 1;
      const condition = this.#any();
      this.#sign(")");
      return condition;
    }
    return this.#comparison();
  }

  #comparison(): Condition {
    const name = this.#take();
    if (name.kind !== "word" || KEYWORDS.has(name.text) || !NAME.test(name.text)) {
      throw new Unreadable(name.column, `expected a name such as firmware or model, ${shown(name)}`);
    }
    const word = { text: name.text, column: name.column };
    if (this.#isWord("in")) {
      this.#next += 1;
      this.#sign("(");
      const literals = [this.#literal()];
      while (this.#isSign(",")) {
        this.#next += 1;
        literals.push(this.#literal());
      }
      this.#sign(")");
      return { kind: "in", name: word, literals };
    }
    const operator = this.#take();
    if (operator.kind !== "sign" || !isOperator(operator.text)) {
      throw new Unreadable(
        operator.column,
        `expected one of = != < <= > >= in after '${name.text}', ${shown(operator)}`,
      );
    }
    return { kind: "compare", name: word, operator: operator.text, literal: this.#literal() };
  }

  #literal(): Word {
    const token = this.#take();
    if (token.kind === "quoted" || (token.kind === "word" && !KEYWORDS.has(token.text))) {
      return { text: token.text, column: token.column };
    }
    throw new Unreadable(token.column, `expected a value, ${shown(token)}`);
  }

  #sign(sign: string): void {
    const token = this.#take();
    if (token.kind !== "sign" || token.text !== sign)
      throw new Unreadable(token.column, `expected '${sign}', ${shown(token)}`);
  }

  #isWord = (text: string): boolean => this.#peek().kind === "word" && this.#peek().text === text;
  #isSign = (text: string): boolean => this.#peek().kind === "sign" && this.#peek().text === text;

  #peek(): Token {
    return this.#tokens[Math.min(this.#next, this.#tokens.length - 1)] ?? { kind: "end", text: "", column: 0 };
  }

  #take(): Token {
    const token = this.#peek();
    this.#next += 1;
    return token;
  }
}

const isOperator = (text: string): text is Operator => OPERATORS.has(text);
const shown = (token: Token): string => (token.kind === "end" ? "but it ends here" : `not '${token.text}'`);

/** The text of a condition; parsing it gives the same condition again (columns apart). */
export function printCondition(condition: Condition): string {
  switch (condition.kind) {
    case "or":
    case "and":
      return condition.terms
        .map((term) =>
          isJoined(term) && binds(term) <= binds(condition) ? `(${printCondition(term)})` : printCondition(term),
        )
        .join(` ${condition.kind} `);
    case "not":
      return isJoined(condition.term)
        ? `not (${printCondition(condition.term)})`
        : `not ${printCondition(condition.term)}`;
    case "compare":
      return `${condition.name.text} ${condition.operator} ${printLiteral(condition.literal.text)}`;
    case "in":
      return `${condition.name.text} in (${condition.literals.map(({ text }) => printLiteral(text)).join(", ")})`;
  }
}

const isJoined = (condition: Condition): boolean => condition.kind === "or" || condition.kind === "and";
const binds = (condition: Condition): number => (condition.kind === "or" ? 0 : 1);

function printLiteral(text: string): string {
  if (/^[^\s"'=<>(),!&|]+$/.test(text) && !KEYWORDS.has(text)) return text;
  return text.includes('"') ? `'${text}'` : `"${text}"`;
}

/** Every comparison of a condition, in the order of its text. */
export function comparisons(
  condition: Condition,
): { readonly name: Word; readonly operator: Operator | "in"; readonly literals: readonly Word[] }[] {
  switch (condition.kind) {
    case "or":
    case "and":
      return condition.terms.flatMap(comparisons);
    case "not":
      return comparisons(condition.term);
    case "compare":
      return [{ name: condition.name, operator: condition.operator, literals: [condition.literal] }];
    case "in":
      return [{ name: condition.name, operator: "in", literals: condition.literals }];
  }
}
