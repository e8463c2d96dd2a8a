import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type Condition, parseCondition, printCondition, type Word } from "./condition.ts";
import { checkCondition, evaluate, type Facts, type Names } from "./facts.ts";

function parse(text: string): Condition {
  const parsed = parseCondition(text);
  assert.ok("condition" in parsed, `${text}: ${JSON.stringify(parsed)}`);
  return parsed.condition;
}

const facts = (
  versions: Record<string, string>,
  parameters: Record<string, string | number | boolean> = {},
  model = "A",
): Facts => ({
  model,
  versions: new Map(Object.entries(versions)),
  parameters: new Map(Object.entries(parameters)),
});
const holds = (text: string, given: Facts): boolean => evaluate(parse(text), given).holds;

describe("conditions", () => {
  test("read names, operators, lists and parentheses", () => {
    const word = (text: string, column: number): Word => ({ text, column });
    assert.deepEqual(parse('firmware >= 2.6 and model in ("GEN24", Symo) or not (wiring = 3P3W)'), {
      kind: "or",
      terms: [
        {
          kind: "and",
          terms: [
            { kind: "compare", name: word("firmware", 0), operator: ">=", literal: word("2.6", 12) },
            { kind: "in", name: word("model", 20), literals: [word("GEN24", 30), word("Symo", 39)] },
          ],
        },
        { kind: "not", term: { kind: "compare", name: word("wiring", 53), operator: "=", literal: word("3P3W", 62) } },
      ],
    });
  });

  test("bind not before and before or", () => {
    assert.equal(holds("a = 1 or b = 1 and c = 1", facts({}, { a: 1, b: 0, c: 0 })), true);
    assert.equal(holds("(a = 1 or b = 1) and c = 1", facts({}, { a: 1, b: 0, c: 0 })), false);
    assert.equal(holds("not a = 1 and b = 1", facts({}, { a: 0, b: 0 })), false);
  });

  for (const [text, column, message] of [
    ["", 0, /expected a name such as firmware or model, but it ends here/],
    ["firmware", 8, /expected one of = != < <= > >= in after 'firmware', but it ends here/],
    ["firmware == 2", 9, /write = for/],
    ["firmware >= 2 && model = A", 14, /write and/],
    ["firmware >= 2 || model = A", 14, /write or/],
    ["!(firmware >= 2)", 0, /write not/],
    ["firmware >= 2 model = A", 14, /expected and, or, or the end, not 'model'/],
    ["(firmware >= 2", 14, /expected '\)', but it ends here/],
    ["firmware in 2", 12, /expected '\(', not '2'/],
    ["firmware in ()", 13, /expected a value, not '\)'/],
    ["firmware >= and", 12, /expected a value, not 'and'/],
    ['model = "A', 8, /a quote is opened/],
    ["2.6 <= firmware", 0, /expected a name/],
    ["firmware >= 2 and", 17, /expected a name .*it ends here/],
  ] as const) {
    test(`tell where '${text}' goes wrong`, () => {
      const parsed = parseCondition(text);
      assert.ok("problem" in parsed);
      assert.match(parsed.problem.message, message);
      assert.equal(parsed.problem.column, column);
    });
  }

  test("are parsed back from what they print", () => {
    const names = fc.constantFrom("firmware", "firmware.main", "model", "wiring");
    const literal = fc.oneof(
      fc.constantFrom("2.6", "1.03~1", "3P3W", "V112", "and", "in", "GEN 24", "it's", "a,b", ""),
      fc.stringMatching(/^[ -!#-~]{0,6}$/),
    );
    const word = (text: fc.Arbitrary<string>): fc.Arbitrary<Word> => text.map((each) => ({ text: each, column: 0 }));
    const operator = fc.constantFrom("=", "!=", "<", "<=", ">", ">=");
    const { condition } = fc.letrec<{ condition: Condition }>((tie) => ({
      condition: fc.oneof(
        { maxDepth: 4 },
        fc.record({ kind: fc.constant("compare"), name: word(names), operator, literal: word(literal) }),
        fc.record({
          kind: fc.constant("in"),
          name: word(names),
          literals: fc.array(word(literal), { minLength: 1, maxLength: 3 }),
        }),
        fc.record({ kind: fc.constant("not"), term: tie("condition") }),
        fc.record({
          kind: fc.constantFrom("and", "or"),
          terms: fc.array(tie("condition"), { minLength: 2, maxLength: 3 }),
        }),
      ),
    }));
    const bare = (value: unknown): unknown =>
      JSON.parse(JSON.stringify(value, (key, each: unknown) => (key === "column" ? 0 : each)));
    fc.assert(
      fc.property(condition, (each) => {
        const text = printCondition(each);
        fc.pre(text.length <= 1000);
        assert.deepEqual(bare(parse(text)), bare(each), text);
      }),
      { numRuns: 500 },
    );
  });

  test("are bounded in length, and never throw", () => {
    assert.ok("problem" in parseCondition("(".repeat(2000)));
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => void parseCondition(text)),
      { numRuns: 300 },
    );
  });
});

describe("names and values of a condition", () => {
  const names: Names = new Map([
    ["firmware", { kind: "version" }],
    ["model", { kind: "model", values: ["GEN24", "Symo"] }],
    ["decimals", { kind: "number" }],
    ["isolated", { kind: "boolean" }],
    ["wiring", { kind: "values", values: ["3P3W", "3P4W"] }],
  ]);
  for (const [text, column, message] of [
    ["firmwre >= 2", 0, /unknown name 'firmwre'; did you mean 'firmware'\?/],
    ["firmware >= 2 and modl = GEN24", 18, /did you mean 'model'/],
    ["firmware >= newest", 12, /'newest' is no version/],
    ["model = GEN42", 8, /'GEN42' is not one of GEN24, Symo; did you mean 'GEN24'\?/],
    ["model > GEN24", 0, /'model' has no order/],
    ["wiring in (3P3W, 3P5W)", 17, /'3P5W' is not one of/],
    ["decimals = two", 11, /expected a number/],
    ["isolated = yes", 11, /expected true or false/],
  ] as const) {
    test(`are checked: ${text}`, () => {
      const problems = checkCondition(parse(text), names);
      assert.equal(problems.length, 1);
      assert.match(problems[0]?.message ?? "", message);
      assert.equal(problems[0]?.column, column);
    });
  }

  test("may be right", () => {
    assert.deepEqual(
      checkCondition(
        parse("firmware >= 2 and model = Symo and decimals < 2 and isolated = true and wiring != 3P3W"),
        names,
      ),
      [],
    );
  });
});

describe("evaluation", () => {
  test("compares versions, models and parameters each in their own way", () => {
    assert.equal(holds("firmware >= 1.10", facts({ firmware: "1.9" })), false);
    assert.equal(holds("firmware < 2.6.0", facts({ firmware: "2.6" })), false);
    assert.equal(holds("firmware < 1.03", facts({ firmware: "1.03~1" })), true);
    assert.equal(holds("firmware in (2.5, 2.6)", facts({ firmware: "2.6.0" })), true);
    assert.equal(holds("model != B", facts({}, {}, "A")), true);
    assert.equal(holds("decimals = 01", facts({}, { decimals: 1 })), true);
    assert.equal(holds("isolated = true", facts({}, { isolated: true })), true);
  });

  test("takes an unstated version for the newest, and says that it mattered", () => {
    assert.deepEqual(evaluate(parse("firmware >= 2.6"), facts({})), { holds: true, unstated: ["firmware"] });
    assert.deepEqual(evaluate(parse("firmware < 2.6"), facts({})), { holds: false, unstated: ["firmware"] });
    assert.deepEqual(evaluate(parse("not firmware < 2.6"), facts({})), { holds: true, unstated: ["firmware"] });
    assert.deepEqual(evaluate(parse("firmware < 2.6 and firmware.main > 1"), facts({})), {
      holds: false,
      unstated: ["firmware", "firmware.main"],
    });
  });

  test("is silent about a version that could not change the outcome", () => {
    assert.deepEqual(evaluate(parse("model = B and firmware >= 2.6"), facts({}, {}, "A")), {
      holds: false,
      unstated: [],
    });
    assert.deepEqual(evaluate(parse("model = A or firmware >= 2.6"), facts({}, {}, "A")), {
      holds: true,
      unstated: [],
    });
  });
});
