/**
 * From the text of a named group into one row of a frame. Pure; what depends on the point alone is
 * compiled once.
 *
 *   text ─▶ map │ number ─▶ sentinel? ─▶ unit ─▶ scale, offset ─▶ range? ─▶ state known? ─▶ column
 *
 * A reading that a step turns down has quality bad and no value.
 */
import type { SerialPoint } from "#profiles/schema.ts";
import type { Series } from "../../contract.ts";
import { type Frame, setInt } from "../../frame.ts";
import { bad, type Quality, uncertain } from "../../quality.ts";
import { divisorOf } from "../../scale.ts";
import { compileConvert } from "./mass.ts";

/** The group did not take part in the match: the answer has no such field. */
const ABSENT = bad("absent");
const NAN = bad("nan");
/** A token that the point's map does not have. */
const UNKNOWN_TOKEN = bad("unknown_token");
/** The unit in the answer is neither the point's nor one that converts to it. */
const UNIT_UNKNOWN = bad("unit_unknown");
const OUT_OF_RANGE = bad("out_of_range");
/** A code without a name; the value stands. */
const UNKNOWN_STATE = uncertain("unknown_state");

/** Writes one group's text; `unit` is the text of the group `unit`, where the pattern has one. */
export type Writer = (frame: Frame, row: number, text: string | undefined, unit: string | undefined) => void;

/** `hasUnit`: the pattern of the point's message has a group `unit`. */
export function compileWriter(point: SerialPoint, series: Series, hasUnit: boolean): Writer {
  if (series.value === "text") {
    return (frame, row, text) => {
      if (text === undefined || frame.texts === null) refuse(frame, row, ABSENT);
      else frame.texts[row] = text;
    };
  }
  const read = compileRead(point);
  const write = compileNumber(point, series);
  // A count or a flag beside a weight has no unit of its own.
  const convert = hasUnit && point.unit !== "1" && point.map === undefined ? compileConvert(point.unit) : null;
  const sentinels = sentinelsOf(point);
  const exact = series.value === "int" && point.map === undefined && convert === null;
  return (frame, row, text, unit) => {
    if (text === undefined) return refuse(frame, row, ABSENT);
    const raw = read(text);
    if (Number.isNaN(raw)) return refuse(frame, row, point.map === undefined ? NAN : UNKNOWN_TOKEN);
    const sentinel = sentinels.get(raw);
    if (sentinel !== undefined) return refuse(frame, row, sentinel);
    if (exact && !Number.isSafeInteger(raw)) return writeWide(frame, row, text, point);
    if (convert === null) return write(frame, row, raw);
    const converted = convert(raw, unit?.trim() ?? "");
    if (converted === null) refuse(frame, row, UNIT_UNKNOWN);
    else write(frame, row, converted);
  };
}

function refuse(frame: Frame, row: number, quality: Quality): void {
  frame.doubles[row] = 0;
  if (frame.texts !== null) frame.texts[row] = null;
  frame.quality[row] = quality;
}

/** A group's text as a number; NaN where it is none. */
function compileRead({ map }: SerialPoint): (text: string) => number {
  if (map === undefined) return parseNumber;
  const numbers = new Map(Object.entries(map));
  return (text) => numbers.get(text) ?? numbers.get(text.trim()) ?? parseNumber(text);
}

/** No two repetitions side by side that take the same characters: a long wrong frame would be tried in all splits. */
const NUMBER = /^([+-]?)\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)$/;

/** Displays right-align their digits: blanks may stand before the sign, and between it and the number. */
export function parseNumber(text: string): number {
  const match = NUMBER.exec(text.trim());
  if (match === null) return Number.NaN;
  const size = Number(match[2]);
  return match[1] === "-" ? -size : size;
}

function compileNumber(point: SerialPoint, series: Series): (frame: Frame, row: number, raw: number) => void {
  const { scale, offset } = point;
  const divisor = divisorOf(scale);
  const [low, high] = point.range ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  const states =
    point.kind === "state" && point.states !== undefined ? new Set(Object.keys(point.states).map(Number)) : null;
  const isInt = series.value === "int";
  return (frame, row, raw) => {
    const value = (divisor === 0 ? raw * scale : raw / divisor) + offset;
    if (!Number.isFinite(value) || value < low || value > high) return refuse(frame, row, OUT_OF_RANGE);
    if (!isInt) frame.doubles[row] = value;
    else if (Number.isSafeInteger(value)) setInt(frame, row, value);
    else return refuse(frame, row, NAN);
    if (states !== null && !states.has(value)) frame.quality[row] = UNKNOWN_STATE;
  };
}

/** A whole number beyond 2^53, which stays exact; anything else is none. */
function writeWide(frame: Frame, row: number, text: string, point: SerialPoint): void {
  const [, sign, digits] = /^\s*([+-]?)\s*(\d+)\s*$/.exec(text) ?? [];
  if (digits === undefined) return refuse(frame, row, NAN);
  const value = sign === "-" ? -BigInt(digits) : BigInt(digits);
  const [low, high] = point.range ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  if (BigInt.asIntN(64, value) !== value || value < low || value > high) return refuse(frame, row, OUT_OF_RANGE);
  frame.ints[row] = value;
}

function sentinelsOf(point: SerialPoint): ReadonlyMap<number, Quality> {
  const known = new Map<number, Quality>();
  for (const entry of point.sentinels ?? []) {
    const { value, reason } = typeof entry === "object" ? entry : { value: entry, reason: "sentinel" };
    if (value !== "nan") known.set(value, bad(reason));
  }
  return known;
}
