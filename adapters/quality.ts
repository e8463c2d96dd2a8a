/**
 * Quality of a reading: good, uncertain or bad, with a short stable reason, packed into 16 bits so
 * that a frame carries it as a column: `reason << 2 | class`. Reasons are interned in this process;
 * on disk and on the wire they are written out.
 */
export type QualityClass = "good" | "uncertain" | "bad";

/** A packed quality. */
export type Quality = number;

const CLASSES: readonly QualityClass[] = ["good", "uncertain", "bad"];
/** 14 bits hold 16,384 reasons; a stranger's vocabulary is cut well before that. */
const REASONS_MAX = 4096;

const reasons: string[] = [""];
const indexOf = new Map<string, number>([["", 0]]);

function intern(reason: string): number {
  const known = indexOf.get(reason);
  if (known !== undefined) return known;
  if (reasons.length >= REASONS_MAX) return intern("other");
  reasons.push(reason);
  indexOf.set(reason, reasons.length - 1);
  return reasons.length - 1;
}

export const GOOD: Quality = 0;
// Never the interned slot of a real reason: `other` must exist before the table can be full.
intern("other");

/** The value may be used with care; `reason` says why. */
export const uncertain = (reason: string): Quality => (intern(reason) << 2) | 1;
/** There is no value; `reason` says why. */
export const bad = (reason: string): Quality => (intern(reason) << 2) | 2;

export const isGood = (quality: Quality): boolean => (quality & 3) === 0;
export const isBad = (quality: Quality): boolean => (quality & 3) === 2;
export const classOf = (quality: Quality): QualityClass => CLASSES[quality & 3] ?? "bad";
/** Empty for plain good. */
export const reasonOf = (quality: Quality): string => reasons[quality >> 2] ?? "other";
/** The inverse of classOf and reasonOf, for decoders. */
export const qualityOf = (name: QualityClass, reason: string): Quality => (intern(reason) << 2) | CLASSES.indexOf(name);
