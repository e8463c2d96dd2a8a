/**
 * OTLP and google.rpc.Status for protobufjs, for the receiving side: kept apart from the adapter's own
 * field table, so that one mistake cannot hide in both. Field numbers and types are facts of
 * opentelemetry-proto 1.x and googleapis; names are in lowerCamelCase, as OTLP's JSON has them.
 */
import protobuf from "protobufjs/light.js";

/** `name: "type number"`, with `*` behind the type of a repeated field. */
type Fields = Readonly<Record<string, string>>;

const message = (fields: Fields, oneof: readonly string[] = []): protobuf.IType => ({
  fields: Object.fromEntries(
    Object.entries(fields).map(([name, text]) => {
      const [type = "", id = "0"] = text.split(" ");
      const repeated = type.endsWith("*");
      return [
        name,
        { type: repeated ? type.slice(0, -1) : type, id: Number(id), ...(repeated && { rule: "repeated" }) },
      ];
    }),
  ),
  ...(oneof.length > 0 && { oneofs: { choice: { oneof: [...oneof] } } }),
});

const root = protobuf.Root.fromJSON({
  nested: {
    AnyValue: message(
      {
        stringValue: "string 1",
        boolValue: "bool 2",
        intValue: "int64 3",
        doubleValue: "double 4",
        arrayValue: "ArrayValue 5",
        kvlistValue: "KeyValueList 6",
        bytesValue: "bytes 7",
      },
      ["stringValue", "boolValue", "intValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue"],
    ),
    ArrayValue: message({ values: "AnyValue* 1" }),
    KeyValueList: message({ values: "KeyValue* 1" }),
    KeyValue: message({ key: "string 1", value: "AnyValue 2" }),
    InstrumentationScope: message({
      name: "string 1",
      version: "string 2",
      attributes: "KeyValue* 3",
      droppedAttributesCount: "uint32 4",
    }),
    Resource: message({ attributes: "KeyValue* 1", droppedAttributesCount: "uint32 2" }),

    ExportMetricsServiceRequest: message({ resourceMetrics: "ResourceMetrics* 1" }),
    ResourceMetrics: message({ resource: "Resource 1", scopeMetrics: "ScopeMetrics* 2", schemaUrl: "string 3" }),
    ScopeMetrics: message({ scope: "InstrumentationScope 1", metrics: "Metric* 2", schemaUrl: "string 3" }),
    Metric: message(
      {
        name: "string 1",
        description: "string 2",
        unit: "string 3",
        gauge: "Gauge 5",
        sum: "Sum 7",
        metadata: "KeyValue* 12",
      },
      ["gauge", "sum"],
    ),
    Gauge: message({ dataPoints: "NumberDataPoint* 1" }),
    Sum: message({ dataPoints: "NumberDataPoint* 1", aggregationTemporality: "int32 2", isMonotonic: "bool 3" }),
    NumberDataPoint: message(
      {
        startTimeUnixNano: "fixed64 2",
        timeUnixNano: "fixed64 3",
        asDouble: "double 4",
        asInt: "sfixed64 6",
        attributes: "KeyValue* 7",
        flags: "uint32 8",
      },
      ["asDouble", "asInt"],
    ),
    ExportMetricsServiceResponse: message({ partialSuccess: "ExportMetricsPartialSuccess 1" }),
    ExportMetricsPartialSuccess: message({ rejectedDataPoints: "int64 1", errorMessage: "string 2" }),

    ExportLogsServiceRequest: message({ resourceLogs: "ResourceLogs* 1" }),
    ResourceLogs: message({ resource: "Resource 1", scopeLogs: "ScopeLogs* 2", schemaUrl: "string 3" }),
    ScopeLogs: message({ scope: "InstrumentationScope 1", logRecords: "LogRecord* 2", schemaUrl: "string 3" }),
    LogRecord: message({
      timeUnixNano: "fixed64 1",
      observedTimeUnixNano: "fixed64 11",
      severityNumber: "int32 2",
      severityText: "string 3",
      body: "AnyValue 5",
      attributes: "KeyValue* 6",
      droppedAttributesCount: "uint32 7",
      flags: "fixed32 8",
      traceId: "bytes 9",
      spanId: "bytes 10",
      eventName: "string 12",
    }),
    ExportLogsServiceResponse: message({ partialSuccess: "ExportLogsPartialSuccess 1" }),
    ExportLogsPartialSuccess: message({ rejectedLogRecords: "int64 1", errorMessage: "string 2" }),

    Status: message({ code: "int32 1", message: "string 2", details: "Any* 3" }),
    Any: message({ type_url: "string 1", value: "bytes 2" }),
    RetryInfo: message({ retryDelay: "Duration 1" }),
    Duration: message({ seconds: "int64 1", nanos: "int32 2" }),
  },
});

/** 64-bit integers are decimal strings, as in OTLP's JSON. */
export type Json64 = string;
export interface AnyValue {
  stringValue?: string;
  boolValue?: boolean;
  intValue?: Json64;
  doubleValue?: number | "NaN" | "Infinity" | "-Infinity";
  arrayValue?: { values?: AnyValue[] };
}
export interface KeyValue {
  key: string;
  value?: AnyValue;
}
export interface NumberDataPoint {
  startTimeUnixNano?: Json64;
  timeUnixNano?: Json64;
  asDouble?: number | "NaN" | "Infinity" | "-Infinity";
  asInt?: Json64;
  attributes?: KeyValue[];
  flags?: number;
}
export interface Metric {
  name?: string;
  description?: string;
  unit?: string;
  gauge?: { dataPoints?: NumberDataPoint[] };
  sum?: { dataPoints?: NumberDataPoint[]; aggregationTemporality?: number; isMonotonic?: boolean };
}
export interface Scope {
  name?: string;
  version?: string;
}
export interface MetricsRequest {
  resourceMetrics?: {
    resource?: { attributes?: KeyValue[] };
    scopeMetrics?: { scope?: Scope; metrics?: Metric[] }[];
  }[];
}
export interface LogRecord {
  timeUnixNano?: Json64;
  observedTimeUnixNano?: Json64;
  severityNumber?: number;
  severityText?: string;
  body?: AnyValue;
  attributes?: KeyValue[];
  eventName?: string;
}
export interface LogsRequest {
  resourceLogs?: {
    resource?: { attributes?: KeyValue[] };
    scopeLogs?: { scope?: Scope; logRecords?: LogRecord[] }[];
  }[];
}

/** A request of either signal; the other one's member is missing. */
export interface OtlpRequest extends MetricsRequest, LogsRequest {}

/** Decodes a request into the shape of its JSON. Throws where the bytes are no such message. */
function decoder(name: string): (bytes: Uint8Array) => OtlpRequest {
  const type = root.lookupType(name);
  return (bytes) => {
    // toObject gives what the descriptor above says, of which this is the type.
    const decoded: unknown = type.toObject(type.decode(bytes), { longs: String, json: true });
    return decoded as OtlpRequest;
  };
}

export const decodeMetricsRequest = decoder("ExportMetricsServiceRequest");
export const decodeLogsRequest = decoder("ExportLogsServiceRequest");

export function encodeMessage(name: string, value: object): Buffer {
  const type = root.lookupType(name);
  return Buffer.from(type.encode(type.fromObject(value)).finish());
}

/** For benchmarks: the reflected type itself. */
export const typeOf = (name: string): protobuf.Type => root.lookupType(name);
