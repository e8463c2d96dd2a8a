import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { bad, uncertain } from "../../../quality.ts";
import { batchOf, descriptor, frameOf, series } from "#test/contract/batches.ts";
import { countLogs } from "#test/receiver/count.ts";
import { decodeLogsRequest } from "#test/receiver/proto.ts";
import { LogsEncoder } from "./logs.ts";

const LIMIT = { bytes_max: 1 << 20 };
const device = descriptor("d", [series("order", { kind: "text", value: "text" }), series("t")], {
  resource: {},
  scope: { name: "s", version: "1" },
});

describe("OTLP logs", () => {
  test("a text reading, byte by byte", () => {
    const batch = batchOf([
      { descriptor: device, frame: frameOf(device, 2_000_000, [{ series: 0, value: "hé", time_us: 1_000_000 }]) },
    ]);
    const body = new LogsEncoder(LIMIT).encode(batch);
    assert(Buffer.isBuffer(body));
    const expected = `
      0a 36                                 // resource_logs
        0a 00                               //   resource
        12 32                               //   scope_logs
          0a 06 0a 01 73 12 01 31           //     scope s 1
          12 28                             //     log_records
            09 00ca9a3b00000000             //       time_unix_nano 1 s
            10 09                           //       severity_number INFO
            1a 04 494e464f                  //       severity_text
            2a 05 0a 03 68c3a9              //       body string
            59 0094357700000000             //       observed_time_unix_nano 2 s
            62 05 6f72646572                //       event_name order
    `;
    assert.equal(body.toString("hex"), expected.replace(/\/\/.*$/gm, "").replace(/\s+/g, ""));
  });

  test("says with a text how good it is, and says bad without a body", () => {
    const frame = frameOf(device, 1, [
      { series: 0, value: "x", quality: uncertain("stale") },
      { series: 1, value: 1 },
      { series: 0, value: null, quality: bad("timeout") },
    ]);
    const body = new LogsEncoder(LIMIT).encode(batchOf([{ descriptor: device, frame }]));
    assert(Buffer.isBuffer(body));
    assert.equal(countLogs(body), 2);
    const records = decodeLogsRequest(body).resourceLogs?.[0]?.scopeLogs?.[0]?.logRecords ?? [];
    assert.deepEqual(
      records.map(({ severityText, body: said, attributes }) => [
        severityText,
        said?.stringValue,
        attributes?.map(({ key, value }) => [key, value?.stringValue]),
      ]),
      [
        [
          "INFO",
          "x",
          [
            ["lineside.quality", "uncertain"],
            ["lineside.quality_reason", "stale"],
          ],
        ],
        [
          "WARN",
          undefined,
          [
            ["lineside.quality", "bad"],
            ["lineside.quality_reason", "timeout"],
          ],
        ],
      ],
    );
  });

  test("makes no request of numbers alone, and too_large of what exceeds the limit", () => {
    const encoder = new LogsEncoder({ bytes_max: 100 });
    const batch = (value: string | number): ReturnType<typeof batchOf> =>
      batchOf([
        { descriptor: device, frame: frameOf(device, 1, [{ series: typeof value === "string" ? 0 : 1, value }]) },
      ]);
    assert.equal(encoder.encode(batch(1)), null);
    assert.equal(encoder.encode(batch("x".repeat(100))), "too_large");
    assert(Buffer.isBuffer(encoder.encode(batch("x"))));
  });
});
