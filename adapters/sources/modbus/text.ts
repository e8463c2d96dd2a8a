/**
 * Texts in registers: two characters each, padded with NUL or blanks on either side. A text rarely
 * changes, so the bytes are compared with the last ones before a new string is made.
 */
import type { Decode, Field } from "./fields.ts";
import { GOOD } from "../../quality.ts";
import { high32, low32, readRaw } from "./raw.ts";
import { INVALID_BCD, NAN, NOT_PRINTABLE } from "./reasons.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The text of these bytes; null where they are none: control characters, or no UTF-8. */
export function textOf(bytes: Uint8Array): string | null {
  let start = 0;
  while (start < bytes.length && (bytes[start] === 0 || bytes[start] === 0x20)) start += 1;
  // What follows a NUL is what an older, longer text left behind.
  const nul = bytes.indexOf(0, start);
  let end = nul < 0 ? bytes.length : nul;
  while (end > start && bytes[end - 1] === 0x20) end -= 1;
  const text = bytes.subarray(start, end);
  for (const byte of text) if (byte < 0x20 || byte === 0x7f) return null;
  try {
    const decoded = utf8.decode(text);
    return /[\u0080-\u009f]/.test(decoded) ? null : decoded;
  } catch {
    return null;
  }
}

/** Fields whose series is a text: strings, and the digits of any other type. */
export function textRun(fields: readonly Field[], row: number): Decode {
  const last = fields.map((field) => ({
    bytes: new Uint8Array(field.length),
    text: "" as string | null,
    known: false,
  }));
  return (view, base, frame) => {
    const { texts } = frame;
    if (texts === null) return;
    for (let i = 0; i < fields.length; i += 1) {
      const field = fields[i];
      const kept = last[i];
      if (field === undefined || kept === undefined) continue;
      if (field.kind !== "text") {
        numberText(field, view, base, texts, frame.quality, row + i);
        continue;
      }
      const swap = field.order === "BADC" || field.order === "DCBA" ? 1 : 0;
      let same = kept.known;
      for (let k = 0; k < field.length; k += 1) {
        const byte = view.getUint8(base + field.at + (k ^ swap));
        if (kept.bytes[k] === byte) continue;
        kept.bytes[k] = byte;
        same = false;
      }
      if (!same) {
        kept.text = textOf(kept.bytes);
        kept.known = true;
      }
      texts[row + i] = kept.text;
      if (kept.text === null) frame.quality[row + i] = NOT_PRINTABLE;
    }
  };
}

/** A number whose series is a text (a serial number, a version): its decimal digits, unscaled. */
function numberText(
  field: Field,
  view: DataView,
  base: number,
  texts: (string | null)[],
  quality: Uint16Array,
  row: number,
): void {
  if (field.type === "f32" || field.type === "f64") {
    const raw = readRaw(field.type_code, field.order_code, view, base + field.at);
    texts[row] = Number.isFinite(raw) ? String(raw) : null;
    if (!Number.isFinite(raw)) quality[row] = NAN;
    return;
  }
  const raw = exactNumber(field, view, base);
  let verdict = raw === null ? INVALID_BCD : GOOD;
  for (const { raw: known, quality: reason } of field.sentinels) if (Number(raw) === known) verdict = reason;
  for (const { raw: known, quality: reason } of field.wide_sentinels) if (raw === known) verdict = reason;
  quality[row] = verdict;
  if (raw === null || verdict !== GOOD) texts[row] = null;
  else texts[row] = String(field.width > 0 ? BigInt.asUintN(field.width, raw >> BigInt(field.shift)) : raw);
}

function exactNumber(field: Field, view: DataView, base: number): bigint | null {
  if (field.kind === "bit") return BigInt((view.getUint8(base + field.at) >> field.shift) & 1);
  if (field.kind === "wide") {
    const at = base + field.at;
    const pattern = (BigInt(high32(field.order_code, view, at)) << 32n) | BigInt(low32(field.order_code, view, at));
    return field.type === "s64" ? BigInt.asIntN(64, pattern) : pattern;
  }
  const raw = readRaw(field.type_code, field.order_code, view, base + field.at);
  return Number.isInteger(raw) ? BigInt(raw) : null;
}
