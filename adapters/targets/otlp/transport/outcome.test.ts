import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Outcome } from "../../../contract.ts";
import { encodeMessage } from "#test/receiver/proto.ts";
import { deliveredOutcome, GRPC_NAMES, grpcOutcome, httpOutcome, retryAfter, said } from "./outcome.ts";
import { partialSuccess, partialSuccessOfJson, statusDetails } from "./response.ts";

const NOW_US = Date.UTC(2026, 10, 22, 12, 0, 0) * 1000;
const http = (status: number, retry_after?: string): Outcome => httpOutcome("metrics", status, "", retry_after, NOW_US);

describe("OTLP outcomes", () => {
  test("any bytes are an answer or none: whole counts, waits within bounds, nothing thrown", () => {
    const partial = encodeMessage("ExportMetricsServiceResponse", {
      partialSuccess: { rejectedDataPoints: 5, errorMessage: "late" },
    });
    const damaged = fc
      .array(fc.tuple(fc.nat(partial.length - 1), fc.nat(255)), { maxLength: 4 })
      .map((flips) => flips.reduce((bytes, [at, byte]) => bytes.with(at, byte), Uint8Array.from(partial)));
    fc.assert(
      fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 60 })), (bytes) => {
        for (const told of [partialSuccess(bytes), partialSuccessOfJson("logs", bytes)]) {
          assert.ok(told === null || (Number.isInteger(told.rejected) && told.rejected >= 0));
        }
        const outcome = grpcOutcome("metrics", 14, "", statusDetails(bytes));
        assert.ok(outcome.kind === "retry" && (outcome.wait_ms ?? 0) >= 0 && (outcome.wait_ms ?? 0) <= 3_600_000);
      }),
      { numRuns: 2000 },
    );
  });

  test("a count that is none costs no reading, and no fraction of one", () => {
    const rejected = (json: string): number =>
      partialSuccessOfJson(
        "metrics",
        Buffer.from(`{"partialSuccess":{"rejectedDataPoints":${json},"errorMessage":"m"}}`),
      )?.rejected ?? Number.NaN;
    assert.deepEqual(
      ['"2.5"', "2.5", "-3", '"x"', "true", "{}", "null", '"7"', "1e999"].map(rejected),
      [2, 2, 0, 0, 0, 0, 0, 7, 0],
    );
  });

  test("gRPC codes: the specification's table, but credentials wait for a person", () => {
    const kinds = Object.fromEntries(
      GRPC_NAMES.map((name, code) => [name, grpcOutcome("metrics", code, "", null).kind]),
    );
    assert.deepEqual(kinds, {
      OK: "refused", // Never asked about; not a way to be delivered.
      CANCELLED: "retry",
      UNKNOWN: "refused",
      INVALID_ARGUMENT: "refused",
      DEADLINE_EXCEEDED: "retry",
      NOT_FOUND: "refused",
      ALREADY_EXISTS: "refused",
      PERMISSION_DENIED: "retry",
      RESOURCE_EXHAUSTED: "too_large",
      FAILED_PRECONDITION: "refused",
      ABORTED: "retry",
      OUT_OF_RANGE: "retry",
      UNIMPLEMENTED: "retry",
      INTERNAL: "refused",
      UNAVAILABLE: "retry",
      DATA_LOSS: "retry",
      UNAUTHENTICATED: "retry",
    });
    assert.deepEqual(grpcOutcome("metrics", 8, "slow down", { message: "", wait_ms: 1500 }), {
      kind: "retry",
      reason: "RESOURCE_EXHAUSTED: slow down",
      wait_ms: 1500,
    });
    assert.match(
      grpcOutcome("metrics", 16, "no token", null).reason ?? "",
      /^UNAUTHENTICATED: no token: check the credentials/,
    );
    assert.deepEqual(grpcOutcome("metrics", 99, "", null), { kind: "refused", reason: "code 99" });
  });

  test("HTTP: 429, 502, 503 and 504 are retried, 413 is split, credentials, endpoints and redirects wait, the rest is refused", () => {
    const kinds = (...codes: number[]): string[] => [...new Set(codes.map((code) => http(code).kind))];
    assert.deepEqual(kinds(429, 502, 503, 504, 401, 403, 301, 302, 307, 308, 404, 405), ["retry"]);
    assert.deepEqual(kinds(413), ["too_large"]);
    assert.deepEqual(kinds(400, 408, 415, 422, 500, 501, 505), ["refused"]);
    assert.match(http(403).reason ?? "", /check the credentials/);
    assert.match(http(302).reason ?? "", /check the endpoint/);
    assert.match(http(404).reason ?? "", /check the endpoint/);
    // A backend for metrics alone: its logs are refused, and the numbers go on.
    assert.equal(httpOutcome("logs", 404, "", undefined, NOW_US).kind, "refused");
    assert.equal(grpcOutcome("logs", 12, "", null).kind, "refused");
  });

  test("Retry-After: seconds, a date, nonsense, a date long ago, far too long", () => {
    assert.equal(retryAfter("120", NOW_US), 120_000);
    assert.equal(retryAfter("Sun, 22 Nov 2026 12:01:30 GMT", NOW_US), 90_000);
    assert.equal(retryAfter("Sun, 22 Nov 2020 12:01:30 GMT", NOW_US), 0);
    assert.equal(retryAfter("soon", NOW_US), null);
    assert.equal(retryAfter(undefined, NOW_US), null);
    assert.deepEqual(http(429, "3"), { kind: "retry", reason: "HTTP 429", wait_ms: 3000 });
    assert.deepEqual(http(503, "31536000"), { kind: "retry", reason: "HTTP 503", wait_ms: 3_600_000 });
    assert.deepEqual(http(503), { kind: "retry", reason: "HTTP 503" });
  });

  test("partial success, in protobuf and JSON: rejected is counted, a message alone is a warning, an empty one is none", () => {
    const bytes = (rejectedDataPoints: number, errorMessage: string): Buffer =>
      encodeMessage("ExportMetricsServiceResponse", { partialSuccess: { rejectedDataPoints, errorMessage } });
    assert.deepEqual(deliveredOutcome(partialSuccess(bytes(3, "too old"))), {
      kind: "delivered",
      rejected: 3,
      reason: "partial success, 3 rejected: too old",
    });
    assert.deepEqual(deliveredOutcome(partialSuccess(bytes(0, "deprecated"))), {
      kind: "delivered",
      rejected: 0,
      reason: "warning of the receiver: deprecated",
    });
    assert.equal(partialSuccess(bytes(0, "")), null);
    assert.equal(partialSuccess(Buffer.alloc(0)), null);
    assert.equal(partialSuccess(Buffer.from("not protobuf")), null);
    const json = (text: string) => partialSuccessOfJson("logs", Buffer.from(text));
    assert.deepEqual(json('{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"x"}}'), {
      rejected: 2,
      message: "x",
    });
    assert.deepEqual(json('{"partialSuccess":{"errorMessage":"x"}}'), { rejected: 0, message: "x" });
    for (const text of [
      "{}",
      "",
      "[",
      "null",
      '{"partialSuccess":null}',
      '{"partialSuccess":{"rejectedLogRecords":"many"}}',
    ]) {
      assert.equal(json(text), null, text);
    }
  });

  test("google.rpc.Status: RetryInfo among other details, and bytes that are none", () => {
    const info = encodeMessage("RetryInfo", { retryDelay: { seconds: 2, nanos: 1_500_000 } });
    const details = [
      { type_url: "type.googleapis.com/google.rpc.DebugInfo", value: Buffer.from([1]) },
      { type_url: "type.googleapis.com/google.rpc.RetryInfo", value: info },
    ];
    assert.deepEqual(statusDetails(encodeMessage("Status", { code: 8, message: "m", details })), {
      message: "m",
      wait_ms: 2002,
    });
    assert.deepEqual(statusDetails(encodeMessage("Status", { code: 8, message: "m" })), {
      message: "m",
      wait_ms: null,
    });
    assert.equal(statusDetails(Buffer.from([0xff])), null);
  });

  test("what a stranger says is one line of bounded length without control characters", () => {
    assert.equal(said("HTTP 400", " a\r\n\x1b[31mb "), "HTTP 400: a [31mb");
    assert.equal(said("x", "y".repeat(1000)).length, "x: ".length + 200 + "...".length);
  });
});
