/** 'Did you mean': the nearest of the names that would have been right, where one is near enough. */
import { distance } from "fastest-levenshtein";

/** The closest of `names`, or null where none is close: at most a third of the letters may differ. */
export function nearest(word: string, names: Iterable<string>): string | null {
  const wanted = fold(word);
  const known = new Set(names);
  const alias = Object.hasOwn(ALIASES, wanted) ? ALIASES[wanted]?.find((name) => known.has(name)) : undefined;
  if (alias !== undefined && !known.has(word)) return alias;
  let best: string | null = null;
  let least = Infinity;
  for (const name of known) {
    const candidate = fold(name);
    const far = candidate === wanted ? 0 : distance(wanted, candidate);
    // Swapped letters (unti for unit) are one slip, though they count as two.
    const swapped = sorted(candidate) === sorted(wanted);
    const letters = Math.max(wanted.length, candidate.length);
    // Of two letters, any other is as near as the next.
    const allowed = letters < 3 ? 0 : Math.max(swapped ? 2 : 1, Math.floor(letters / 3));
    if (far <= allowed && far < least) [best, least] = [name, far];
  }
  return best;
}

/** What other tools and manuals call a thing that has another name here. */
const ALIASES: Readonly<Record<string, readonly string[]>> = {
  float: ["f32", "f64"],
  float32: ["f32"],
  real: ["f32", "f64"],
  single: ["f32"],
  double: ["f64"],
  float64: ["f64"],
  lreal: ["f64"],
  byte: ["u8"],
  uint8: ["u8"],
  int: ["s16", "i64"],
  int16: ["s16", "i64"],
  i16: ["s16", "i64"],
  uint16: ["u16", "i64"],
  word: ["u16", "i64"],
  int32: ["s32", "i64"],
  i32: ["s32", "i64"],
  dint: ["s32", "i64"],
  long: ["s32", "i64"],
  uint32: ["u32", "i64"],
  dword: ["u32", "i64"],
  int64: ["s64", "i64"],
  i64: ["s64"],
  uint64: ["u64", "i64"],
  boolean: ["bool"],
  ip: ["host"],
  hostname: ["host"],
  slave: ["unit"],
  slave_id: ["unit"],
  unit_id: ["unit"],
  unitid: ["unit"],
  register: ["address"],
  offset: ["address"],
  baudrate: ["baud"],
  baud_rate: ["baud"],
  username: ["user"],
  url: ["endpoint"],
  interval: ["every"],
};

/** `; did you mean 'host'?`, or nothing. */
export function didYouMean(word: string, names: Iterable<string>): string {
  const name = nearest(word, names);
  return name === null ? "" : `; did you mean '${name}'?`;
}

/** What is allowed, short enough for one line. */
export function listed(names: Iterable<string>, max = 12): string {
  const all = [...names];
  return all.length <= max ? all.join(", ") : `${all.slice(0, max).join(", ")}, ... (${all.length})`;
}

/** Case, and the three ways to write a blank in a name, are the commonest slips. */
const fold = (word: string): string => word.toLowerCase().replace(/[-\s]/g, "_");
const sorted = (word: string): string => Array.from(word).sort().join("");
