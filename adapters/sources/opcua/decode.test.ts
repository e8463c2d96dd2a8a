import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { DataType, DataValue, StatusCode, StatusCodes, Variant, VariantArrayType } from "node-opcua-client";
import { opcuaPoint } from "#profiles/schema.ts";
import { seriesOf } from "#profiles/series.ts";
import type { PointInput } from "#test/hardware-sim/opcua/rig.ts";
import { createFrame } from "../../frame.ts";
import { classOf, reasonOf } from "../../quality.ts";
import { compileWriter, writeDataValue } from "./decode.ts";
import { nameOf, qualityOfStatus } from "./status.ts";

const RECEIVED_US = 1_700_000_000_000_000;

/** The one row that a point makes of a DataValue: value, or quality class and reason. */
function decode(
  input: Omit<PointInput, "name" | "address">,
  value: DataValue,
): { value: unknown; quality: string; time_us: number } {
  const point = { ...opcuaPoint.parse({ name: "p", address: "i=1", ...input }), every: 1000 };
  const series = seriesOf("opcua", point);
  const frame = createFrame(new Uint32Array(1));
  frame.times_us = new Float64Array(1);
  frame.texts = [null];
  writeDataValue(frame, 0, compileWriter(point, series), value, RECEIVED_US);
  const quality = frame.quality[0] ?? 0;
  const column = { text: frame.texts[0], int: frame.ints[0], double: frame.doubles[0] };
  return {
    value: column[series.value],
    quality: [classOf(quality), reasonOf(quality)].join(" ").trim(),
    time_us: frame.times_us[0] ?? 0,
  };
}

const of = (dataType: DataType, value: unknown): DataValue =>
  new DataValue({
    value: new Variant({ dataType, arrayType: VariantArrayType.Scalar, value }),
    statusCode: StatusCodes.Good,
  });

const valueOf = (input: Omit<PointInput, "name" | "address">, dataType: DataType, value: unknown): unknown => {
  const result = decode(input, of(dataType, value));
  return result.quality === "good" ? result.value : result.quality;
};

describe("values", () => {
  test("every numeric type becomes a double", () => {
    for (const type of [DataType.SByte, DataType.Int16, DataType.Int32, DataType.Float, DataType.Double]) {
      assert.equal(valueOf({}, type, -5), -5, DataType[type]);
    }
    for (const type of [DataType.Byte, DataType.UInt16, DataType.UInt32]) assert.equal(valueOf({}, type, 5), 5);
    assert.equal(valueOf({}, DataType.Int64, [0xffffffff, 0xfffffffb]), -5);
    assert.equal(valueOf({}, DataType.Boolean, true), 1);
    assert.equal(valueOf({}, DataType.DateTime, new Date(1500)), 1.5);
  });

  test("64-bit integers stay exact in an int series", () => {
    assert.equal(valueOf({ type: "i64" }, DataType.Int64, [0x7fffffff, 0xffffffff]), 2n ** 63n - 1n);
    assert.equal(valueOf({ type: "i64" }, DataType.Int64, [0x80000000, 0]), -(2n ** 63n));
    assert.equal(valueOf({ type: "i64" }, DataType.UInt64, [0x00200000, 1]), 2n ** 53n + 1n);
    assert.equal(valueOf({ type: "i64" }, DataType.UInt64, [0x80000000, 0]), "bad out_of_range");
    assert.equal(valueOf({ type: "string" }, DataType.UInt64, [0xffffffff, 0xffffffff]), "18446744073709551615");
  });

  test("any Int64 comes through as it is", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (wanted) => {
        const bits = BigInt.asUintN(64, wanted);
        assert.equal(
          valueOf({ type: "i64" }, DataType.Int64, [Number(bits >> 32n), Number(bits & 0xffffffffn)]),
          wanted,
        );
      }),
    );
  });

  test("texts", () => {
    assert.equal(valueOf({ kind: "text" }, DataType.String, "lot 5"), "lot 5");
    assert.equal(valueOf({ kind: "text" }, DataType.String, null), "");
    assert.equal(valueOf({ kind: "text" }, DataType.LocalizedText, { text: "läuft", locale: "de" }), "läuft");
    assert.equal(valueOf({ kind: "text" }, DataType.Int32, 5), "5");
    assert.equal(valueOf({ kind: "text" }, DataType.Boolean, false), "false");
    assert.equal(valueOf({ kind: "text" }, DataType.DateTime, new Date(0)), "1970-01-01T00:00:00.000Z");
  });

  test("tenths stay tenths, also below zero", () => {
    assert.equal(valueOf({ scale: 0.1 }, DataType.Int16, 2301), 230.1);
    assert.equal(valueOf({ scale: -0.1 }, DataType.Int16, 2301), -230.1);
  });

  test("scale, offset, range and sentinels", () => {
    assert.equal(valueOf({ scale: 0.1, offset: -10 }, DataType.Int16, 250), 15);
    assert.equal(valueOf({ range: [0, 100] }, DataType.Double, 100.5), "bad out_of_range");
    assert.equal(valueOf({ sentinels: [-32768] }, DataType.Int16, -32768), "bad sentinel");
    assert.equal(
      valueOf({ sentinels: [{ value: "nan", reason: "sensor_open" }] }, DataType.Double, Number.NaN),
      "bad sensor_open",
    );
    assert.equal(valueOf({}, DataType.Double, Number.NaN), "bad nan");
    assert.equal(valueOf({ type: "i64", sentinels: [-1] }, DataType.Int64, [0xffffffff, 0xffffffff]), "bad sentinel");
  });

  test("what does not fit is bad, and says so", () => {
    assert.equal(valueOf({}, DataType.String, "12"), "bad type_mismatch");
    assert.equal(valueOf({ type: "i64" }, DataType.Double, 1.5), "bad type_mismatch");
    assert.equal(valueOf({ type: "i64" }, DataType.Double, 3), 3n);
    assert.equal(valueOf({ type: "bool" }, DataType.Byte, 2), "bad type_mismatch");
    assert.equal(valueOf({ type: "bool" }, DataType.Boolean, true), 1n);
    assert.equal(valueOf({}, DataType.ByteString, Buffer.from([1])), "bad type_unsupported");
    const array = new Variant({ dataType: DataType.Double, arrayType: VariantArrayType.Array, value: [1, 2] });
    assert.equal(decode({}, new DataValue({ value: array })).quality, "bad type_unsupported");
    assert.equal(decode({}, new DataValue({ value: new Variant() })).quality, "bad no_value");
    assert.equal(decode({}, new DataValue({})).quality, "bad no_value");
  });
});

describe("status", () => {
  test("bad codes give their name and no value", () => {
    const value = new DataValue({
      statusCode: StatusCodes.BadSensorFailure,
      value: new Variant({ dataType: DataType.Double, value: 7 }),
    });
    assert.deepEqual(decode({}, value), { value: 0, quality: "bad bad_sensor_failure", time_us: RECEIVED_US });
  });

  test("uncertain codes keep the value", () => {
    const value = of(DataType.Double, 7);
    value.statusCode = StatusCodes.UncertainLastUsableValue;
    const { value: got, quality } = decode({}, value);
    assert.deepEqual([got, quality], [7, "uncertain uncertain_last_usable_value"]);
  });

  test("good with other bits is good; unknown codes are told by number", () => {
    const overflow = StatusCode.makeStatusCode(StatusCodes.Good, "Overflow | InfoTypeDataValue");
    assert.equal(qualityOfStatus(overflow.value), 0);
    assert.equal(qualityOfStatus(StatusCodes.GoodLocalOverride.value), 0);
    assert.equal(reasonOf(qualityOfStatus(0x80fe0000)), "status_80fe0000");
    assert.equal(classOf(qualityOfStatus(0x40fe0000)), "uncertain");
    assert.equal(nameOf(StatusCodes.BadNodeIdUnknown.value), "bad_node_id_unknown");
  });
});

describe("time", () => {
  const stamp = (options: object): number =>
    decode({}, new DataValue({ value: new Variant({ dataType: DataType.Double, value: 1 }), ...options })).time_us;

  test("source time in microseconds, then server time, then when it was received", () => {
    const source = { sourceTimestamp: new Date(1_700_000_000_123), sourcePicoseconds: 456_700_000 };
    const server = { serverTimestamp: new Date(1_700_000_001_000), serverPicoseconds: 0 };
    assert.equal(stamp({ ...source, ...server }), 1_700_000_000_123_456);
    assert.equal(stamp(server), 1_700_000_001_000_000);
    assert.equal(stamp({}), RECEIVED_US);
  });

  test("a time before 1970, or beyond what nanoseconds in 64 bits hold, is none", () => {
    for (const sourceTimestamp of [new Date("1900-01-01"), new Date("2300-01-01")]) {
      const value = new DataValue({ ...of(DataType.Double, 1), sourceTimestamp });
      assert.equal(decode({}, value).time_us, RECEIVED_US);
    }
  });

  test("the type's first and last time mean none", () => {
    assert.equal(stamp({ sourceTimestamp: new Date(Date.UTC(1601, 0, 1)) }), RECEIVED_US);
    assert.equal(stamp({ sourceTimestamp: new Date(Date.UTC(9999, 11, 31, 23, 59, 59)) }), RECEIVED_US);
  });
});
