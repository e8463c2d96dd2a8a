import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { modbusPoint, opcuaPoint, serialPoint } from "./schema.ts";
import { seriesOf } from "./series.ts";

const modbus = (point: object) =>
  seriesOf("modbus", { ...modbusPoint.parse({ name: "p", address: 0, ...point }), every: 1000 });
const opcua = (point: object) =>
  seriesOf("opcua", { ...opcuaPoint.parse({ name: "p", address: "i=1", ...point }), every: 1000 });
const serial = (point: object) =>
  seriesOf("serial", { ...serialPoint.parse({ name: "p", address: "m.g", ...point }), every: 1000 });

describe("seriesOf", () => {
  test("an integer on the wire stays one, unless scaling may make it a fraction", () => {
    assert.equal(modbus({ type: "u64" }).value, "int");
    assert.equal(modbus({ type: "bool" }).value, "int");
    assert.equal(modbus({ type: "u16", scale: 0.1 }).value, "double");
    assert.equal(modbus({ type: "u16", offset: -40 }).value, "double");
    assert.equal(modbus({ type: "s16", scale_register: 4 }).value, "double");
    assert.equal(modbus({ type: "f32" }).value, "double");
    assert.equal(modbus({ type: "string", length: 4 }).value, "text");
    assert.equal(opcua({}).value, "double");
    assert.equal(opcua({ type: "i64", kind: "counter" }).value, "int");
    assert.equal(opcua({ kind: "state" }).value, "int");
    assert.equal(opcua({ kind: "text" }).value, "text");
    assert.equal(serial({}).value, "double");
    assert.equal(serial({ type: "string" }).value, "text");
    assert.equal(serial({ kind: "state", map: { S: 1 } }).value, "int");
  });

  test("names are the point's own, the metric falls back to the name", () => {
    const series = modbus({ name: "voltage_l1", unit: "V", attributes: { phase: "L1" } });
    assert.deepEqual(series, {
      name: "voltage_l1",
      metric: "voltage_l1",
      unit: "V",
      description: "",
      kind: "gauge",
      value: "int",
      monotonic: false,
      attributes: { phase: "L1" },
    });
    assert.equal(modbus({ metric: "electrical.voltage" }).metric, "electrical.voltage");
  });

  test("only counters are monotonic, and only where the profile does not deny it", () => {
    assert.equal(modbus({ kind: "counter" }).monotonic, true);
    assert.equal(modbus({ kind: "counter", monotonic: false }).monotonic, false);
    assert.equal(modbus({ kind: "gauge" }).monotonic, false);
  });

  test("codes are numbers, in their order, whichever way they are written", () => {
    const series = modbus({ kind: "state", states: { "0x10": "fault", "-1": "unknown", "2": "run" } });
    assert.deepEqual(series.states, [
      [-1, "unknown"],
      [2, "run"],
      [16, "fault"],
    ]);
    assert.deepEqual(modbus({ kind: "state", flags: { 3: "alarm", 0: "ready" } }).flags, [
      [0, "ready"],
      [3, "alarm"],
    ]);
  });
});
