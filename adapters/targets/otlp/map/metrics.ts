/**
 * Batch to ExportMetricsServiceRequest, in protobuf. The hot path of the OTLP target.
 *
 *   frames ─▶ grouped by descriptor ─▶ 1. lengths ─▶ 2. data points, each copied from a template
 *                                        of each metric    at the place of its metric, holes filled
 *                                                     ─▶ 3. headers between them
 *
 * Rows come in the order in which devices answer, OTLP wants them metric by metric. So lengths are
 * added up first; then every row is written where it belongs, in frame order within its series.
 * Nothing is allocated per reading. A template is copied in whole words, which may spill up to three
 * bytes over what follows it: another data point written later, or a header, written last.
 */
import type { Batch, Descriptor } from "../../../contract.ts";
import type { Frame } from "../../../frame.ts";
import { REQUEST, RESOURCE_ENTRY, SCOPE_ENTRY } from "./fields.ts";
import { activeState, isOn } from "./shape.ts";
import { type MetricHeader, Templates } from "./templates.ts";
import { putVarint, varintBytes } from "./writer.ts";

const SPILL_BYTES = 8;
const TWO_TO_32 = 4294967296;
/** A buffer this many times larger than what a batch needed is given back, when it is worth it. */
const SHRINK_FACTOR = 16;
const SHRINK_ABOVE_BYTES = 4 * 1024 * 1024;

export interface MetricsEncoderOptions {
  /** Whether readings that are not good carry their quality and reason as attributes. */
  readonly quality_attributes: boolean;
  /** Requests above this are not built. */
  readonly bytes_max: number;
}

/** What one batch says about one descriptor; kept with its templates and used again. */
interface Group {
  readonly templates: Templates;
  readonly frames: Frame[];
  /** Bytes of each metric's data points; 0 where it has none. */
  readonly data: Float64Array;
  /** Where each metric begins, and where its next data point goes. */
  readonly begin: Int32Array;
  readonly next: Int32Array;
  /** Bytes inside ScopeMetrics and ResourceMetrics. */
  scope_bytes: number;
  resource_bytes: number;
}

export class MetricsEncoder {
  readonly #options: MetricsEncoderOptions;
  readonly #groups = new WeakMap<Descriptor, Group>();
  readonly #open: Group[] = [];
  #bytes = Buffer.allocUnsafeSlow(64 * 1024);
  #view = new DataView(this.#bytes.buffer);

  constructor(options: MetricsEncoderOptions) {
    this.#options = options;
  }

  /**
   * The request's bytes, in memory that the next call uses again; null where the batch has no number,
   * `too_large` where the request would exceed `bytes_max`.
   */
  encode(batch: Batch): Buffer | null | "too_large" {
    const open = this.#open;
    open.length = 0;
    for (let index = 0; index < batch.frames.length; index++) {
      const entry = batch.frames[index];
      if (!entry || entry.frame.count === 0) continue;
      const group = this.#groupOf(entry.descriptor);
      if (group.frames.length === 0) open.push(group);
      group.frames.push(entry.frame);
    }
    let total = 0;
    for (const group of open) total += measure(group);
    try {
      if (total === 0) return null;
      if (total > this.#options.bytes_max) return "too_large";
      this.#reserve(total + SPILL_BYTES);
      let at = 0;
      for (const group of open) at = this.#write(group, at);
      return this.#bytes.subarray(0, total);
    } finally {
      for (const group of open) {
        group.frames.length = 0;
        group.templates.trim();
      }
      open.length = 0;
    }
  }

  /** The bytes given last stay as they are: somebody may still read them. */
  forget(): void {
    this.#allocate(64 * 1024);
  }

  #groupOf(descriptor: Descriptor): Group {
    const known = this.#groups.get(descriptor);
    if (known) return known;
    const templates = new Templates(descriptor, this.#options.quality_attributes);
    const metrics = templates.metrics.length;
    const group: Group = {
      templates,
      frames: [],
      data: new Float64Array(metrics),
      begin: new Int32Array(metrics),
      next: new Int32Array(metrics),
      scope_bytes: 0,
      resource_bytes: 0,
    };
    this.#groups.set(descriptor, group);
    return group;
  }

  #reserve(bytes: number): void {
    const have = this.#bytes.length;
    if (bytes > have) this.#allocate(Math.max(bytes, have * 2));
    else if (have > SHRINK_ABOVE_BYTES && bytes * SHRINK_FACTOR < have) this.#allocate(bytes * 2);
  }

  #allocate(bytes: number): void {
    this.#bytes = Buffer.allocUnsafeSlow(bytes);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Writes a group at `from` and returns the place after it. */
  #write(group: Group, from: number): number {
    if (group.resource_bytes === 0) return from;
    const { templates, data, begin, next } = group;
    const bytes = this.#bytes;

    let at = from;
    bytes[at++] = REQUEST.resource;
    const resource_at = at + varintBytes(group.resource_bytes);
    const scope_at = resource_at + templates.resource.length + 1 + varintBytes(group.scope_bytes);
    const end = resource_at + group.resource_bytes;

    // Where each metric goes; then the data points; then, over what they spilled, all that stands around them.
    let place = scope_at + templates.scope.length;
    for (let metric = 0; metric < data.length; metric++) {
      const header = templates.metrics[metric];
      const points = data[metric]!;
      if (points === 0 || !header) continue;
      const size = metricBytes(header, points);
      begin[metric] = place;
      place += 1 + varintBytes(size) + size;
      next[metric] = place - header.trailer.length - points;
    }
    for (const frame of group.frames) writePoints(this.#view, templates, frame, next);

    at = putVarint(bytes, at, group.resource_bytes);
    bytes.set(templates.resource, at);
    at += templates.resource.length;
    bytes[at] = RESOURCE_ENTRY.scope;
    at = putVarint(bytes, at + 1, group.scope_bytes);
    bytes.set(templates.scope, at);
    for (let metric = 0; metric < data.length; metric++) {
      const header = templates.metrics[metric];
      const points = data[metric]!;
      if (points === 0 || !header) continue;
      at = begin[metric]!;
      bytes[at] = SCOPE_ENTRY.items;
      at = putVarint(bytes, at + 1, metricBytes(header, points));
      bytes.set(header.head, at);
      at += header.head.length;
      bytes[at] = header.data_tag;
      at = putVarint(bytes, at + 1, points + header.trailer.length);
      bytes.set(header.trailer, at + points);
    }
    return end;
  }
}

/** Bytes inside a Metric whose data points take `points` bytes. */
function metricBytes(header: MetricHeader, points: number): number {
  const data = points + header.trailer.length;
  return header.head.length + 1 + varintBytes(data) + data;
}

/** Adds up the lengths of a group; returns its bytes in the request, 0 where it has no data point. */
function measure(group: Group): number {
  const { templates, data } = group;
  data.fill(0);
  for (const frame of group.frames) measureFrame(templates, frame, data);
  let metrics = 0;
  for (let metric = 0; metric < data.length; metric++) {
    const header = templates.metrics[metric];
    const points = data[metric]!;
    if (points === 0 || !header) continue;
    const size = metricBytes(header, points);
    metrics += 1 + varintBytes(size) + size;
  }
  group.scope_bytes = templates.scope.length + metrics;
  group.resource_bytes =
    metrics === 0 ? 0 : templates.resource.length + 1 + varintBytes(group.scope_bytes) + group.scope_bytes;
  return metrics === 0 ? 0 : 1 + varintBytes(group.resource_bytes) + group.resource_bytes;
}

function measureFrame(templates: Templates, frame: Frame, data: Float64Array): void {
  const { metric, good } = templates;
  for (let row = 0; row < frame.count; row++) {
    const series = frame.points[row]!;
    const index = metric[series]!;
    if (!(index >= 0)) continue;
    const quality = frame.quality[row]!;
    const template = (quality & 3) === 0 ? good[series]! : templates.of(series, quality);
    data[index]! += templates.reading_bytes[template]!;
  }
}

/** Every number of a frame at its metric's next place. The columns are within bounds by `measureFrame`. */
function writePoints(view: DataView, templates: Templates, frame: Frame, next: Int32Array): void {
  const { metric, good, members, words, word, bytes, start_at, time_at, value_at } = templates;
  const { points, quality, words: values, times_us, starts_us } = frame;
  let high = Math.floor(frame.time_us / TWO_TO_32);
  let low = (frame.time_us - high * TWO_TO_32) * 1000;
  const frame_low = low | 0;
  const frame_high = (high * 1000 + Math.floor(low / TWO_TO_32)) | 0;

  for (let row = 0; row < frame.count; row++) {
    const series = points[row]!;
    const index = metric[series]!;
    if (!(index >= 0)) continue;
    const row_quality = quality[row]!;
    const template = (row_quality & 3) === 0 ? good[series]! : templates.of(series, row_quality);
    const at = next[index]!;

    const first = word[template]!;
    const count = (bytes[template]! + 3) >> 2;
    for (let offset = 0; offset < count; offset++) view.setInt32(at + offset * 4, words[first + offset]!, true);

    let time_low = frame_low;
    let time_high = frame_high;
    if (times_us !== null) {
      const time_us = times_us[row]!;
      // A row without a time of its own (0, NaN) has the frame's.
      if (time_us > 0) {
        high = Math.floor(time_us / TWO_TO_32);
        low = (time_us - high * TWO_TO_32) * 1000;
        time_low = low | 0;
        time_high = (high * 1000 + Math.floor(low / TWO_TO_32)) | 0;
      }
    }
    let hole = at + time_at[template]!;
    view.setInt32(hole, time_low, true);
    view.setInt32(hole + 4, time_high, true);

    if (members[series] !== 1 || templates.shape.series[series]!.states !== null) {
      next[index] = writeStates(view, templates, frame, row, template, at, time_low, time_high);
      continue;
    }
    if (value_at[template]! >= 0) {
      hole = at + value_at[template]!;
      view.setInt32(hole, values[row * 2]!, true);
      view.setInt32(hole + 4, values[row * 2 + 1]!, true);
    }
    if (start_at[template]! >= 0 && starts_us !== null) {
      const start_us = starts_us[row]!;
      if (start_us > 0) {
        high = Math.floor(start_us / TWO_TO_32);
        low = (start_us - high * TWO_TO_32) * 1000;
        hole = at + start_at[template]!;
        view.setInt32(hole, low | 0, true);
        view.setInt32(hole + 4, (high * 1000 + Math.floor(low / TWO_TO_32)) | 0, true);
      }
    }
    next[index] = at + bytes[template]!;
  }
}

/** The data points of one state, one after the other; returns the place after the last. */
function writeStates(
  view: DataView,
  templates: Templates,
  frame: Frame,
  row: number,
  first: number,
  from: number,
  time_low: number,
  time_high: number,
): number {
  const { words, word, bytes, time_at, value_at } = templates;
  const series = frame.points[row]!;
  const { states, int } = templates.shape.series[series]!;
  if (states === null) throw new RangeError(`series ${series} has no states`);
  let low = frame.words[row * 2]!;
  let high = frame.words[row * 2 + 1]!;
  let code = high * TWO_TO_32 + (low >>> 0);
  if (!int) {
    code = frame.doubles[row]!;
    low = code | 0;
    high = Math.floor(code / TWO_TO_32) | 0;
  }
  const active = activeState(states, code);
  let at = from;
  for (let member = 0; member < templates.members[series]!; member++) {
    const template = first + member;
    const begin = word[template]!;
    const count = (bytes[template]! + 3) >> 2;
    for (let offset = 0; offset < count; offset++) view.setInt32(at + offset * 4, words[begin + offset]!, true);
    view.setInt32(at + time_at[template]!, time_low, true);
    view.setInt32(at + time_at[template]! + 4, time_high, true);
    const value = value_at[template]!;
    if (value >= 0) view.setInt32(at + value, isOn(states, member, active, low, high) ? 1 : 0, true);
    at += bytes[template]!;
  }
  return at;
}
