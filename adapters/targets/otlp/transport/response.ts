/**
 * Decodes what receivers answer: ExportMetrics/LogsServiceResponse and google.rpc.Status with RetryInfo.
 * Rare and small, so protobufjs does it, from the few fields that matter here. Most answers are empty.
 */
import protobuf from "protobufjs/light.js";
import type { Signal } from "../map/encode.ts";

const root = protobuf.Root.fromJSON({
  nested: {
    // ExportMetricsServiceResponse and ExportLogsServiceResponse have the same fields under other names.
    Response: { fields: { partial_success: { type: "PartialSuccess", id: 1 } } },
    PartialSuccess: { fields: { rejected: { type: "int64", id: 1 }, error_message: { type: "string", id: 2 } } },
    Status: {
      fields: {
        code: { type: "int32", id: 1 },
        message: { type: "string", id: 2 },
        details: { type: "Any", id: 3, rule: "repeated" },
      },
    },
    Any: { fields: { type_url: { type: "string", id: 1 }, value: { type: "bytes", id: 2 } } },
    RetryInfo: { fields: { retry_delay: { type: "Duration", id: 1 } } },
    Duration: { fields: { seconds: { type: "int64", id: 1 }, nanos: { type: "int32", id: 2 } } },
  },
});
const Response = root.lookupType("Response");
const Status = root.lookupType("Status");
const RetryInfo = root.lookupType("RetryInfo");
const PLAIN = { longs: Number, defaults: true } as const;

export interface PartialSuccess {
  readonly rejected: number;
  readonly message: string;
}

export interface StatusDetails {
  readonly message: string;
  /** What RetryInfo asks for; null where there is none. */
  readonly wait_ms: number | null;
}

/** What was not taken; null where everything was, or where the bytes are no such answer. */
export function partialSuccess(body: Uint8Array): PartialSuccess | null {
  if (body.length === 0) return null;
  try {
    const { partial_success } = Response.toObject(Response.decode(body), PLAIN) as {
      partial_success: { rejected: number; error_message: string } | null;
    };
    return populated(partial_success?.rejected ?? 0, partial_success?.error_message ?? "");
  } catch {
    return null;
  }
}

/** The same of a JSON answer. */
export function partialSuccessOfJson(signal: Signal, body: Uint8Array): PartialSuccess | null {
  const name = signal === "metrics" ? "rejectedDataPoints" : "rejectedLogRecords";
  const partial = member(parsed(body), "partialSuccess");
  // int64 is a string in protobuf's JSON; many write a number all the same.
  const count = member(partial, name);
  const rejected = typeof count === "string" || typeof count === "number" ? Math.trunc(Number(count)) : 0;
  return populated(Number.isFinite(rejected) ? rejected : 0, text(member(partial, "errorMessage")));
}

/** google.rpc.Status; null where the bytes are none. */
export function statusDetails(body: Uint8Array): StatusDetails | null {
  if (body.length === 0) return null;
  try {
    const { message, details } = Status.toObject(Status.decode(body), { ...PLAIN, arrays: true }) as {
      message: string;
      details: { type_url: string; value: Uint8Array }[];
    };
    const info = details.find(({ type_url }) => type_url.endsWith("google.rpc.RetryInfo"));
    if (!info) return { message, wait_ms: null };
    const { retry_delay } = RetryInfo.toObject(RetryInfo.decode(info.value), PLAIN) as {
      retry_delay: { seconds: number; nanos: number } | null;
    };
    return {
      message,
      wait_ms: retry_delay ? Math.max(0, retry_delay.seconds * 1000 + Math.ceil(retry_delay.nanos / 1e6)) : 0,
    };
  } catch {
    return null;
  }
}

/** The message of a google.rpc.Status in JSON. */
export function statusMessageOfJson(body: Uint8Array): string {
  return text(member(parsed(body), "message"));
}

/** An answer with neither a count nor a message says that all is well. */
function populated(rejected: number, message: string): PartialSuccess | null {
  return rejected > 0 || message !== "" ? { rejected: Math.max(0, rejected), message } : null;
}

function parsed(body: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(body).toString());
  } catch {
    return null;
  }
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

const text = (value: unknown): string => (typeof value === "string" ? value : "");
