/**
 * A batch as JSON lines: one a reading, one an event, each whole by itself. For targets that write text.
 *
 *   {"time":"2026-11-22T16:36:48.123456Z","device":"main-meter","point":"voltage_l1","value":230.1,
 *    "unit":"V","quality":"good"}                                            (on one line)
 *
 * `value` is null where quality is bad, and a string for text; int64 is written with all its digits.
 * Only where they apply: `reason` (quality is not good), `start` (counters), `state` and `flags`
 * (names for a code), and `event`, `severity`, `message`, `attributes` in place of a point.
 */
import type { Batch, Descriptor, Event, Series } from "./contract.ts";
import type { Frame } from "./frame.ts";
import { classOf, isBad, reasonOf } from "./quality.ts";

interface LineParts {
  readonly series: Series;
  /** From `,"device":` to `"value":`, and the unit. */
  readonly head: string;
  readonly unit: string;
}

const parts_of = new WeakMap<Descriptor, readonly LineParts[]>();

/** All lines of a batch, each with its newline; frames first, then events. */
export function jsonLines(batch: Batch): string {
  let text = "";
  for (const { descriptor, frame } of batch.frames) {
    const parts = partsOf(descriptor);
    const time = isoTime(frame.time_us);
    for (let row = 0; row < frame.count; row++) {
      const part = parts[frame.points[row] ?? -1];
      if (part) text += readingLine(part, frame, row, time);
    }
  }
  for (const event of batch.events) text += eventLine(event);
  return text;
}

function partsOf(descriptor: Descriptor): readonly LineParts[] {
  let parts = parts_of.get(descriptor);
  if (!parts) {
    parts = descriptor.series.map((series) => ({
      series,
      head: `,"device":${JSON.stringify(descriptor.device)},"point":${JSON.stringify(series.name)},"value":`,
      unit: series.value === "text" ? "" : `,"unit":${JSON.stringify(series.unit)}`,
    }));
    parts_of.set(descriptor, parts);
  }
  return parts;
}

function readingLine({ series, head, unit }: LineParts, frame: Frame, row: number, frame_time: string): string {
  const own = frame.times_us?.[row] ?? 0;
  const quality = frame.quality[row] ?? 0;
  let line = `{"time":"${own > 0 ? isoTime(own) : frame_time}"${head}`;
  line += isBad(quality) ? "null" : jsonValue(series, frame, row);
  line += `${unit},"quality":"${classOf(quality)}"`;
  const reason = reasonOf(quality);
  if (reason !== "") line += `,"reason":${JSON.stringify(reason)}`;
  if (series.kind === "counter") {
    const start_us = frame.starts_us?.[row] ?? 0;
    if (start_us > 0) line += `,"start":"${isoTime(start_us)}"`;
  }
  if (series.kind === "state" && !isBad(quality)) {
    const { state, flags } = namesOf(series, series.value === "int" ? frame.ints[row] : frame.doubles[row]);
    if (state !== null) line += `,"state":${JSON.stringify(state)}`;
    if (flags !== null) line += `,"flags":${JSON.stringify(flags)}`;
  }
  return `${line}}\n`;
}

function eventLine(event: Event): string {
  const { name, severity, body, attributes, descriptor } = event;
  const rest = JSON.stringify({ device: descriptor.device, event: name, severity, message: body, attributes });
  return `{"time":"${isoTime(event.time_us)}",${rest.slice(1)}\n`;
}

function jsonValue(series: Series, frame: Frame, row: number): string {
  if (series.value === "text") return JSON.stringify(frame.texts?.[row] ?? null);
  if (series.value === "int") return String(frame.ints[row] ?? 0n);
  const value = frame.doubles[row] ?? NaN;
  // JSON has no number for these.
  return Number.isFinite(value) ? String(value) : `"${value}"`;
}

/** What a code says: the name of its state (`unknown` where it has none), and the flags that are set. */
export function namesOf(
  { states, flags }: Series,
  value: number | bigint | undefined,
): { state: string | null; flags: string[] | null } {
  // A bigint: 64 flags, and of a negative code too, are tested alike.
  const code = typeof value === "number" ? (Number.isInteger(value) ? BigInt(value) : null) : (value ?? null);
  const state =
    states && states.length > 0 ? (states.find(([known]) => BigInt(known) === code)?.[1] ?? "unknown") : null;
  const set =
    flags && flags.length > 0
      ? flags.filter(([bit]) => code !== null && ((code >> BigInt(bit)) & 1n) === 1n).map(([, name]) => name)
      : null;
  return { state, flags: set };
}

/** ISO 8601 in UTC with microseconds. */
export function isoTime(time_us: number): string {
  const whole_us = Math.floor(time_us);
  const milliseconds = Math.floor(whole_us / 1000);
  const iso = new Date(milliseconds).toISOString();
  return `${iso.slice(0, -1)}${String(whole_us - milliseconds * 1000).padStart(3, "0")}Z`;
}
