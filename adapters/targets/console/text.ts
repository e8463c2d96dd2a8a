/**
 * A batch as lines for people: time, device, point, value, unit, and whatever is not plain good.
 *
 *   2026-11-22T16:36:48.123Z  main-meter  voltage_l1       230.1 V
 *   2026-11-22T16:36:48.123Z  main-meter  energy_import     1234 kW.h
 *   2026-11-22T16:36:48.123Z  main-meter  frequency            - Hz    BAD timeout
 */
import type { Batch, Event, Series } from "../../contract.ts";
import type { Frame } from "../../frame.ts";
import { classOf, isBad, reasonOf } from "../../quality.ts";
import { isoTime, namesOf } from "../../lines.ts";

/** Columns grow with the names that come along, up to here. */
const NAME_WIDTH_MAX = 32;
const VALUE_WIDTH = 12;
const UNIT_WIDTH = 6;
/** Enough for any sensor; the file target and OTLP have every digit. */
const SIGNIFICANT_DIGITS = 7;

export class TextLines {
  #device_width = 0;
  #point_width = 0;

  of(batch: Batch): string {
    let text = "";
    for (const { descriptor } of batch.frames) {
      this.#device_width = wider(this.#device_width, descriptor.device);
      for (const { name } of descriptor.series) this.#point_width = wider(this.#point_width, name);
    }
    for (const { descriptor, frame } of batch.frames) {
      const device = descriptor.device.padEnd(this.#device_width);
      for (let row = 0; row < frame.count; row++) {
        const series = descriptor.series[frame.points[row] ?? -1];
        if (!series) continue;
        const own = frame.times_us?.[row] ?? 0;
        const time = shortTime(own > 0 ? own : frame.time_us);
        text += `${time}  ${device}  ${series.name.padEnd(this.#point_width)}  ${reading(series, frame, row)}\n`;
      }
    }
    for (const event of batch.events) text += `${this.#event(event)}\n`;
    return text;
  }

  #event(event: Event): string {
    const device = event.descriptor.device.padEnd(this.#device_width);
    return `${shortTime(event.time_us)}  ${device}  ${event.severity.toUpperCase()} ${event.name}: ${printable(event.body)}`;
  }
}

function reading(series: Series, frame: Frame, row: number): string {
  const quality = frame.quality[row] ?? 0;
  const unit = series.value === "text" || series.unit === "1" ? "" : series.unit;
  const value = isBad(quality) ? "-" : valueText(series, frame, row);
  const rest = (quality & 3) === 0 ? "" : `${classOf(quality).toUpperCase()} ${reasonOf(quality)}`;
  return `${value.padStart(VALUE_WIDTH)} ${unit.padEnd(UNIT_WIDTH)} ${rest}`.trimEnd();
}

function valueText(series: Series, frame: Frame, row: number): string {
  if (series.value === "text") return printable(frame.texts?.[row] ?? "");
  const number =
    series.value === "int"
      ? String(frame.ints[row] ?? 0n)
      : String(Number((frame.doubles[row] ?? NaN).toPrecision(SIGNIFICANT_DIGITS)));
  if (series.kind !== "state") return number;
  const { state, flags } = namesOf(series, series.value === "int" ? frame.ints[row] : frame.doubles[row]);
  const names = [...(state === null ? [] : [state]), ...(flags ?? [])];
  return names.length > 0 ? `${number} (${names.join(", ")})` : number;
}

// oxlint-disable-next-line no-control-regex -- control characters are what this is about
const CONTROL = /[\x00-\x1f\x7f-\x9f]/g;

/** A device's text must not control the terminal. */
function printable(text: string): string {
  return text.replace(CONTROL, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

const shortTime = (time_us: number): string => `${isoTime(time_us).slice(0, 23)}Z`;
const wider = (width: number, name: string): number => Math.min(NAME_WIDTH_MAX, Math.max(width, name.length));
