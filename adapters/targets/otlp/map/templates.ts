/**
 * Everything of a descriptor's metrics that can be encoded before a reading exists: resource, scope,
 * metric headers, and for each series and quality the whole data point with holes for start, time and
 * value. Encoding a reading is then copying a template and filling its holes.
 */
import type { Attributes, Descriptor } from "../../../contract.ts";
import { isBad, type Quality } from "../../../quality.ts";
import {
  CUMULATIVE,
  DATA,
  METRIC,
  NO_RECORDED_VALUE,
  POINT,
  RESOURCE,
  RESOURCE_ENTRY,
  SCOPE,
  SCOPE_ENTRY,
} from "./fields.ts";
import { qualityAttributes, type Shape, shapeOf } from "./shape.ts";
import { Writer } from "./writer.ts";

/**
 * Qualities that came up are kept as templates; a device that goes through more of them than this per
 * series on average starts anew, so that a stranger's reasons cannot fill the memory.
 */
const QUALITIES_PER_SERIES_MAX = 16;
const NONE = -1;
/** What a data point's template has to be filled with, besides its time: bits of `Templates.form`. */
export const FORM_VALUE = 1;
export const FORM_START = 2;
/** A state: as many data points as it has members, each 0 or 1. */
export const FORM_STATES = 4;
/** Holes lie at fixed distances, for tag and eight bytes each: start, then time, then value. */
export const HOLE_BYTES = 9;
const EIGHT = new Uint8Array(8);

export interface MetricHeader {
  /** name, description and unit of the Metric. */
  readonly head: Uint8Array;
  /** Tag of the Metric's data: gauge or sum. */
  readonly data_tag: number;
  /** What follows the data points of a Sum: temporality and monotonicity. */
  readonly trailer: Uint8Array;
}

export class Templates {
  readonly shape: Shape;
  /** ResourceMetrics.resource and ScopeMetrics.scope (the same bytes in ResourceLogs and ScopeLogs). */
  readonly resource: Uint8Array;
  readonly scope: Uint8Array;
  readonly metrics: readonly MetricHeader[];
  /** Of each series: template of its first data point where the quality is good; -1 for text. */
  readonly good: Int32Array;

  /** Template t is the bytes of `words` from word `word[t]`, `bytes[t]` long, as little-endian words. */
  words = new Int32Array(1024);
  word = new Int32Array(64);
  bytes = new Int32Array(64);
  /** Where the time goes, in bytes from the template's start. */
  time_at = new Int32Array(64);
  form = new Int32Array(64);
  /** Of the first data point of a reading: bytes of all of them, and index in `metrics`. */
  reading_bytes = new Int32Array(64);
  metric_of = new Int32Array(64);

  readonly #descriptor: Descriptor;
  readonly #quality_attributes: boolean;
  /** `series * 65536 + quality` to the template of its first data point. */
  readonly #by_quality = new Map<number, number>();
  #templates = 0;
  #words = 0;
  #good_templates = 0;
  #good_words = 0;

  constructor(descriptor: Descriptor, quality_attributes: boolean) {
    this.#descriptor = descriptor;
    this.#quality_attributes = quality_attributes;
    this.shape = shapeOf(descriptor);
    const entry = resourceAndScope(descriptor);
    this.resource = entry.resource;
    this.scope = entry.scope;
    this.metrics = this.shape.metrics.map((metric) => {
      const head = new Writer(128);
      if (metric.name !== "") head.string(METRIC.name, metric.name);
      if (metric.description !== "") head.string(METRIC.description, metric.description);
      if (metric.unit !== "") head.string(METRIC.unit, metric.unit);
      const trailer = new Writer(8);
      if (metric.sum) trailer.varint(DATA.temporality, CUMULATIVE);
      if (metric.monotonic) trailer.varint(DATA.monotonic, 1);
      return { head: head.copy(), data_tag: metric.sum ? METRIC.sum : METRIC.gauge, trailer: trailer.copy() };
    });
    const series = this.shape.series;
    this.good = Int32Array.from(series, (one, index) => (one.metric < 0 ? NONE : this.#add(index, 0)));
    this.#good_templates = this.#templates;
    this.#good_words = this.#words;
  }

  /** Template of the first data point of a reading of `series` with a quality that is not good. */
  of(series: number, quality: Quality): number {
    const key = series * 65536 + quality;
    const known = this.#by_quality.get(key);
    if (known !== undefined) return known;
    const made = this.#add(series, quality);
    this.#by_quality.set(key, made);
    return made;
  }

  /** Takes templates away where there are too many; says so, for their numbers will be given anew. */
  trim(): boolean {
    if (this.#by_quality.size <= QUALITIES_PER_SERIES_MAX * this.#descriptor.series.length) return false;
    this.#by_quality.clear();
    this.#templates = this.#good_templates;
    this.#words = this.#good_words;
    return true;
  }

  #add(series: number, quality: Quality): number {
    const shape = this.shape.series[series];
    if (!shape) throw new RangeError(`no series ${series} in ${this.#descriptor.device}`);
    const first = this.#templates;
    const int = shape.int || shape.states !== null;
    let reading_bytes = 0;
    for (const attributes of shape.members) {
      const extra = this.#quality_attributes ? qualityAttributes(quality) : {};
      const template = pointTemplate({ ...attributes, ...extra }, shape.start, int, isBad(quality));
      this.#append(template, shape.states === null ? 0 : FORM_STATES);
      reading_bytes += template.bytes.length;
    }
    this.reading_bytes[first] = reading_bytes;
    this.metric_of[first] = shape.metric;
    return first;
  }

  #append(template: PointTemplate, form: number): void {
    const words = (template.bytes.length + 3) >> 2;
    if (this.#words + words > this.words.length) this.words = grown(this.words, this.#words + words);
    const index = this.#templates++;
    if (index >= this.word.length) {
      this.word = grown(this.word, index + 1);
      this.bytes = grown(this.bytes, index + 1);
      this.time_at = grown(this.time_at, index + 1);
      this.form = grown(this.form, index + 1);
      this.reading_bytes = grown(this.reading_bytes, index + 1);
      this.metric_of = grown(this.metric_of, index + 1);
    }
    this.word[index] = this.#words;
    this.bytes[index] = template.bytes.length;
    this.time_at[index] = template.time_at;
    this.form[index] = template.form | form;
    new Uint8Array(this.words.buffer, this.#words * 4, words * 4).set(template.bytes);
    this.#words += words;
  }
}

interface PointTemplate {
  readonly bytes: Uint8Array;
  readonly time_at: number;
  readonly form: number;
}

/** Every template is written here, and copied to where it stays. */
const body = new Writer(256);
const whole = new Writer(256);

/** One NumberDataPoint as an element of `data_points`, with tag and length. Its bytes are lent until the next one. */
function pointTemplate(attributes: Attributes, start: boolean, int: boolean, bad: boolean): PointTemplate {
  body.reset();
  whole.reset();
  const hole = (tag: number): void => {
    body.byte(tag);
    body.raw(EIGHT);
  };
  // A start of 0 means that it is not known, so a counter's template always has the field.
  if (start) hole(POINT.start);
  hole(POINT.time);
  const time_at = body.length - EIGHT.length;
  if (!bad) hole(int ? POINT.as_int : POINT.as_double);
  body.attributes(POINT.attributes, attributes);
  if (bad) body.varint(POINT.flags, NO_RECORDED_VALUE);

  whole.bytes(DATA.points, body.view());
  const form = (bad ? 0 : FORM_VALUE) | (start ? FORM_START : 0);
  return { bytes: whole.view(), time_at: time_at + whole.length - body.length, form };
}

/** The Resource and InstrumentationScope fields of an entry, with tag and length. */
export function resourceAndScope(descriptor: Descriptor): { resource: Uint8Array; scope: Uint8Array } {
  const resource = new Writer();
  const inner = resource.begin(RESOURCE_ENTRY.resource);
  resource.attributes(RESOURCE.attributes, descriptor.resource);
  resource.end(inner);
  const scope = new Writer();
  const named = scope.begin(SCOPE_ENTRY.scope);
  if (descriptor.scope.name !== "") scope.string(SCOPE.name, descriptor.scope.name);
  if (descriptor.scope.version !== "") scope.string(SCOPE.version, descriptor.scope.version);
  scope.end(named);
  return { resource: resource.copy(), scope: scope.copy() };
}

function grown(column: Int32Array<ArrayBuffer>, need: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(Math.max(need, column.length * 2));
  larger.set(column);
  return larger;
}
