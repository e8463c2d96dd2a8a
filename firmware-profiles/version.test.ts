import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { compareVersions, parseVersion, type Version } from "./version.ts";

const version = (text: string): Version => {
  const parsed = parseVersion(text);
  assert.ok(parsed, text);
  return parsed;
};
const compare = (a: string, b: string): number => Math.sign(compareVersions(version(a), version(b)));

describe("versions", () => {
  test("order as vendors mean it", () => {
    const ascending = [
      "0.9",
      "1.03~1",
      "1.03~2",
      "1.03",
      "1.9",
      "1.10",
      "1.34.6-1",
      "1.34.6-2",
      "1.34.7",
      "2.6",
      "2.6.1",
      "95.03",
      "V112",
      "1098",
    ];
    for (let older = 0; older < ascending.length; older += 1) {
      for (let newer = older + 1; newer < ascending.length; newer += 1) {
        assert.equal(
          compare(ascending[older] ?? "", ascending[newer] ?? ""),
          -1,
          `${ascending[older]} < ${ascending[newer]}`,
        );
      }
    }
  });

  test("are equal where only the writing differs", () => {
    for (const [a, b] of [
      ["2.6", "2.6.0"],
      ["V112", "112"],
      ["v1.2", "1.2"],
      ["1.03", "1.3"],
      ["1.2B", "1.2b"],
      ["Version 2.1", "2.1"],
      ["1.03~1", "1.03.0~1"],
    ] as const) {
      assert.equal(compare(a, b), 0, `${a} = ${b}`);
    }
  });

  test("put letters between a release and the next number", () => {
    assert.equal(compare("1.2", "1.2b"), -1);
    assert.equal(compare("1.2b", "1.2.1"), -1);
    assert.equal(compare("1.2a", "1.2b"), -1);
  });

  test("of more digits than a number holds keep their order", () => {
    assert.equal(compare("99999999999999999998", "99999999999999999999"), -1);
  });

  test("need a digit", () => {
    assert.equal(parseVersion("unknown"), null);
    assert.equal(parseVersion(""), null);
  });

  test("are totally ordered", () => {
    const text = fc.stringMatching(/^[v~.\-0-2ab]{0,8}[0-9][~.\-0-2ab]{0,8}$/);
    fc.assert(
      fc.property(text, text, text, (a, b, c) => {
        assert.equal(compare(a, a), 0);
        assert.equal(compare(a, b) + compare(b, a), 0);
        if (compare(a, b) <= 0 && compare(b, c) <= 0) assert.ok(compare(a, c) <= 0, `${a} <= ${b} <= ${c}`);
        if (compare(a, b) === 0) assert.equal(compare(a, c), compare(b, c));
      }),
      { numRuns: 1000 },
    );
  });
});
