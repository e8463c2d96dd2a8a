import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Batch } from "../../../contract.ts";
import { bad, uncertain } from "../../../quality.ts";
import { batchOf, descriptor, frameOf, series } from "#test/contract/batches.ts";
import { countPoints } from "#test/receiver/count.ts";
import { decodeMetricsRequest, type NumberDataPoint } from "#test/receiver/proto.ts";
import { MetricsEncoder } from "./metrics.ts";

const OPTIONS = { quality_attributes: true, bytes_max: 1 << 20 };
/** 1 s after 1970: 1,000,000,000 ns are 0x3b9aca00. */
const SECOND_US = 1_000_000;

const encode = (batch: Batch, options = OPTIONS): Buffer => {
  const body = new MetricsEncoder(options).encode(batch);
  assert(Buffer.isBuffer(body));
  return body;
};
const hex = (text: string): string => text.replace(/\/\/.*$/gm, "").replace(/\s+/g, "");
const pointsOf = (batch: Batch, options = OPTIONS): NumberDataPoint[] =>
  (decodeMetricsRequest(encode(batch, options)).resourceMetrics ?? []).flatMap(({ scopeMetrics }) =>
    (scopeMetrics ?? []).flatMap(({ metrics }) =>
      (metrics ?? []).flatMap(({ gauge, sum }) => (gauge ?? sum)?.dataPoints ?? []),
    ),
  );

describe("OTLP metrics, bytes", () => {
  test("a gauge of a double", () => {
    const device = descriptor("d", [series("t")], {
      resource: { "device.id": "d" },
      scope: { name: "s", version: "" },
    });
    const batch = batchOf([{ descriptor: device, frame: frameOf(device, SECOND_US, [{ series: 0, value: 1.5 }]) }]);
    assert.equal(
      encode(batch).toString("hex"),
      hex(`
        0a 39                                 // resource_metrics
          0a 12                               //   resource
            0a 10                             //     attributes
              0a 09 6465766963652e6964        //       key device.id
              12 03 0a 01 64                  //       value string d
          12 23                               //   scope_metrics
            0a 03 0a 01 73                    //     scope, name s
            12 1c                             //     metrics
              0a 01 74                        //       name t
              1a 01 56                        //       unit V
              2a 14                           //       gauge
                0a 12                         //         data_points
                  19 00ca9a3b00000000         //           time_unix_nano
                  21 000000000000f83f         //           as_double 1.5
      `),
    );
  });

  test("a counter of an int64 with its start, and the same without a value", () => {
    const device = descriptor(
      "d",
      [
        series("n", {
          kind: "counter",
          value: "int",
          monotonic: true,
          unit: "",
          description: "e",
          attributes: { a: true },
        }),
      ],
      { resource: {}, scope: { name: "", version: "" } },
    );
    const batch = batchOf([
      { descriptor: device, frame: frameOf(device, SECOND_US, [{ series: 0, value: -2, start_us: 1 }]) },
      { descriptor: device, frame: frameOf(device, SECOND_US, [{ series: 0, value: null, quality: bad("x") }]) },
    ]);
    assert.equal(
      encode(batch).toString("hex"),
      hex(`
        0a 9701                               // resource_metrics
          0a 00                               //   resource
          12 9201                             //   scope_metrics
            0a 00                             //     scope
            12 8d01                           //     metrics
              0a 01 6e                        //       name n
              12 01 65                        //       description e
              3a 8401                         //       sum
                0a 24                         //         data_points
                  11 e803000000000000         //           start_time_unix_nano 1000
                  19 00ca9a3b00000000         //           time_unix_nano
                  31 feffffffffffffff         //           as_int -2
                  3a 07 0a 01 61 12 02 10 01  //           attributes a: true
                0a 58                         //         data_points
                  11 0000000000000000         //           start_time_unix_nano, unknown
                  19 00ca9a3b00000000         //           time_unix_nano
                  3a 07 0a 01 61 12 02 10 01  //           attributes a: true
                  3a 19                       //           attributes
                    0a 10 6c696e65736964652e7175616c697479      // lineside.quality
                    12 05 0a 03 626164                          // bad
                  3a 1e                       //           attributes
                    0a 17 6c696e65736964652e7175616c6974795f726561736f6e // lineside.quality_reason
                    12 03 0a 01 78            //             x
                  40 01                       //           flags NO_RECORDED_VALUE
                10 02                         //         aggregation_temporality CUMULATIVE
                18 01                         //         is_monotonic
      `),
    );
  });
});

describe("OTLP metrics, mapping", () => {
  test("keeps 64 bits of an integer and the microseconds of every time", () => {
    const device = descriptor("d", [series("n", { kind: "counter", value: "int", monotonic: true })]);
    const row = {
      series: 0,
      value: 9_223_372_036_854_775_807n,
      time_us: 1_795_123_456_789_012,
      start_us: 1_700_000_000_000_001,
    };
    const [point] = pointsOf(batchOf([{ descriptor: device, frame: frameOf(device, 5, [row]) }]));
    assert.deepEqual(point, {
      startTimeUnixNano: "1700000000000001000",
      timeUnixNano: "1795123456789012000",
      asInt: "9223372036854775807",
    });
  });

  test("gives a row without a time of its own the time of its frame", () => {
    const device = descriptor("d", [series("a"), series("b")]);
    const frame = frameOf(device, 2 * SECOND_US, [
      { series: 0, value: 1, time_us: SECOND_US },
      { series: 1, value: 2 },
    ]);
    const times = pointsOf(batchOf([{ descriptor: device, frame }])).map(({ timeUnixNano }) => timeUnixNano);
    assert.deepEqual(times, ["1000000000", "2000000000"]);
  });

  test("puts series of one quantity into one metric, point after point over all frames", () => {
    const device = descriptor("d", [
      series("l1", { metric: "voltage", attributes: { phase: "L1" } }),
      series("current", { unit: "A" }),
      series("l2", { metric: "voltage", attributes: { phase: "L2" } }),
      series("other_unit", { metric: "voltage", unit: "kV" }),
    ]);
    const frames = [1, 2].map((second) => ({
      descriptor: device,
      frame: frameOf(
        device,
        second * SECOND_US,
        [0, 1, 2, 3].map((index) => ({ series: index, value: second * 10 + index })),
      ),
    }));
    const [entry, ...rest] = decodeMetricsRequest(encode(batchOf(frames))).resourceMetrics ?? [];
    assert.equal(rest.length, 0);
    const metrics = entry?.scopeMetrics?.[0]?.metrics ?? [];
    assert.deepEqual(
      metrics.map(({ name, unit, gauge }) => [name, unit, gauge?.dataPoints?.map(({ asDouble }) => asDouble)]),
      [
        ["voltage", "V", [10, 12, 20, 22]],
        ["current", "A", [11, 21]],
        ["voltage", "kV", [13, 23]],
      ],
    );
  });

  test("sends a state as one point a state, 1 or 0, and a code without a name as unknown", () => {
    const device = descriptor("d", [
      series("mode", {
        kind: "state",
        value: "int",
        unit: "V",
        states: [
          [0, "off"],
          [1, "on"],
          [-3, "on"],
        ],
      }),
    ]);
    const frames = [0, 1, -3, 77].map((code, index) => ({
      descriptor: device,
      frame: frameOf(device, index, [{ series: 0, value: code }]),
    }));
    const request = decodeMetricsRequest(encode(batchOf(frames)));
    const [metric] = request.resourceMetrics?.[0]?.scopeMetrics?.[0]?.metrics ?? [];
    assert.deepEqual(
      [metric?.name, metric?.unit, metric?.sum?.aggregationTemporality, metric?.sum?.isMonotonic],
      ["mode", "1", 2, undefined],
    );
    const said = (metric?.sum?.dataPoints ?? []).map(
      ({ attributes, asInt }) => `${attributes?.[0]?.key}=${attributes?.[0]?.value?.stringValue} ${asInt}`,
    );
    assert.deepEqual(said, [
      ...["state=off 1", "state=on 0", "state=unknown 0"],
      ...["state=off 0", "state=on 1", "state=unknown 0"],
      ...["state=off 0", "state=on 1", "state=unknown 0"],
      ...["state=off 0", "state=on 0", "state=unknown 1"],
    ]);
  });

  test("sends flags as one point a bit, up to bit 63", () => {
    const device = descriptor("d", [
      series("alarms", {
        kind: "state",
        value: "int",
        flags: [
          [0, "low"],
          [31, "middle"],
          [63, "high"],
        ],
      }),
    ]);
    const frame = frameOf(device, 1, [{ series: 0, value: -0x8000_0000_0000_0000n + 1n }]);
    const said = pointsOf(batchOf([{ descriptor: device, frame }])).map(
      ({ attributes, asInt }) => `${attributes?.[0]?.key}=${attributes?.[0]?.value?.stringValue} ${asInt}`,
    );
    assert.deepEqual(said, ["flag=low 1", "flag=middle 0", "flag=high 1"]);
  });

  test("flags every point of a bad state, and none of them has a value", () => {
    const device = descriptor("d", [series("mode", { kind: "state", value: "double", states: [[2, "run"]] })]);
    const good = frameOf(device, 1, [{ series: 0, value: 2 }]);
    const lost = frameOf(device, 2, [{ series: 0, value: null, quality: bad("timeout") }]);
    const points = pointsOf(batchOf([good, lost].map((frame) => ({ descriptor: device, frame }))));
    assert.deepEqual(
      points.map(({ asInt, flags }) => [asInt, flags]),
      [
        ["1", undefined],
        ["0", undefined],
        [undefined, 1],
        [undefined, 1],
      ],
    );
  });

  test("without quality attributes a series keeps its identity: bad is the flag alone", () => {
    const device = descriptor("d", [series("t")]);
    const frame = frameOf(device, SECOND_US, [
      { series: 0, value: 1, quality: uncertain("x") },
      { series: 0, value: null, quality: bad("y") },
    ]);
    assert.deepEqual(pointsOf(batchOf([{ descriptor: device, frame }]), { ...OPTIONS, quality_attributes: false }), [
      { timeUnixNano: "1000000000", asDouble: 1 },
      { timeUnixNano: "1000000000", flags: 1 },
    ]);
  });

  test("makes no request of texts alone, nor of nothing", () => {
    const device = descriptor("d", [series("order", { kind: "text", value: "text" })]);
    const encoder = new MetricsEncoder(OPTIONS);
    assert.equal(
      encoder.encode(batchOf([{ descriptor: device, frame: frameOf(device, 1, [{ series: 0, value: "x" }]) }])),
      null,
    );
    assert.equal(encoder.encode(batchOf([{ descriptor: device, frame: frameOf(device, 1, []) }])), null);
    assert.equal(encoder.encode(batchOf([])), null);
  });

  test("answers too_large above its limit, and encodes the next batch", () => {
    const device = descriptor("d", [series("t")]);
    const rows = Array.from({ length: 100 }, () => ({ series: 0, value: 1 }));
    const encoder = new MetricsEncoder({ ...OPTIONS, bytes_max: 1000 });
    assert.equal(encoder.encode(batchOf([{ descriptor: device, frame: frameOf(device, 1, rows) }])), "too_large");
    assert(
      Buffer.isBuffer(encoder.encode(batchOf([{ descriptor: device, frame: frameOf(device, 1, rows.slice(0, 9)) }]))),
    );
  });

  test("a stranger's endless vocabulary of reasons does not pile up, and stays right", () => {
    const device = descriptor("d", [series("t")]);
    const encoder = new MetricsEncoder(OPTIONS);
    for (let index = 0; index < 200; index++) {
      const frame = frameOf(device, index, [{ series: 0, value: null, quality: bad(`reason_${index}`) }]);
      const body = encoder.encode(batchOf([{ descriptor: device, frame }]));
      assert(Buffer.isBuffer(body));
      assert(body.includes(`reason_${index}`));
      assert.equal(countPoints(body), 1);
    }
  });

  test("bytes that were forgotten stay as they are", () => {
    const device = descriptor("d", [series("t")]);
    const encoder = new MetricsEncoder(OPTIONS);
    const batch = (value: number): Batch =>
      batchOf([{ descriptor: device, frame: frameOf(device, 1, [{ series: 0, value }]) }]);
    const first = encoder.encode(batch(1));
    assert(Buffer.isBuffer(first));
    const copy = Buffer.from(first);
    encoder.forget();
    encoder.encode(batch(2));
    assert(first.equals(copy));
  });
});
