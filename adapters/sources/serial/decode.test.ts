import { makeDevice } from "#test/contract/device.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createFrame } from "../../frame.ts";
import { classOf, reasonOf } from "../../quality.ts";
import { compileWriter, parseNumber } from "./decode.ts";
import { compileConvert } from "./mass.ts";

type Input = Parameters<typeof makeDevice<"serial", object>>[0]["points"][number];

/** What a group's text becomes: its value, or why it has none. */
function reader(input: Partial<Input>, hasUnit = false) {
  const device = makeDevice({
    protocol: "serial",
    id: "d",
    options: {},
    points: [{ name: "p", address: "m.g", ...input }],
  });
  const [point, series] = [device.points[0], device.descriptor.series[0]];
  assert.ok(point && series);
  const write = compileWriter(point, series, hasUnit);
  return (text: string | undefined, unit?: string) => {
    const frame = createFrame(Uint32Array.of(0));
    frame.texts = [null];
    write(frame, 0, text, unit);
    const quality = frame.quality[0] ?? 0;
    const value = series.value === "text" ? frame.texts[0] : series.value === "int" ? frame.ints[0] : frame.doubles[0];
    if (classOf(quality) === "bad") return reasonOf(quality);
    return classOf(quality) === "good" ? value : [reasonOf(quality), value];
  };
}

describe("numbers in text", () => {
  test("are read as displays write them", () => {
    for (const [text, value] of [
      ["12.5", 12.5],
      ["   12.5", 12.5],
      ["-  12.5", -12.5],
      ["  +3 ", 3],
      [".5", 0.5],
      ["7.", 7],
      ["1.5E-3", 0.0015],
      ["007", 7],
    ] as const) {
      assert.equal(parseNumber(text), value, JSON.stringify(text));
    }
    for (const text of ["", " ", "-", "1 2", "12,5", "0x10", "1.2.3", "Infinity", "NaN", "--1", "1e"]) {
      assert.ok(Number.isNaN(parseNumber(text)), JSON.stringify(text));
    }
  });

  test("a frame as long as a frame may be is read or refused at once", () => {
    const long = 60_000;
    const start_ms = performance.now();
    for (const text of ["1", " ", "- ", "1.", ".0"].map((part) => part.repeat(long))) {
      assert.ok(Number.isNaN(parseNumber(`${text}x`)));
      assert.ok(Number.isNaN(parseNumber(`+${text}x`)));
    }
    assert.ok(performance.now() - start_ms < 500, `${performance.now() - start_ms} ms`);
  });

  test("property: any number comes back", () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => parseNumber(String(value)) === value),
    );
  });
});

describe("a group's text", () => {
  test("is scaled, kept in range, and told from sentinels", () => {
    const read = reader({
      scale: 0.1,
      offset: 5,
      range: [0, 100],
      sentinels: [999, { value: -1, reason: "sensor_open" }],
    });
    assert.equal(read("100"), 15);
    assert.equal(read("951"), "out_of_range");
    assert.equal(read("999"), "sentinel");
    assert.equal(read(" -1"), "sensor_open");
    assert.equal(read("---"), "nan");
    assert.equal(read(undefined), "absent");
  });

  test("tenths stay tenths, also below zero", () => {
    assert.equal(reader({ scale: 0.1 })("2301"), 230.1);
    assert.equal(reader({ scale: -0.1 })("2301"), -230.1);
    assert.equal(reader({ scale: 0.25, offset: 1 })("3"), 1.75);
  });

  test("stays exact as an integer, up to 64 bits", () => {
    const read = reader({ type: "i64", kind: "counter" });
    assert.equal(read("42"), 42n);
    assert.equal(read("-9007199254740993"), -9_007_199_254_740_993n);
    assert.equal(read("9223372036854775807"), 9_223_372_036_854_775_807n);
    assert.equal(read("9223372036854775808"), "out_of_range");
    assert.equal(read("1.5"), "nan");
    assert.equal(reader({ type: "i64", range: [0, 10] })("9007199254740993"), "out_of_range");
  });

  test("becomes a code by its map, and a code has a name", () => {
    const read = reader({ kind: "state", map: { S: 1, D: 0, E: 9 }, states: { 0: "dynamic", 1: "stable" } });
    assert.equal(read("S"), 1n);
    assert.equal(read(" D "), 0n);
    assert.equal(read("1"), 1n, "digits are what they say");
    assert.equal(read("X"), "unknown_token");
    assert.deepEqual(read("E"), ["unknown_state", 9n]);
  });

  test("is kept as it is where a text is wanted", () => {
    const read = reader({ kind: "text" });
    assert.equal(read('  two "words" '), '  two "words" ');
    assert.equal(read(""), "");
    assert.equal(read(undefined), "absent");
  });

  test("is converted from the unit beside it", () => {
    const grams = reader({ unit: "g" }, true);
    assert.equal(grams("1.5", "kg"), 1500);
    assert.equal(grams("1.5", " g "), 1.5);
    assert.equal(grams("1", "oz"), 28.349523125);
    assert.equal(grams("1", "PCS"), "unit_unknown");
    assert.equal(grams("1", undefined), "unit_unknown");
    assert.equal(reader({ unit: "kg" }, true)("125.67", "g"), 0.12567);
    assert.equal(reader({ unit: "[lb_av]" }, true)("2", "lb"), 2);
    assert.equal(reader({ unit: "bar" }, true)("6.1", "bar"), 6.1, "a unit that the profile promises needs no table");
    assert.equal(reader({ unit: "bar" }, true)("88", "psi"), "unit_unknown");
    assert.equal(reader({ unit: "1" }, true)("3", "g"), 3, "a count has no unit");
    assert.equal(reader({ unit: "g" })("3"), 3, "the pattern has no unit");
  });

  test("property: there and back again changes nothing but the last digit", () => {
    const units = fc.constantFrom("mg", "g", "kg", "t", "lb", "oz", "ct");
    fc.assert(
      fc.property(units, units, fc.double({ min: 0.001, max: 1e6, noNaN: true }), (from, to, value) => {
        const there = compileConvert(to)(value, from);
        assert.ok(there !== null);
        const back = compileConvert(from)(there, to);
        assert.ok(back !== null && Math.abs(back - value) <= 4 * Number.EPSILON * value);
      }),
    );
  });
});
