/** 'Did you mean': the nearest of the names that would have been right, where one is near enough. */
import { distance } from "fastest-levenshtein";

/** The closest of `names`, or null where none is close: at most a third of the letters may differ. */
export function nearest(word: string, names: Iterable<string>): string | null {
  const wanted = fold(word);
  let best: string | null = null;
  let least = Infinity;
  for (const name of names) {
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
