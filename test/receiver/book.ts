/**
 * What a receiver remembers of what it got: per series the last value, how often, from when to when,
 * what came twice, out of order or not at all; and the log records. All of it bounded.
 */
import type { AnyValue, KeyValue, LogsRequest, MetricsRequest, NumberDataPoint } from "./proto.ts";

export type Value = string | number | bigint | boolean | readonly Value[] | null;
export type Values = Readonly<Record<string, Value>>;

export interface SeriesView {
  /** `device.id` of the resource. */
  readonly device: string;
  readonly resource: Values;
  readonly scope: string;
  readonly metric: string;
  readonly unit: string;
  readonly kind: "gauge" | "sum";
  readonly monotonic: boolean;
  /** Of the series: without those that speak of one reading's quality. */
  readonly attributes: Values;
  readonly count: number;
  /** Points flagged NO_RECORDED_VALUE. */
  readonly without_value: number;
  readonly uncertain: number;
  /** Of the newest point; null where it has none. int64 beyond 2^53 is a bigint. */
  readonly last_value: number | bigint | null;
  readonly last_quality: "good" | "uncertain" | "bad";
  readonly last_reason: string;
  readonly last_start_us: number;
  readonly first_time_us: number;
  readonly last_time_us: number;
  /** Points with a time that had come before. */
  readonly duplicates: number;
  /** New points older than one that came before them. */
  readonly order_violations: number;
  /** Steps longer than `gap_us`; the first ones are in `gaps`. */
  readonly gap_count: number;
  readonly gaps: readonly { readonly from_us: number; readonly to_us: number }[];
}

export interface LogView {
  readonly device: string;
  readonly resource: Values;
  readonly scope: string;
  readonly name: string;
  readonly severity: string;
  readonly body: Value;
  readonly attributes: Values;
  readonly time_us: number;
  readonly observed_time_us: number;
}

export interface BookOptions {
  /** A step between two points of a series that is longer counts as a gap. Default: 5 s. */
  readonly gap_us?: number;
  /** Series remembered; points of further ones are only counted. Default: 100,000. */
  readonly series_max?: number;
  /** Log records kept, the oldest go first. Default: 10,000. */
  readonly logs_max?: number;
  /** Times remembered per series, to tell a duplicate from a point out of order. Default: 4,096. */
  readonly history?: number;
}

const GAPS_KEPT = 64;
const QUALITY = "lineside.quality";
const REASON = "lineside.quality_reason";

type Writable<T> = { -readonly [K in keyof T]: T[K] };
interface Entry extends Writable<Omit<SeriesView, "gaps">> {
  gaps: { from_us: number; to_us: number }[];
  /** The newest times in order, a ring that ends before `next`. */
  times: Float64Array;
  held: number;
}

export class Book {
  readonly #options: Required<BookOptions>;
  readonly #series = new Map<string, Entry>();
  readonly #logs: LogView[] = [];
  points = 0;
  points_without_value = 0;
  points_of_unknown_series = 0;
  logs = 0;

  constructor(options: BookOptions) {
    this.#options = { gap_us: 5_000_000, series_max: 100_000, logs_max: 10_000, history: 4096, ...options };
  }

  takeMetrics(request: MetricsRequest): void {
    for (const { resource, scopeMetrics } of request.resourceMetrics ?? []) {
      const attributes = valuesOf(resource?.attributes);
      for (const { scope, metrics } of scopeMetrics ?? []) {
        for (const { name = "", unit = "", gauge, sum } of metrics ?? []) {
          for (const point of (gauge ?? sum)?.dataPoints ?? []) {
            const identity = {
              resource: attributes,
              scope: scope?.name ?? "",
              metric: name,
              unit,
              kind: gauge ? ("gauge" as const) : ("sum" as const),
              monotonic: sum?.isMonotonic ?? false,
            };
            this.#takePoint(identity, point);
          }
        }
      }
    }
  }

  takeLogs(request: LogsRequest): void {
    for (const { resource, scopeLogs } of request.resourceLogs ?? []) {
      const attributes = valuesOf(resource?.attributes);
      for (const { scope, logRecords } of scopeLogs ?? []) {
        for (const record of logRecords ?? []) {
          this.logs++;
          this.#logs.push({
            device: String(attributes["device.id"] ?? ""),
            resource: attributes,
            scope: scope?.name ?? "",
            name: record.eventName ?? "",
            severity: record.severityText ?? "",
            body: valueOf(record.body),
            attributes: valuesOf(record.attributes),
            time_us: micros(record.timeUnixNano),
            observed_time_us: micros(record.observedTimeUnixNano),
          });
        }
      }
    }
    const excess = this.#logs.length - this.#options.logs_max;
    if (excess > 0) this.#logs.splice(0, excess);
  }

  series(): SeriesView[] {
    return [...this.#series.values()].map(({ times: _times, held: _held, gaps, ...view }) => ({
      ...view,
      gaps: [...gaps],
    }));
  }

  kept(): readonly LogView[] {
    return this.#logs;
  }

  clear(): void {
    this.#series.clear();
    this.#logs.length = 0;
    this.points = this.points_without_value = this.points_of_unknown_series = this.logs = 0;
  }

  sums(): { series: number; duplicates: number; order_violations: number; gaps: number } {
    const sums = { series: this.#series.size, duplicates: 0, order_violations: 0, gaps: 0 };
    for (const entry of this.#series.values()) {
      sums.duplicates += entry.duplicates;
      sums.order_violations += entry.order_violations;
      sums.gaps += entry.gap_count;
    }
    return sums;
  }

  #takePoint(
    identity: Pick<Entry, "resource" | "scope" | "metric" | "unit" | "kind" | "monotonic">,
    point: NumberDataPoint,
  ): void {
    const { [QUALITY]: quality, [REASON]: reason, ...attributes } = valuesOf(point.attributes);
    const without_value = ((point.flags ?? 0) & 1) === 1;
    this.points++;
    if (without_value) this.points_without_value++;
    const device = String(identity.resource["device.id"] ?? "");
    const key = JSON.stringify([device, identity.scope, identity.metric, identity.unit, attributes], plain);
    const time_us = micros(point.timeUnixNano);
    let entry = this.#series.get(key);
    if (!entry) {
      if (this.#series.size >= this.#options.series_max) {
        this.points_of_unknown_series++;
        return;
      }
      entry = {
        device,
        ...identity,
        attributes,
        count: 0,
        without_value: 0,
        uncertain: 0,
        last_value: null,
        last_quality: "good",
        last_reason: "",
        last_start_us: 0,
        first_time_us: time_us,
        last_time_us: -Infinity,
        duplicates: 0,
        order_violations: 0,
        gap_count: 0,
        gaps: [],
        times: new Float64Array(Math.min(64, this.#options.history)),
        held: 0,
      };
      this.#series.set(key, entry);
    }
    entry.count++;
    if (without_value) entry.without_value++;
    if (quality === "uncertain") entry.uncertain++;
    if (time_us <= entry.last_time_us) {
      if (remembers(entry, time_us)) entry.duplicates++;
      else entry.order_violations++;
      return;
    }
    if (time_us - entry.last_time_us > this.#options.gap_us && entry.last_time_us > 0) {
      entry.gap_count++;
      if (entry.gaps.length < GAPS_KEPT) entry.gaps.push({ from_us: entry.last_time_us, to_us: time_us });
    }
    entry.last_time_us = time_us;
    entry.last_start_us = micros(point.startTimeUnixNano);
    entry.last_value = without_value ? null : numberOf(point);
    entry.last_quality = without_value ? "bad" : quality === "uncertain" ? "uncertain" : "good";
    entry.last_reason = String(reason ?? "");
    this.#remember(entry, time_us);
  }

  #remember(entry: Entry, time_us: number): void {
    if (entry.held === entry.times.length) {
      if (entry.held < this.#options.history) {
        const larger = new Float64Array(Math.min(entry.held * 2, this.#options.history));
        larger.set(entry.times);
        entry.times = larger;
      } else {
        // The older half goes; once in history/2 points.
        const keep = this.#options.history >> 1;
        entry.times.copyWithin(0, entry.held - keep, entry.held);
        entry.held = keep;
      }
    }
    entry.times[entry.held++] = time_us;
  }
}

/** The times are in order: binary search. */
function remembers(entry: Entry, time_us: number): boolean {
  let low = 0;
  let high = entry.held;
  while (low < high) {
    const middle = (low + high) >> 1;
    const at = entry.times[middle] ?? 0;
    if (at === time_us) return true;
    if (at < time_us) low = middle + 1;
    else high = middle;
  }
  return false;
}

const plain = (_key: string, value: unknown): unknown => (typeof value === "bigint" ? `${value}n` : value);

/** Microseconds from the nanoseconds of OTLP's JSON. */
export const micros = (nanos: string | undefined): number => (nanos === undefined ? 0 : Number(BigInt(nanos) / 1000n));

function integer(text: string): number | bigint {
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : BigInt(text);
}

/** int64 beyond 2^53 is a bigint; null where the point has no value. */
export function numberOf(point: NumberDataPoint): number | bigint | null {
  if (point.asInt !== undefined) return integer(point.asInt);
  return point.asDouble === undefined ? null : Number(point.asDouble);
}

export function valueOf(value: AnyValue | undefined): Value {
  if (value?.stringValue !== undefined) return value.stringValue;
  if (value?.boolValue !== undefined) return value.boolValue;
  if (value?.intValue !== undefined) return integer(value.intValue);
  if (value?.doubleValue !== undefined) return Number(value.doubleValue);
  return value?.arrayValue ? (value.arrayValue.values ?? []).map(valueOf) : null;
}

export function valuesOf(attributes: readonly KeyValue[] | undefined): Values {
  return Object.fromEntries((attributes ?? []).map(({ key, value }) => [key, valueOf(value)]));
}
