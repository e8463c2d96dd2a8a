/** docs/otlp-mapping.md shows what the encoder makes, and nothing else. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { Batch, Series } from "../../../contract.ts";
import { bad, uncertain } from "../../../quality.ts";
import { batchOf, descriptor, frameOf, type Row, series } from "#test/contract/batches.ts";
import type { OtlpRequest } from "#test/receiver/proto.ts";
import { jsonEncoder } from "./encode.ts";

const PAGE = join(import.meta.dirname, "../../../../docs/otlp-mapping.md");
const TIME_US = 1_795_000_000_123_456;
const resource = { "service.name": "lineside", "service.instance.id": "press-gw1", "device.id": "main-meter" };
const scope = { name: "eastron/sdm630", version: "1.0" };

const batchOfOne = (
  all: readonly Series[],
  frames: readonly { readonly at: number; readonly rows: readonly Row[] }[],
): Batch => {
  const device = descriptor("main-meter", all, { resource, scope });
  return batchOf(frames.map(({ at, rows }) => ({ descriptor: device, frame: frameOf(device, at, rows) })));
};
const reading = (one: Series, ...rows: Omit<Row, "series">[]): Batch =>
  batchOfOne(
    [one],
    rows.map((row, second) => ({ at: TIME_US + second * 1_000_000, rows: [{ series: 0, ...row }] })),
  );

const voltage = (phase: string): Series =>
  series(`voltage_${phase}`, { metric: "electrical.voltage", description: "Phase to neutral", attributes: { phase } });
const order = series("order", {
  metric: "order.number",
  kind: "text",
  value: "text",
  attributes: { station: "press" },
});
const gateway = descriptor("main-meter", [], { resource, scope });

/** In the order of the page. */
const examples: readonly { readonly batch: Batch; readonly part: "request" | "metric" | "record" }[] = [
  {
    part: "request",
    batch: batchOfOne(
      [voltage("L1"), voltage("L2")],
      [
        {
          at: TIME_US,
          rows: [
            { series: 0, value: 230.25 },
            { series: 1, value: 229.5 },
          ],
        },
      ],
    ),
  },
  {
    part: "metric",
    batch: reading(series("parts", { kind: "counter", value: "int", monotonic: true, unit: "{part}" }), {
      value: 9_007_199_254_740_993n,
      start_us: TIME_US - 60_000_000,
    }),
  },
  {
    part: "metric",
    batch: reading(
      series("mode", {
        kind: "state",
        value: "int",
        states: [
          [0, "idle"],
          [1, "run"],
        ],
      }),
      { value: 1 },
    ),
  },
  {
    part: "metric",
    batch: reading(
      series("pressure", { unit: "bar" }),
      { value: 1.5, quality: uncertain("out_of_calibration") },
      { value: null, quality: bad("timeout") },
    ),
  },
  {
    part: "record",
    batch: batchOfOne([order], [{ at: 1_795_000_000_200_000, rows: [{ series: 0, value: "4711", time_us: TIME_US }] }]),
  },
  {
    part: "record",
    batch: batchOf(
      [],
      [
        {
          name: "lineside.gap",
          time_us: TIME_US,
          severity: "warn",
          body: "12 readings dropped",
          attributes: { count: 12, points: ["mode", "parts"] },
          descriptor: gateway,
        },
      ],
    ),
  },
];

describe("docs/otlp-mapping.md", () => {
  const blocks = [...readFileSync(PAGE, "utf8").matchAll(/^```json\n([\s\S]*?)^```$/gm)].map(([, text = ""]) => text);

  test("has an example for each of ours", () => assert.equal(blocks.length, examples.length));

  for (const [index, { batch, part }] of examples.entries()) {
    test(`example ${index + 1}`, () => {
      const encoder = jsonEncoder({ quality_attributes: true, bytes_max: 1 << 20 });
      const body = encoder.encode(part === "record" ? "logs" : "metrics", batch);
      assert(Buffer.isBuffer(body));
      const request = JSON.parse(body.toString()) as OtlpRequest;
      const said = {
        request,
        metric: request.resourceMetrics?.[0]?.scopeMetrics?.[0]?.metrics?.[0],
        record: request.resourceLogs?.[0]?.scopeLogs?.[0]?.logRecords?.[0],
      }[part];
      assert.deepEqual(JSON.parse(blocks[index] ?? "null"), said);
    });
  }
});
