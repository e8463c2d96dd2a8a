/**
 * Batch to the JSON of OTLP/HTTP: the same mapping as metrics.ts and logs.ts, in proto3's JSON with
 * OTLP's own rules (lowerCamelCase names, enums as integers, 64-bit integers as strings).
 *
 * Built as text: a data point is its time and value between strings that were made once.
 */
import type { Attributes, Batch, Descriptor } from "../../../contract.ts";
import type { Frame } from "../../../frame.ts";
import { isBad, type Quality } from "../../../quality.ts";
import { CUMULATIVE, NO_RECORDED_VALUE, SEVERITY } from "./fields.ts";
import { eachLogRecord, type LogRecord } from "./logs.ts";
import { activeState, isOn, qualityAttributes, type Shape, shapeOf } from "./shape.ts";
import type { AttributeValue } from "./writer.ts";

export interface JsonEncoderOptions {
  readonly quality_attributes: boolean;
  readonly bytes_max: number;
}

interface Plan {
  readonly shape: Shape;
  /** The members `resource` and `scope` of an entry. */
  readonly resource: string;
  readonly scope: string;
  /** Of each metric: what stands before and after its data points. */
  readonly metrics: readonly { readonly head: string; readonly tail: string }[];
  /** Of each series and data point: the member `attributes` of a good reading. */
  readonly attributes: readonly (readonly string[])[];
}

export class JsonEncoder {
  readonly #options: JsonEncoderOptions;
  readonly #plans = new WeakMap<Descriptor, Plan>();

  constructor(options: JsonEncoderOptions) {
    this.#options = options;
  }

  /** ExportMetricsServiceRequest; null where the batch has no number. */
  metrics(batch: Batch): Buffer | null | "too_large" {
    const groups = new Map<Descriptor, string[]>();
    for (const { descriptor, frame } of batch.frames) {
      let points = groups.get(descriptor);
      if (!points) groups.set(descriptor, (points = []));
      this.#addPoints(this.#planOf(descriptor), frame, points);
    }
    const entries: string[] = [];
    for (const [descriptor, points] of groups) {
      const plan = this.#planOf(descriptor);
      const metrics = plan.metrics.flatMap(({ head, tail }, index) => {
        const text = points[index];
        return text === undefined ? [] : [head + text + tail];
      });
      if (metrics.length > 0) {
        entries.push(`{${plan.resource},"scopeMetrics":[{${plan.scope},"metrics":[${metrics.join()}]}]}`);
      }
    }
    return this.#finish("resourceMetrics", entries);
  }

  /** ExportLogsServiceRequest; null where the batch has neither text nor event. */
  logs(batch: Batch): Buffer | null | "too_large" {
    const groups = new Map<Descriptor, string[]>();
    eachLogRecord(batch, (descriptor, record) => {
      const records = groups.get(descriptor);
      if (records) records.push(logRecord(record));
      else groups.set(descriptor, [logRecord(record)]);
    });
    const entries = [...groups].map(([descriptor, records]) => {
      const plan = this.#planOf(descriptor);
      return `{${plan.resource},"scopeLogs":[{${plan.scope},"logRecords":[${records.join()}]}]}`;
    });
    return this.#finish("resourceLogs", entries);
  }

  #finish(name: string, entries: readonly string[]): Buffer | null | "too_large" {
    if (entries.length === 0) return null;
    const body = Buffer.from(`{"${name}":[${entries.join()}]}`);
    return body.length > this.#options.bytes_max ? "too_large" : body;
  }

  #planOf(descriptor: Descriptor): Plan {
    const known = this.#plans.get(descriptor);
    if (known) return known;
    const shape = shapeOf(descriptor);
    const { name, version } = descriptor.scope;
    const plan: Plan = {
      shape,
      resource: `"resource":{${attributesMember(descriptor.resource)}}`,
      scope: `"scope":{"name":${quote(name)},"version":${quote(version)}}`,
      metrics: shape.metrics.map((metric) => {
        const { sum, monotonic } = metric;
        const identity = `"name":${quote(metric.name)},"description":${quote(metric.description)},"unit":${quote(metric.unit)}`;
        const kind = sum ? `,"aggregationTemporality":${CUMULATIVE}${monotonic ? ',"isMonotonic":true' : ""}` : "";
        return { head: `{${identity},"${sum ? "sum" : "gauge"}":{"dataPoints":[`, tail: `]${kind}}}` };
      }),
      attributes: shape.series.map((series) => series.members.map(attributesMember)),
    };
    this.#plans.set(descriptor, plan);
    return plan;
  }

  /** Adds each number of a frame to the text of its metric's data points. */
  #addPoints(plan: Plan, frame: Frame, texts: string[]): void {
    const { shape } = plan;
    for (let row = 0; row < frame.count; row++) {
      const index = frame.points[row] ?? -1;
      const series = shape.series[index];
      if (!series || series.metric < 0) continue;
      const quality = frame.quality[row] ?? 0;
      const own = frame.times_us?.[row] ?? 0;
      const start_us = series.start ? (frame.starts_us?.[row] ?? 0) : 0;
      const start = start_us > 0 ? `"startTimeUnixNano":"${nanos(start_us)}",` : "";
      const head = `{${start}"timeUnixNano":"${nanos(own > 0 ? own : frame.time_us)}"`;
      const flags = isBad(quality) ? `,"flags":${NO_RECORDED_VALUE}` : "";
      const values = isBad(quality) ? null : valuesOf(series, frame, row);
      let text = texts[series.metric];
      for (let member = 0; member < series.members.length; member++) {
        const value = values === null ? "" : series.states ? values[member] : values[0];
        const point = `${head}${value},${this.#attributes(plan, index, member, quality)}${flags}}`;
        text = text === undefined ? point : `${text},${point}`;
      }
      if (text !== undefined) texts[series.metric] = text;
    }
  }

  #attributes(plan: Plan, series: number, member: number, quality: Quality): string {
    if ((quality & 3) === 0 || !this.#options.quality_attributes)
      return plan.attributes[series]?.[member] ?? '"attributes":[]';
    return attributesMember({ ...plan.shape.series[series]?.members[member], ...qualityAttributes(quality) });
  }
}

/** The member that carries the value, of each data point of a reading. */
function valuesOf(series: Shape["series"][number], frame: Frame, row: number): string[] {
  const { states } = series;
  if (states === null) {
    if (series.int) return [`,"asInt":"${frame.ints[row]}"`];
    return [`,"asDouble":${double(frame.doubles[row] ?? NaN)}`];
  }
  const code = series.int ? Number(frame.ints[row]) : (frame.doubles[row] ?? NaN);
  const low = series.int ? (frame.words[row * 2] ?? 0) : code | 0;
  const high = series.int ? (frame.words[row * 2 + 1] ?? 0) : Math.floor(code / 4294967296) | 0;
  const active = activeState(states, code);
  return series.members.map((_, member) => `,"asInt":"${isOn(states, member, active, low, high) ? 1 : 0}"`);
}

function logRecord(record: LogRecord): string {
  const { number, text } = SEVERITY[record.severity];
  const body = record.body === null ? "" : `"body":{"stringValue":${quote(record.body)}},`;
  return (
    `{"timeUnixNano":"${nanos(record.time_us)}","severityNumber":${number},"severityText":"${text}",${body}` +
    `${attributesMember(record.attributes)},"observedTimeUnixNano":"${nanos(record.observed_time_us)}",` +
    `"eventName":${quote(record.name)}}`
  );
}

function attributesMember(attributes: Attributes | Readonly<Record<string, AttributeValue>>): string {
  const pairs = Object.entries(attributes).map(([key, value]) => `{"key":${quote(key)},"value":${anyValue(value)}}`);
  return `"attributes":[${pairs.join()}]`;
}

function anyValue(value: AttributeValue): string {
  if (typeof value === "string") return `{"stringValue":${quote(value)}}`;
  if (typeof value === "boolean") return `{"boolValue":${value}}`;
  if (typeof value === "number") {
    return Number.isSafeInteger(value)
      ? `{"intValue":"${value === 0 ? 0 : value}"}`
      : `{"doubleValue":${double(value)}}`;
  }
  return `{"arrayValue":{"values":[${value.map((item) => anyValue(item)).join()}]}}`;
}

/** JSON has no numbers for these three; proto3 writes them as strings. */
function double(value: number): string {
  if (Number.isFinite(value)) return Object.is(value, -0) ? "-0" : String(value);
  return Number.isNaN(value) ? '"NaN"' : value > 0 ? '"Infinity"' : '"-Infinity"';
}

/** Nanoseconds as decimal digits from microseconds, which may have a fraction. */
function nanos(time_us: number): string {
  const whole = Math.floor(time_us);
  const rest = Math.floor((time_us - whole) * 1000);
  return rest === 0 && whole !== 0
    ? `${whole}000`
    : whole === 0
      ? String(rest)
      : `${whole}${String(rest).padStart(3, "0")}`;
}

/** A JSON string that is also valid UTF-8: half a surrogate pair becomes U+FFFD, as in protobuf. */
function quote(text: string): string {
  return JSON.stringify(text.toWellFormed());
}
