/**
 * Batch to ExportMetricsServiceRequest, in protobuf. The hot path of the OTLP target.
 *
 *   frames ─▶ by device ─▶ known layout of these series and qualities? ─yes: copy it ──────▶ fill in times,
 *                                          └─no: templates ─▶ build it, keep it ──────────▶ values, starts
 *
 * Nothing is allocated per reading. A value goes through as the two words that it is in its column, so
 * that 64 bits stay exact and no number is looked at; times become nanoseconds in two words as well.
 */
import type { Batch, Descriptor } from "../../../contract.ts";
import type { Frame } from "../../../frame.ts";
import { NO_HOLE, type Layout, LayoutBuilder, layoutCost, SPILL_BYTES } from "./layout.ts";
import { activeState, isOn } from "./shape.ts";
import { FORM_START, FORM_STATES, FORM_VALUE, HOLE_BYTES, Templates } from "./templates.ts";

const TWO_TO_32 = 4294967296;
const BUFFER_BYTES = 64 * 1024;
/** A buffer this many times larger than what a batch needed is given back, when it is worth it. */
const SHRINK_FACTOR = 16;
const SHRINK_ABOVE_BYTES = 4 * 1024 * 1024;
/** Shapes remembered of one device: polls of different intervals meet in a batch in a few ways. */
const LAYOUTS_PER_DEVICE = 4;
/** A backlog's large batches are built, not remembered: they would hold as much memory as they are. */
const LAYOUT_BYTES_MAX = 256 * 1024;
/** All layouts together. 100,000 points take about 8 MB. */
const LAYOUTS_BYTES_MAX = 16 * 1024 * 1024;

export interface MetricsEncoderOptions {
  /** Whether readings that are not good carry their quality and reason as attributes. */
  readonly quality_attributes: boolean;
  /** Requests above this are not built. */
  readonly bytes_max: number;
}

/** Of one device: what is kept between batches, and its part of the batch at hand. */
interface Group {
  readonly templates: Templates;
  readonly builder: LayoutBuilder;
  /** The one used last comes first. */
  layouts: Layout[];
  /** Bytes of them, so that they can be given back when the descriptor is gone. */
  readonly held: { bytes: number };
  readonly frames: Frame[];
  /** Where the layout is new: its rows among those of the batch. */
  from: number;
  to: number;
  layout: Layout | null;
  bytes: number;
}

export class MetricsEncoder {
  readonly #options: MetricsEncoderOptions;
  readonly #groups = new WeakMap<Descriptor, Group>();
  readonly #open: Group[] = [];
  #bytes = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  #view = new DataView(this.#bytes.buffer);
  /** Of each row of the batch, device by device: its template, and its holes where the layout is new. */
  #rows = new Int32Array(1024);
  #holes = new Int32Array(1024);
  #forms = new Uint8Array(1024);
  #layouts_bytes = 0;
  readonly #gone = new FinalizationRegistry<{ bytes: number }>((held) => (this.#layouts_bytes -= held.bytes));

  constructor(options: MetricsEncoderOptions) {
    this.#options = options;
  }

  /**
   * The request's bytes, in memory that the next call uses again; null where the batch has no number,
   * `too_large` where the request would exceed `bytes_max`.
   */
  encode(batch: Batch): Buffer | null | "too_large" {
    const open = this.#open;
    let rows = 0;
    for (let index = 0; index < batch.frames.length; index++) {
      const entry = batch.frames[index]!;
      if (entry.frame.count === 0) continue;
      const group = this.#groupOf(entry.descriptor);
      if (group.frames.length === 0) open.push(group);
      group.frames.push(entry.frame);
      rows += entry.frame.count;
    }
    try {
      return this.#encode(rows);
    } finally {
      for (const group of open) this.#release(group);
      open.length = 0;
    }
  }

  /** The bytes given last stay as they are: somebody may still read them. */
  forget(): void {
    this.#allocate(BUFFER_BYTES);
  }

  #encode(rows: number): Buffer | null | "too_large" {
    if (rows > this.#rows.length) {
      this.#rows = new Int32Array(rows * 2);
      this.#holes = new Int32Array(rows * 2);
      this.#forms = new Uint8Array(rows * 2);
    }
    let total = 0;
    let row = 0;
    for (const group of this.#open) {
      group.layout = findLayout(group);
      if (group.layout === null) {
        group.from = row;
        for (const frame of group.frames) row = resolve(group.templates, frame, this.#rows, row);
        group.to = row;
      }
      group.bytes = group.layout?.bytes.length ?? group.builder.measure(this.#rows, group.from, group.to);
      total += group.bytes;
    }
    if (total === 0) return null;
    if (total > this.#options.bytes_max) return "too_large";
    this.#reserve(total + SPILL_BYTES);
    let at = 0;
    for (const group of this.#open) {
      if (group.bytes > 0) this.#write(group, at);
      at += group.bytes;
    }
    return this.#bytes.subarray(0, total);
  }

  #groupOf(descriptor: Descriptor): Group {
    const known = this.#groups.get(descriptor);
    if (known) return known;
    const templates = new Templates(descriptor, this.#options.quality_attributes);
    const builder = new LayoutBuilder(templates);
    const held = { bytes: 0 };
    const group: Group = { templates, builder, layouts: [], held, frames: [], from: 0, to: 0, layout: null, bytes: 0 };
    this.#groups.set(descriptor, group);
    this.#gone.register(descriptor, held);
    return group;
  }

  #release(group: Group): void {
    group.frames.length = 0;
    group.layout = null;
    if (!group.templates.trim()) return;
    while (group.layouts.length > 0) this.#dropLayout(group);
  }

  #keepLayout(group: Group, start: number): void {
    const { from, to } = group;
    if (group.bytes > LAYOUT_BYTES_MAX) return;
    while (group.layouts.length >= LAYOUTS_PER_DEVICE) this.#dropLayout(group);
    const points = new Uint32Array(to - from);
    const quality = new Uint16Array(to - from);
    let row = 0;
    for (const frame of group.frames) {
      points.set(frame.points.subarray(0, frame.count), row);
      quality.set(frame.quality.subarray(0, frame.count), row);
      row += frame.count;
    }
    const layout: Layout = {
      points,
      quality,
      holes: this.#holes.slice(from, to),
      forms: this.#forms.slice(from, to),
      bytes: Uint8Array.prototype.slice.call(this.#bytes, start, start + group.bytes),
    };
    const cost = layoutCost(layout);
    if (this.#layouts_bytes + cost > LAYOUTS_BYTES_MAX) return;
    group.layouts.unshift(layout);
    group.held.bytes += cost;
    this.#layouts_bytes += cost;
  }

  #dropLayout(group: Group): void {
    const layout = group.layouts.pop();
    if (!layout) return;
    const cost = layoutCost(layout);
    group.held.bytes -= cost;
    this.#layouts_bytes -= cost;
  }

  #write(group: Group, at: number): void {
    const { layout, templates, from } = group;
    if (layout) {
      this.#bytes.set(layout.bytes, at);
      let row = 0;
      for (const frame of group.frames) row = fill(this.#view, at, templates, frame, layout.holes, layout.forms, row);
      return;
    }
    group.builder.build(this.#bytes, this.#view, at, this.#rows, from, group.to, this.#holes, this.#forms);
    this.#keepLayout(group, at);
    let row = from;
    for (const frame of group.frames) row = fill(this.#view, at, templates, frame, this.#holes, this.#forms, row);
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
}

function findLayout(group: Group): Layout | null {
  const { layouts } = group;
  for (let index = 0; index < layouts.length; index++) {
    const layout = layouts[index]!;
    if (!fits(layout, group.frames)) continue;
    if (index > 0) {
      layouts.splice(index, 1);
      layouts.unshift(layout);
    }
    return layout;
  }
  return null;
}

/** Whether the frames have just the rows that `layout` was built for. */
function fits(layout: Layout, frames: readonly Frame[]): boolean {
  let at = 0;
  for (let index = 0; index < frames.length; index++) {
    const { points, quality, count } = frames[index]!;
    if (at + count > layout.points.length) return false;
    for (let row = 0; row < count; row++, at++) {
      if (points[row] !== layout.points[at] || quality[row] !== layout.quality[at]) return false;
    }
  }
  return at === layout.points.length;
}

/** Puts the template of each row into `rows` from `at`; returns the place after the last. */
function resolve(templates: Templates, frame: Frame, rows: Int32Array, at: number): number {
  const { points, quality, count } = frame;
  for (let row = 0; row < count; row++) rows[at + row] = templateOf(templates, points[row]!, quality[row]!);
  return at + count;
}

function templateOf(templates: Templates, series: number, quality: number): number {
  const template = templates.good[series];
  if (template === undefined) throw new RangeError(`a row is of series ${series}, which does not exist`);
  return (quality & 3) === 0 || template < 0 ? template : templates.of(series, quality);
}

/** The low and the high word of a time in nanoseconds; microseconds times 1000 are more than a number holds. */
function nanosLow(time_us: number): number {
  return ((time_us - Math.floor(time_us / TWO_TO_32) * TWO_TO_32) * 1000) | 0;
}

function nanosHigh(time_us: number): number {
  const high = Math.floor(time_us / TWO_TO_32);
  return (high * 1000 + Math.floor(((time_us - high * TWO_TO_32) * 1000) / TWO_TO_32)) | 0;
}

/** Fills the holes of a frame's rows in the layout at `start`; returns the row after the last. */
function fill(
  view: DataView,
  start: number,
  templates: Templates,
  frame: Frame,
  holes: Int32Array,
  forms: Uint8Array,
  from: number,
): number {
  const { words, times_us, count } = frame;
  const time_low = nanosLow(frame.time_us);
  const time_high = nanosHigh(frame.time_us);
  for (let row = 0; row < count; row++) {
    const at = holes[from + row]!;
    // Most rows: a number, at the time of its frame.
    if (at >= 0 && times_us === null) {
      const hole = start + at;
      view.setInt32(hole, time_low, true);
      view.setInt32(hole + 4, time_high, true);
      view.setInt32(hole + HOLE_BYTES, words[row * 2]!, true);
      view.setInt32(hole + HOLE_BYTES + 4, words[row * 2 + 1]!, true);
    } else if (at !== NO_HOLE) {
      const hole = start + (at >= 0 ? at : -1 - at);
      // A row without a time of its own (0, NaN) has the frame's.
      const own = times_us === null ? 0 : times_us[row]!;
      fillRow(view, hole, templates, frame, row, forms[from + row]!, own > 0 ? own : frame.time_us);
    }
  }
  return from + count;
}

/** Fills one row of any form; `hole` is where the time of its first data point goes. */
function fillRow(
  view: DataView,
  hole: number,
  templates: Templates,
  frame: Frame,
  row: number,
  form: number,
  time_us: number,
): void {
  if ((form & FORM_STATES) !== 0) return fillStates(view, hole, templates, frame, row, time_us);
  view.setInt32(hole, nanosLow(time_us), true);
  view.setInt32(hole + 4, nanosHigh(time_us), true);
  if ((form & FORM_VALUE) !== 0) {
    view.setInt32(hole + HOLE_BYTES, frame.words[row * 2]!, true);
    view.setInt32(hole + HOLE_BYTES + 4, frame.words[row * 2 + 1]!, true);
  }
  const start_us = (form & FORM_START) !== 0 && frame.starts_us !== null ? frame.starts_us[row]! : 0;
  if (start_us > 0) {
    view.setInt32(hole - HOLE_BYTES, nanosLow(start_us), true);
    view.setInt32(hole - HOLE_BYTES + 4, nanosHigh(start_us), true);
  }
}

/** The data points of one state, one after the other. */
function fillStates(
  view: DataView,
  first_hole: number,
  templates: Templates,
  frame: Frame,
  row: number,
  time_us: number,
): void {
  const series = frame.points[row]!;
  const { states, int, members } = templates.shape.series[series]!;
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
  const first = templateOf(templates, series, frame.quality[row]!);
  const time_low = nanosLow(time_us);
  const time_high = nanosHigh(time_us);
  let at = first_hole - templates.time_at[first]!;
  for (let member = 0; member < members.length; member++) {
    const template = first + member;
    const hole = at + templates.time_at[template]!;
    view.setInt32(hole, time_low, true);
    view.setInt32(hole + 4, time_high, true);
    if ((templates.form[template]! & FORM_VALUE) !== 0) {
      view.setInt32(hole + HOLE_BYTES, isOn(states, member, active, low, high) ? 1 : 0, true);
    }
    at += templates.bytes[template]!;
  }
}
