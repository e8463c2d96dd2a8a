import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { Book } from "./book.ts";
import { countLogs, countPoints } from "./count.ts";
import { encodeMessage, type LogsRequest, type MetricsRequest, type NumberDataPoint } from "./proto.ts";
import { type Receiver, type ReceiverOptions, startReceiver } from "./receiver.ts";

const SECOND_US = 1_000_000;
const START_US = 1_795_000_000_000_000;

const point = (second: number, given: NumberDataPoint = {}): NumberDataPoint => ({
  timeUnixNano: `${START_US + second * SECOND_US}000`,
  asDouble: second,
  ...given,
});

function request(points: readonly NumberDataPoint[]): MetricsRequest {
  const resource = { attributes: [{ key: "device.id", value: { stringValue: "d" } }] };
  const metrics = [{ name: "t", unit: "V", gauge: { dataPoints: [...points] } }];
  return { resourceMetrics: [{ resource, scopeMetrics: [{ scope: { name: "s" }, metrics }] }] };
}

function bookOf(points: readonly NumberDataPoint[], options = {}): Book {
  const book = new Book(options);
  book.takeMetrics(request(points));
  return book;
}

describe("what the receiver remembers", () => {
  test("tells duplicates from points out of order, and gaps from steps", () => {
    const book = bookOf([0, 1, 2, 12, 13, 1, 2, 5, 13, 14].map((second) => point(second)));
    const [series] = book.series();
    assert.equal(series?.count, 10);
    assert.equal(series?.duplicates, 3);
    assert.equal(series?.order_violations, 1);
    assert.deepEqual(series?.gaps, [{ from_us: START_US + 2 * SECOND_US, to_us: START_US + 12 * SECOND_US }]);
    assert.deepEqual([series?.first_time_us, series?.last_time_us], [START_US, START_US + 14 * SECOND_US]);
    assert.equal(series?.last_value, 14);
    assert.deepEqual(book.sums(), { series: 1, duplicates: 3, order_violations: 1, gaps: 1 });
  });

  test("quality belongs to the point, not to the series; int64 keeps its digits", () => {
    const quality = [
      { key: "lineside.quality", value: { stringValue: "bad" } },
      { key: "lineside.quality_reason", value: { stringValue: "timeout" } },
    ];
    const { asDouble: _value, ...lost } = point(1, { flags: 1, attributes: quality });
    const book = bookOf([point(0), lost]);
    const [series, ...others] = book.series();
    assert.equal(others.length, 0);
    assert.deepEqual(
      [series?.last_value, series?.last_quality, series?.last_reason, series?.without_value],
      [null, "bad", "timeout", 1],
    );
    const { asDouble: _other, ...integer } = point(2, { asInt: "9007199254740993" });
    book.takeMetrics(request([integer]));
    assert.equal(book.series()[0]?.last_value, 9_007_199_254_740_993n);
  });

  test("is bounded: series, log records, times", () => {
    const labelled = (label: string): NumberDataPoint =>
      point(0, { attributes: [{ key: "l", value: { stringValue: label } }] });
    const book = bookOf([labelled("a"), labelled("b"), labelled("c")], { series_max: 2, logs_max: 2, history: 8 });
    assert.deepEqual([book.points, book.series().length, book.points_of_unknown_series], [3, 2, 1]);
    const logRecords = ["1", "2", "3"].map((name) => ({ eventName: name }));
    book.takeLogs({ resourceLogs: [{ scopeLogs: [{ logRecords }] }] });
    assert.deepEqual([book.logs, book.kept().map(({ name }) => name)], [3, ["2", "3"]]);
    const long = bookOf(
      Array.from({ length: 100 }, (_, second) => point(second)),
      { history: 8 },
    );
    long.takeMetrics(request([point(99), point(3)]));
    // 99 is remembered; 3 is beyond the history, and so looks out of order.
    assert.deepEqual([long.series()[0]?.duplicates, long.series()[0]?.order_violations], [1, 1]);
  });
});

describe("receiver", { timeout: 20_000 }, () => {
  async function start(t: TestContext, options: ReceiverOptions = {}): Promise<Receiver> {
    const receiver = await startReceiver({ grpc_port: null, ...options });
    t.after(() => receiver.stop());
    return receiver;
  }
  const post = (
    receiver: Receiver,
    body: Buffer | string,
    type = "application/x-protobuf",
    path = "/v1/metrics",
  ): Promise<Response> =>
    fetch(receiver.http_endpoint + path, {
      method: "POST",
      body: new Uint8Array(Buffer.from(body)),
      headers: { "content-type": type },
    });

  test("takes protobuf and JSON alike", async (t) => {
    const receiver = await start(t);
    const body = request([point(0), point(1)]);
    assert.equal((await post(receiver, encodeMessage("ExportMetricsServiceRequest", body))).status, 200);
    const response = await post(receiver, JSON.stringify(request([point(2)])), "application/json");
    assert.deepEqual([response.status, await response.json()], [200, {}]);
    assert.equal(receiver.totals().points, 3);
    assert.equal(receiver.series()[0]?.count, 3);
  });

  test("refuses what is not OTLP", async (t) => {
    const receiver = await start(t);
    assert.equal((await post(receiver, "\xff\xff\xff")).status, 400);
    assert.equal((await post(receiver, "{", "application/json")).status, 400);
    assert.equal((await post(receiver, "", "application/x-protobuf", "/v1/traces")).status, 404);
    assert.equal((await fetch(`${receiver.http_endpoint}/v1/metrics`)).status, 405);
    assert.equal(receiver.totals().accepted, 0);
  });

  test("goes down and comes back on the same port, with what it had", async (t) => {
    const receiver = await start(t, { grpc_port: 0 });
    const body = encodeMessage("ExportMetricsServiceRequest", request([point(0)]));
    await post(receiver, body);
    await receiver.setOutage(true);
    assert.equal(receiver.isOut(), true);
    await assert.rejects(post(receiver, body));
    await receiver.setOutage(false);
    assert.equal((await post(receiver, body)).status, 200);
    assert.deepEqual([receiver.totals().points, receiver.totals().duplicates], [2, 1]);
  });

  test("counts without decoding what others decode", async (t) => {
    const receiver = await start(t, { mode: "count" });
    const metrics = request([point(0), point(1), point(2)]);
    const sum = { name: "n", sum: { dataPoints: [point(0)], aggregationTemporality: 2 } };
    metrics.resourceMetrics?.[0]?.scopeMetrics?.[0]?.metrics?.push(sum);
    const logs: LogsRequest = { resourceLogs: [{ scopeLogs: [{ logRecords: [{}, { eventName: "x" }] }, {}] }] };
    await post(receiver, encodeMessage("ExportMetricsServiceRequest", metrics));
    await post(receiver, encodeMessage("ExportLogsServiceRequest", logs), undefined, "/v1/logs");
    assert.deepEqual([receiver.totals().points, receiver.totals().logs], [4, 2]);
    assert.throws(() => countPoints(Buffer.from("0a05", "hex")), /outside its message/);
    assert.throws(() => countLogs(Buffer.from("0b", "hex")), /wire type 3/);
  });
});
