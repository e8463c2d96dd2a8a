/**
 * What one batch says about one device, laid out as a ResourceMetrics entry with holes.
 *
 * Devices say the same things again and again: the same points with the same qualities, in the same
 * order. So a layout is kept, and the next batch of that shape is a copy of it with its holes filled.
 * A new shape is built from the templates of its data points, metric by metric.
 */
import { REQUEST, RESOURCE_ENTRY, SCOPE_ENTRY } from "./fields.ts";
import { FORM_VALUE, type MetricHeader, type Templates } from "./templates.ts";
import { putVarint, varintBytes } from "./writer.ts";

/** Templates are copied in whole words: this many bytes behind a layout may be written over. */
export const SPILL_BYTES = 8;

export interface Layout {
  /** What it was built for: series and quality of each row, over all frames of the device. */
  readonly points: Uint32Array;
  readonly quality: Uint16Array;
  /**
   * Of each row: where the time of its first data point goes, from the layout's start, where a value
   * follows and nothing else is to be filled in; `-1 - place` for other forms; NO_HOLE for text.
   */
  readonly holes: Int32Array;
  /** `Templates.form` of each row. */
  readonly forms: Uint8Array;
  readonly bytes: Uint8Array;
}

/** The row of a text: not in the metrics request. */
export const NO_HOLE = -0x80000000;

/** Lengths and places while a layout is built; used again for each one of a device. */
export class LayoutBuilder {
  readonly #templates: Templates;
  /** Bytes of each metric's data points; 0 where it has none. */
  readonly #data: Float64Array;
  /** Where each metric begins, and where its next data point goes. */
  readonly #begin: Int32Array;
  readonly #next: Int32Array;
  #scope_bytes = 0;
  #resource_bytes = 0;

  constructor(templates: Templates) {
    this.#templates = templates;
    this.#data = new Float64Array(templates.metrics.length);
    this.#begin = new Int32Array(templates.metrics.length);
    this.#next = new Int32Array(templates.metrics.length);
  }

  /** Bytes of the entry for rows `from` to `to` of `rows`; 0 where they have no number. */
  measure(rows: Int32Array, from: number, to: number): number {
    const templates = this.#templates;
    const { metric_of, reading_bytes } = templates;
    const data = this.#data;
    data.fill(0);
    for (let row = from; row < to; row++) {
      const template = rows[row]!;
      if (template >= 0) data[metric_of[template]!]! += reading_bytes[template]!;
    }
    let metrics = 0;
    for (let metric = 0; metric < data.length; metric++) {
      const points = data[metric]!;
      if (points === 0) continue;
      const size = metricBytes(templates.metrics[metric]!, points);
      metrics += 1 + varintBytes(size) + size;
    }
    if (metrics === 0) return 0;
    this.#scope_bytes = templates.scope.length + metrics;
    this.#resource_bytes = templates.resource.length + 1 + varintBytes(this.#scope_bytes) + this.#scope_bytes;
    return 1 + varintBytes(this.#resource_bytes) + this.#resource_bytes;
  }

  /**
   * Writes what was measured last at `start`, and into `holes` and `forms` what is to be filled in. Rows
   * come in the order in which devices answer, OTLP wants them metric by metric: each goes where it
   * belongs, in the order of the rows within its series. What a template spills is another data point
   * written later, or a header: those are written last.
   */
  build(
    bytes: Buffer,
    view: DataView,
    start: number,
    rows: Int32Array,
    from: number,
    to: number,
    holes: Int32Array,
    forms: Uint8Array,
  ): void {
    const templates = this.#templates;
    let at = start;
    bytes[at++] = REQUEST.resource;
    at = putVarint(bytes, at, this.#resource_bytes);
    const resource_at = at;
    at += templates.resource.length;
    const scope_at = at;
    at += 1 + varintBytes(this.#scope_bytes) + templates.scope.length;

    const data = this.#data;
    for (let metric = 0; metric < data.length; metric++) {
      const points = data[metric]!;
      if (points === 0) continue;
      const header = templates.metrics[metric]!;
      const size = metricBytes(header, points);
      this.#begin[metric] = at;
      at += 1 + varintBytes(size) + size;
      this.#next[metric] = at - header.trailer.length - points;
    }
    this.#putPoints(view, start, rows, from, to, holes, forms);

    bytes.set(templates.resource, resource_at);
    bytes[scope_at] = RESOURCE_ENTRY.scope;
    bytes.set(templates.scope, putVarint(bytes, scope_at + 1, this.#scope_bytes));
    for (let metric = 0; metric < data.length; metric++) {
      const points = data[metric]!;
      if (points === 0) continue;
      const header = templates.metrics[metric]!;
      at = this.#begin[metric]!;
      bytes[at] = SCOPE_ENTRY.items;
      at = putVarint(bytes, at + 1, metricBytes(header, points));
      bytes.set(header.head, at);
      at += header.head.length;
      bytes[at] = header.data_tag;
      at = putVarint(bytes, at + 1, points + header.trailer.length);
      bytes.set(header.trailer, at + points);
    }
  }

  #putPoints(
    view: DataView,
    start: number,
    rows: Int32Array,
    from: number,
    to: number,
    holes: Int32Array,
    forms: Uint8Array,
  ): void {
    const templates = this.#templates;
    const { words, word, bytes, metric_of, reading_bytes, form, time_at } = templates;
    const next = this.#next;
    for (let row = from; row < to; row++) {
      const first = rows[row]!;
      if (first < 0) {
        holes[row] = NO_HOLE;
        continue;
      }
      const metric = metric_of[first]!;
      let at = next[metric]!;
      const end = at + reading_bytes[first]!;
      const place = at - start + time_at[first]!;
      forms[row] = form[first]!;
      holes[row] = form[first] === FORM_VALUE ? place : -1 - place;
      for (let template = first; at < end; template++) {
        const begin = word[template]!;
        const count = (bytes[template]! + 3) >> 2;
        for (let offset = 0; offset < count; offset++) view.setInt32(at + offset * 4, words[begin + offset]!, true);
        at += bytes[template]!;
      }
      next[metric] = end;
    }
  }
}

/** Bytes inside a Metric whose data points take `points` bytes. */
function metricBytes(header: MetricHeader, points: number): number {
  const data = points + header.trailer.length;
  return header.head.length + 1 + varintBytes(data) + data;
}

export const layoutCost = ({ points, quality, holes, forms, bytes }: Layout): number =>
  points.byteLength + quality.byteLength + holes.byteLength + forms.length + bytes.length;
