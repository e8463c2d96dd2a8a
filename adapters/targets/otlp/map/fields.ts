/**
 * Field numbers of OTLP 1.x as tag bytes (`number << 3 | wire type`), for the messages that we write.
 * Facts of opentelemetry-proto: collector/{metrics,logs}/v1, metrics/v1, logs/v1, common/v1, resource/v1.
 */
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;

export const REQUEST = { resource: (1 << 3) | BYTES } as const;
/** ResourceMetrics and ResourceLogs. */
export const RESOURCE_ENTRY = { resource: (1 << 3) | BYTES, scope: (2 << 3) | BYTES } as const;
export const RESOURCE = { attributes: (1 << 3) | BYTES } as const;
/** ScopeMetrics and ScopeLogs. */
export const SCOPE_ENTRY = { scope: (1 << 3) | BYTES, items: (2 << 3) | BYTES } as const;
export const SCOPE = { name: (1 << 3) | BYTES, version: (2 << 3) | BYTES } as const;

export const METRIC = {
  name: (1 << 3) | BYTES,
  description: (2 << 3) | BYTES,
  unit: (3 << 3) | BYTES,
  gauge: (5 << 3) | BYTES,
  sum: (7 << 3) | BYTES,
} as const;
/** Gauge and Sum. */
export const DATA = { points: (1 << 3) | BYTES, temporality: (2 << 3) | VARINT, monotonic: (3 << 3) | VARINT } as const;
export const POINT = {
  start: (2 << 3) | FIXED64,
  time: (3 << 3) | FIXED64,
  as_double: (4 << 3) | FIXED64,
  as_int: (6 << 3) | FIXED64,
  attributes: (7 << 3) | BYTES,
  flags: (8 << 3) | VARINT,
} as const;

export const LOG = {
  time: (1 << 3) | FIXED64,
  severity_number: (2 << 3) | VARINT,
  severity_text: (3 << 3) | BYTES,
  body: (5 << 3) | BYTES,
  attributes: (6 << 3) | BYTES,
  observed_time: (11 << 3) | FIXED64,
  event_name: (12 << 3) | BYTES,
} as const;

export const KEY_VALUE = { key: (1 << 3) | BYTES, value: (2 << 3) | BYTES } as const;
export const ANY_VALUE = {
  string: (1 << 3) | BYTES,
  bool: (2 << 3) | VARINT,
  int: (3 << 3) | VARINT,
  double: (4 << 3) | FIXED64,
  array: (5 << 3) | BYTES,
} as const;
export const ARRAY_VALUE = { values: (1 << 3) | BYTES } as const;

/** AggregationTemporality. */
export const CUMULATIVE = 2;
/** DataPointFlags: the point says that there is no value. */
export const NO_RECORDED_VALUE = 1;
/** SeverityNumber and the text that stands beside it. */
export const SEVERITY = {
  info: { number: 9, text: "INFO" },
  warn: { number: 13, text: "WARN" },
  error: { number: 17, text: "ERROR" },
} as const;
