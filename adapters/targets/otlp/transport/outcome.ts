/**
 * What an answer means for the batch, by the OTLP specification ('OTLP/gRPC Response', 'OTLP/HTTP
 * Response', 'Failures'), with what an agent that must not lose data makes of its silence:
 * wrong credentials, endpoints and redirects wait for a person instead of dropping, too much is split.
 */
import type { Outcome } from "../../../contract.ts";
import type { Signal } from "../map/encode.ts";
import type { PartialSuccess, StatusDetails } from "./response.ts";

/** gRPC status codes by number (grpc/status.h). */
export const GRPC_NAMES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;
const GRPC_RETRIED = new Set(["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"]);
const HTTP_RETRIED = new Set([429, 502, 503, 504]);
/** What a receiver says of itself is cut here before it gets into logs. */
const MESSAGE_MAX = 200;
/** A wait that somebody asks for is honoured up to here. */
const WAIT_MAX_MS = 60 * 60 * 1000;

/**
 * Nobody takes OTLP metrics there: a mistyped endpoint, a proxy in front of nothing. Nobody has refused the
 * data, so it waits for a person. Logs alone may well not be taken: many backends are for metrics only.
 */
const notThere = (signal: Signal, reason: string): Outcome =>
  signal === "metrics"
    ? { kind: "retry", reason: `${reason}: check the endpoint of this target` }
    : { kind: "refused", reason };

export function grpcOutcome(signal: Signal, code: number, message: string, details: StatusDetails | null): Outcome {
  const name = GRPC_NAMES[code] ?? `code ${code}`;
  const reason = said(name, message);
  const wait = details?.wait_ms ?? null;
  if (name === "UNAUTHENTICATED" || name === "PERMISSION_DENIED") {
    return { kind: "retry", reason: `${reason}: check the credentials (headers, tls) of this target` };
  }
  if (name === "RESOURCE_EXHAUSTED") return wait === null ? { kind: "too_large", reason } : retry(reason, wait);
  if (GRPC_RETRIED.has(name)) return retry(reason, wait);
  if (name === "UNIMPLEMENTED") return notThere(signal, reason);
  return { kind: "refused", reason };
}

/** For any status but 2xx. */
export function httpOutcome(
  signal: Signal,
  status: number,
  message: string,
  retry_after: string | undefined,
  now_us: number,
): Outcome {
  const reason = said(`HTTP ${status}`, message);
  if (status === 401 || status === 403) {
    return { kind: "retry", reason: `${reason}: check the credentials (headers, tls) of this target` };
  }
  if (status === 413) return { kind: "too_large", reason };
  if (HTTP_RETRIED.has(status)) return retry(reason, retryAfter(retry_after, now_us));
  // A redirect answers for another place (a login page, a moved receiver): nobody has refused the data.
  if (status === 404 || status === 405) return notThere(signal, reason);
  if (status < 400) return { kind: "retry", reason: `${reason}: check the endpoint of this target` };
  return { kind: "refused", reason };
}

export function deliveredOutcome(partial: PartialSuccess | null): Outcome {
  if (partial === null) return { kind: "delivered", rejected: 0 };
  const reason = said(
    partial.rejected > 0 ? `partial success, ${partial.rejected} rejected` : "warning of the receiver",
    partial.message,
  );
  return { kind: "delivered", rejected: partial.rejected, reason };
}

/** Retry-After in milliseconds from now: a number of seconds or an HTTP date (RFC 9110, 10.2.3). */
export function retryAfter(header: string | undefined, now_us: number): number | null {
  if (header === undefined) return null;
  if (/^\s*\d+\s*$/.test(header)) return Number(header) * 1000;
  const date_ms = Date.parse(header);
  return Number.isNaN(date_ms) ? null : Math.max(0, Math.ceil(date_ms - now_us / 1000));
}

function retry(reason: string, wait_ms: number | null): Outcome {
  return wait_ms === null
    ? { kind: "retry", reason }
    : { kind: "retry", reason, wait_ms: Math.min(wait_ms, WAIT_MAX_MS) };
}

/** `what: message` on one line, of a bounded length. */
export function said(what: string, message: string): string {
  // oxlint-disable-next-line no-control-regex -- a stranger's text must not control the terminal
  const clean = message.replace(/[\x00-\x1f\x7f]+/g, " ").trim();
  if (clean === "") return what;
  return `${what}: ${clean.length > MESSAGE_MAX ? `${clean.slice(0, MESSAGE_MAX)}...` : clean}`;
}
