/**
 * What the series of a device become in OTLP, apart from any encoding. Derived once a list of series.
 *
 *   gauge             Gauge
 *   counter           Sum, cumulative, monotonic where the device only counts up; carries a start time
 *   state with names  Sum, cumulative, not monotonic: one data point a state, 1 or 0, attribute `state`
 *                     (OpenTelemetry semantic conventions, 'State Metrics': an UpDownCounter of unit 1
 *                     with a time series for every possible value; a code without a name is `unknown`)
 *   state with flags  the same, one data point a bit, attribute `flag`
 *   state, no names   Gauge of the code
 *   text              a log record, see logs
 *
 * Series of the same metric name, unit and kind are data points of one Metric.
 */
import type { Attributes, Descriptor, Series } from "../../../contract.ts";
import { classOf, type Quality, reasonOf } from "../../../quality.ts";

/** Attributes of a data point or log record whose reading is not good. */
const QUALITY_ATTRIBUTE = "lineside.quality";
const REASON_ATTRIBUTE = "lineside.quality_reason";
/** The state of a code that the profile does not name. */
export const UNKNOWN_STATE = "unknown";

export interface MetricShape {
  readonly name: string;
  readonly description: string;
  readonly unit: string;
  /** Sum, always cumulative; Gauge otherwise. */
  readonly sum: boolean;
  readonly monotonic: boolean;
}

export interface SeriesShape {
  /** Index in `Shape.metrics`; -1 for text, which becomes log records. */
  readonly metric: number;
  /** Carries the start of its sum. */
  readonly start: boolean;
  /** The value is in `Frame.ints`; in `Frame.doubles` otherwise. */
  readonly int: boolean;
  /** Attributes of each data point of a reading: one, or one a state and flag. */
  readonly members: readonly Attributes[];
  readonly states: StateShape | null;
}

export interface StateShape {
  /** Which member is 1 for a code. */
  readonly member_of_code: ReadonlyMap<number, number>;
  /** The member that is 1 for any other code; -1 where the series has flags alone. */
  readonly unknown: number;
  /** Members from `flags_from` on are flags; bits[i] is the bit of member `flags_from + i`. */
  readonly flags_from: number;
  readonly bits: readonly number[];
}

export interface Shape {
  readonly metrics: readonly MetricShape[];
  readonly series: readonly SeriesShape[];
}

/** Devices of one model share their series, and so what becomes of them. */
const shapes = new WeakMap<Descriptor["series"], Shape>();

export function shapeOf({ series }: Descriptor): Shape {
  let shape = shapes.get(series);
  if (shape === undefined) shapes.set(series, (shape = shapeOfSeries(series)));
  return shape;
}

function shapeOfSeries(all: Descriptor["series"]): Shape {
  const metrics: MetricShape[] = [];
  const index_of = new Map<string, number>();
  const series = all.map((one): SeriesShape => {
    if (one.value === "text") {
      return { metric: -1, start: false, int: false, members: [one.attributes], states: null };
    }
    const named = one.kind === "state" && ((one.states?.length ?? 0) > 0 || (one.flags?.length ?? 0) > 0);
    const shape: MetricShape = {
      name: one.metric,
      description: one.description,
      unit: named ? "1" : one.unit,
      sum: one.kind === "counter" || named,
      monotonic: one.kind === "counter" && one.monotonic,
    };
    const key = JSON.stringify([shape.name, shape.unit, shape.sum, shape.monotonic]);
    let metric = index_of.get(key);
    if (metric === undefined) {
      metric = metrics.push(shape) - 1;
      index_of.set(key, metric);
    }
    const common = { metric, start: one.kind === "counter", int: one.value === "int" };
    return named ? { ...common, ...membersOf(one) } : { ...common, members: [one.attributes], states: null };
  });
  return { metrics, series };
}

function membersOf(series: Series): { members: Attributes[]; states: StateShape } {
  const members: Attributes[] = [];
  const member_of_code = new Map<number, number>();
  let unknown = -1;
  if (series.states && series.states.length > 0) {
    // Two codes may share a name: they are one state.
    const member_of_name = new Map<string, number>();
    const memberOf = (name: string): number => {
      const known = member_of_name.get(name);
      if (known !== undefined) return known;
      const member = members.push({ ...series.attributes, state: name }) - 1;
      member_of_name.set(name, member);
      return member;
    };
    for (const [code, name] of series.states) member_of_code.set(code, memberOf(name));
    unknown = memberOf(UNKNOWN_STATE);
  }
  const flags_from = members.length;
  const flags = series.flags ?? [];
  for (const [, name] of flags) members.push({ ...series.attributes, flag: name });
  return { members, states: { member_of_code, unknown, flags_from, bits: flags.map(([bit]) => bit) } };
}

/**
 * Whether `member` is 1 for a code given as two 32-bit words; `code` is the same as a number, and
 * `active` the member that `activeState` found for it.
 */
export function isOn(states: StateShape, member: number, active: number, low: number, high: number): boolean {
  if (member < states.flags_from) return member === active;
  const bit = states.bits[member - states.flags_from] ?? 0;
  return ((bit < 32 ? low >>> bit : high >>> (bit - 32)) & 1) === 1;
}

export function activeState(states: StateShape, code: number): number {
  return states.member_of_code.get(code) ?? states.unknown;
}

/** What a quality adds to the attributes of a reading: nothing for good. */
export function qualityAttributes(quality: Quality): Attributes {
  if ((quality & 3) === 0) return {};
  const reason = reasonOf(quality);
  const name = classOf(quality);
  return reason === "" ? { [QUALITY_ATTRIBUTE]: name } : { [QUALITY_ATTRIBUTE]: name, [REASON_ATTRIBUTE]: reason };
}
