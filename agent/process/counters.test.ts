import type { Descriptor, Device } from "#adapters/contract.ts";
import { createFrame } from "#adapters/frame.ts";
import { bad } from "#adapters/quality.ts";
import { modbusPoint, type ModbusPoint } from "#profiles/schema.ts";
import { seriesOf } from "#profiles/series.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Counters } from "./counters.ts";

function deviceOf(...fields: object[]): Device<ModbusPoint> {
  const points = fields.map((one, index) => ({
    ...modbusPoint.parse({ name: `p${index}`, address: index * 4, kind: "counter", ...one }),
    every: 1000,
  }));
  const series = points.map((point) => seriesOf("modbus", point));
  const descriptor: Descriptor = {
    device: "d",
    source: "modbus",
    resource: {},
    scope: { name: "t", version: "1" },
    series,
  };
  return { id: "d", options: {}, points, descriptor };
}

/** Feeds values of point 0 and gives [sum, start] of each. */
function run(counters: Counters, values: readonly (number | null)[], int: boolean): [number | null, number][] {
  return values.map((value, index) => {
    const frame = createFrame(Uint32Array.of(0));
    frame.time_us = (index + 1) * 1000;
    if (value === null) frame.quality[0] = bad("timeout");
    else if (int) frame.ints[0] = BigInt(value);
    else frame.doubles[0] = value;
    counters.apply(frame);
    const sum = int ? Number(frame.ints[0]) : (frame.doubles[0] ?? 0);
    return [value === null ? null : sum, frame.starts_us?.[0] ?? -1];
  });
}

describe("counters", () => {
  test("a rollover is carried on, any other step back is a reset", () => {
    const counters = new Counters(deviceOf({ type: "u16", rollover: "2^16" }), new Map(), () => undefined);
    assert.deepEqual(run(counters, [65000, 65400, 120, 300, 5, 6], true), [
      [65000, 1000],
      [65400, 1000],
      [65656, 1000],
      [65836, 1000],
      [5, 5000],
      [6, 5000],
    ]);
  });

  test("without a declared rollover every step back is a reset, and bad readings change nothing", () => {
    const counters = new Counters(deviceOf({ type: "u32" }), new Map(), () => undefined);
    assert.deepEqual(run(counters, [100, null, 90], true), [
      [100, 1000],
      [null, 1000],
      [90, 3000],
    ]);
  });

  test("the rollover of a scaled counter is that of its raw value", () => {
    const counters = new Counters(deviceOf({ type: "u16", scale: 0.1, rollover: "2^16" }), new Map(), () => undefined);
    const [, second] = run(counters, [6553, 2], false);
    assert.ok(second);
    assert.ok(Math.abs((second[0] ?? 0) - 6555.6) < 1e-9);
    assert.equal(second[1], 1000);
  });

  test("with a scale register the decade of the rollover comes from the values", () => {
    const point = { type: "u32", scale_register: 9, rollover: "2^32" };
    const counters = new Counters(deviceOf(point), new Map(), () => undefined);
    // The raw value stands at 2^32 - 1000 with a factor of 100.
    const [, second] = run(counters, [(2 ** 32 - 1000) * 100, 500 * 100], false);
    assert.deepEqual(second, [(2 ** 32 + 500) * 100, 1000]);
  });

  test("sums and starts survive a restart", () => {
    let changes = 0;
    const device = deviceOf({ type: "u16", rollover: "2^16" });
    const first = new Counters(device, new Map(), () => changes++);
    run(first, [65000, 65400, 120], true);
    assert.equal(changes, 2, "the first sight and the rollover");
    const again = new Counters(device, new Map(first.states()), () => changes++);
    assert.deepEqual(run(again, [130], true), [[65666, 1000]]);
    assert.equal(changes, 2);
  });

  test("a counter that may count down is left alone", () => {
    const counters = new Counters(deviceOf({ type: "s32", monotonic: false }), new Map(), () => undefined);
    assert.deepEqual(run(counters, [10, 4], true), [
      [10, 1000],
      [4, 1000],
    ]);
  });

  test("a clock that is set back does not leave a start after its own sum", () => {
    let changes = 0;
    const counters = new Counters(deviceOf({ type: "u32" }), new Map(), () => changes++);
    const at = (time_us: number, value: bigint, own_us = 0): number | undefined => {
      const frame = createFrame(Uint32Array.of(0));
      frame.time_us = time_us;
      frame.times_us = Float64Array.of(own_us);
      frame.ints[0] = value;
      counters.apply(frame);
      return frame.starts_us?.[0];
    };
    assert.equal(at(9e9, 5n), 9e9, "a row without a time of its own has the frame's");
    assert.equal(at(1e9, 6n), 1e9);
    assert.equal(at(2e9, 7n), 1e9);
    assert.equal(changes, 2);
  });
});
