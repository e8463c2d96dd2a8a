import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { makeDevice } from "#test/contract/device.ts";
import fc from "fast-check";
import { valueOf } from "./values.ts";

const NOW_US = 1_795_000_000_000_000;
const time = fc.integer({ min: 0, max: 400 * 86_400 }).map((s) => NOW_US + s * 1e6);

type Input = Parameters<typeof makeDevice<"modbus", object>>[0]["points"][number];

function values(input: Partial<Input>, id = "meter"): (time_us: number) => number | string {
  const device = makeDevice({ protocol: "modbus", id, options: {}, points: [{ name: "p", address: 0, ...input }] });
  const [point, series] = [device.points[0], device.descriptor.series[0]];
  assert.ok(point && series);
  return (time_us) => valueOf(point, series, id, time_us);
}
const numbers = (input: Partial<Input>, id?: string) => {
  const value = values(input, id);
  return (time_us: number) => Number(value(time_us));
};

describe("simulated values", () => {
  test("look like what the unit says", () => {
    const voltage = numbers({ unit: "V", type: "f32" })(NOW_US);
    assert.ok(voltage > 220 && voltage < 240, `${voltage} V`);
    const kilovolt = numbers({ unit: "kV", type: "f32" })(NOW_US);
    assert.ok(kilovolt > 0.22 && kilovolt < 0.24, `${kilovolt} kV`);
    const frequency = numbers({ unit: "Hz", type: "u16", scale: 0.01 })(NOW_US);
    assert.ok(Math.abs(frequency - 50) < 0.1, `${frequency} Hz`);
    const factor = numbers({ name: "power_factor", type: "f32" })(NOW_US);
    assert.ok(factor > 0.8 && factor <= 1, `${factor}`);
  });

  test("of a supply agree with each other: powers, factor, angle, sums, energies", () => {
    const meter = (name: string, input: Partial<Input>): number => numbers({ name, type: "f64", ...input })(NOW_US);
    const near = (value: number, expected: number): void =>
      assert.ok(Math.abs(value / expected - 1) < 1e-3, `${value}, expected ${expected}`);
    const phases = ["L1", "L2", "L3"].map((phase) => {
      const of = (what: string, unit: string) =>
        meter(`${what}_${phase.toLowerCase()}`, {
          unit,
          metric: `electrical.${what.replace("_", ".")}`,
          attributes: { phase },
        });
      const [volts, amperes] = [of("voltage", "V"), of("current", "A")];
      const [active, reactive, apparent] = [of("power", "W"), of("reactive_power", "V.A"), of("apparent_power", "V.A")];
      near(apparent, volts * amperes);
      near(apparent, Math.hypot(active, reactive));
      const factor = meter(`power_factor_${phase.toLowerCase()}`, {
        metric: "electrical.power_factor",
        attributes: { phase },
      });
      near(active, apparent * factor);
      const angle = meter(`phase_angle_${phase.toLowerCase()}`, {
        unit: "deg",
        metric: "electrical.phase_angle",
        attributes: { phase },
      });
      near(factor, Math.cos((angle * Math.PI) / 180));
      const thd = meter(`thd_voltage_${phase.toLowerCase()}`, {
        unit: "%",
        metric: "electrical.thd.voltage",
        attributes: { phase },
      });
      assert.ok(thd > 0.5 && thd < 5, `THD ${thd} %`);
      const kwh = meter(`energy_${phase.toLowerCase()}`, {
        unit: "kW.h",
        kind: "counter",
        metric: "electrical.energy.active",
        attributes: { phase },
      });
      return { active, kwh };
    });
    const sum = (of: (phase: { active: number; kwh: number }) => number) =>
      phases.reduce((all, one) => all + of(one), 0);
    near(
      meter("power", { unit: "kW", metric: "electrical.power.active" }) * 1000,
      sum(({ active }) => active),
    );
    near(
      meter("energy", { unit: "kW.h", kind: "counter", metric: "electrical.energy.active" }),
      sum(({ kwh }) => kwh),
    );
  });

  test("stay in range, on the wire, and clear of sentinels", () => {
    const cases: Partial<Input>[] = [
      { unit: "V", type: "u16", range: [0, 24] },
      { unit: "W", type: "s16", range: [-100, 100] },
      { unit: "Cel", type: "u8", sentinels: [58, 59, 60] },
      { unit: "W", type: "u16", bits: { shift: 2, width: 3 } },
      { unit: "kg", name: "weighing_weight", type: "f32", range: [0, 6] },
      { unit: "kW.h", kind: "counter", type: "u16" },
      { unit: "1", range: [1000, 1001], type: "f64" },
    ];
    for (const input of cases) {
      const value = numbers(input);
      const [low, high] = input.range ?? [0, input.bits ? 7 : 0xffff];
      fc.assert(
        fc.property(time, (time_us) => {
          const v = value(time_us);
          return v >= low && v <= high && input.sentinels?.includes(v) !== true;
        }),
        { numRuns: 200 },
      );
    }
  });

  test("integers arrive as the integer that was meant", () => {
    const value = numbers({ unit: "A", type: "s32", scale: 0.001 });
    fc.assert(
      fc.property(time, (time_us) => {
        const raw = Math.round(value(time_us) / 0.001);
        return raw * 0.001 === value(time_us);
      }),
      { numRuns: 200 },
    );
  });

  test("move smoothly", () => {
    const value = numbers({ unit: "V", type: "f64" });
    fc.assert(
      fc.property(time, (time_us) => Math.abs(value(time_us) - value(time_us + 100_000)) < 0.5),
      { numRuns: 200 },
    );
    assert.notEqual(value(NOW_US), value(NOW_US + 5_000_000));
  });

  test("counters rise, whatever their step, until their rollover", () => {
    for (const input of [
      { unit: "kW.h", type: "f32" },
      { unit: "W.h", type: "u64" },
      { unit: "kW.h", type: "f64" },
      { unit: "{piece}", type: "u32" },
    ] as const) {
      const value = numbers({ ...input, kind: "counter" });
      fc.assert(
        fc.property(time, fc.integer({ min: 0, max: 1e9 }), (t, step) => value(t) <= value(t + step)),
        { numRuns: 200 },
      );
      assert.ok(value(NOW_US) < value(NOW_US + 3_600_000_000), `${input.unit} ${input.type} stands still`);
    }
    const rolling = numbers({ unit: "J", kind: "counter", type: "u32", rollover: "10^4", scale: 10 });
    const seen = Array.from({ length: 400 }, (_, i) => rolling(NOW_US + i * 1_000_000));
    assert.ok(Math.max(...seen) < 100_000);
    assert.ok(
      seen.some((v, i) => i > 0 && v < (seen[i - 1] ?? 0)),
      "it never rolled over",
    );
  });

  test("states are among the listed codes, flags among the listed bits", () => {
    const state = numbers({ kind: "state", states: { 2: "stopped", 7: "running", 65535: "none" }, sentinels: [65535] });
    const flags = numbers({ kind: "state", flags: { 0: "ready", 9: "alarm" } });
    const seen = new Set(Array.from({ length: 300 }, (_, i) => state(NOW_US + i * 20_000_000)));
    assert.deepEqual(seen, new Set([2, 7]));
    const bits = new Set(Array.from({ length: 300 }, (_, i) => flags(NOW_US + i * 20_000_000)));
    assert.deepEqual(
      [...bits].sort((a, b) => a - b),
      [0, 1, 512, 513].filter((v) => bits.has(v)),
    );
    assert.ok(bits.size > 1);
  });

  test("differ between devices and points, and repeat for the same ones", () => {
    const at = (id: string, name: string) => numbers({ unit: "V", type: "f64", name }, id)(NOW_US);
    assert.equal(at("a", "v1"), at("a", "v1"));
    assert.notEqual(at("a", "v1"), at("b", "v1"));
    assert.notEqual(at("a", "v1"), at("a", "v2"));
  });

  test("a scale is stable exactly while its weight stands still", () => {
    const weight = numbers({ unit: "g", name: "weight", metric: "weighing.weight", type: "f64" });
    const stable = numbers({ name: "stable", kind: "state", states: { 1: "stable", 0: "dynamic" } });
    let moved = 0;
    for (let i = 0; i < 600; i += 1) {
      const at = NOW_US + i * 100_000;
      if (stable(at) === 1 && stable(at + 100_000) === 1) assert.equal(weight(at), weight(at + 100_000));
      else moved += 1;
    }
    assert.ok(moved > 20 && moved < 400, `${moved} of 600 steps unsettled`);
  });

  test("texts fit their registers; identities stand still", () => {
    const serial = values({ name: "serial_number", kind: "text", type: "string", length: 4 });
    assert.equal(serial(NOW_US), serial(NOW_US + 1e9));
    assert.equal(String(serial(NOW_US)).length, 8);
    const lot = values({ name: "lot", kind: "text", type: "string", length: 8 });
    assert.notEqual(lot(NOW_US), lot(NOW_US + 30_000_000));
  });
});
