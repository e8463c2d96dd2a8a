/**
 * Order of firmware versions as vendors write them: 1.9 < 1.10, 95.03, V112, 1.34.6-1, and `~N` for
 * what came before a release (1.03~1 < 1.03). A version is read as numbers and words between any
 * other signs; what is missing at the end counts as 0, so that 2.6 is 2.6.0.
 */

/** Digits without leading zeros, or letters in lower case. */
type Part = { readonly digits: string } | { readonly word: string };

/** Release segments: what stands before, between and after each `~`, without zeros at their ends. */
export type Version = readonly (readonly Part[])[];

const ZERO: Part = { digits: "" };

/** null where the text holds no digit, and so is no version. */
export function parseVersion(text: string): Version | null {
  if (!/\d/.test(text)) return null;
  // V112, v1.2 and 1.2 differ in how they are printed only.
  const bare = text
    .trim()
    .toLowerCase()
    .replace(/^v(?:er(?:sion)?)?[.\s]*(?=\d)/, "");
  return bare.split("~").map((segment) => {
    const parts = [...segment.matchAll(/(\d+)|(\p{L}+)/gu)].map(([, digits, word = ""]): Part =>
      digits === undefined ? { word } : { digits: digits.replace(/^0+/, "") },
    );
    return parts.slice(0, parts.findLastIndex((part) => !("digits" in part) || part.digits !== "") + 1);
  });
}

/** Below 0 where `a` is the older one, 0 where they are the same release. */
export function compareVersions(a: Version, b: Version): number {
  for (let segment = 0; segment < Math.max(a.length, b.length); segment += 1) {
    const left = a[segment];
    const right = b[segment];
    // One of them is the release itself, the other came before it.
    if (left === undefined || right === undefined) return left === undefined ? 1 : -1;
    for (let part = 0; part < Math.max(left.length, right.length); part += 1) {
      const order = compareParts(left[part] ?? ZERO, right[part] ?? ZERO);
      if (order !== 0) return order;
    }
  }
  return 0;
}

/** 0 < words < 1: 1.2 < 1.2b < 1.2.1. */
function compareParts(a: Part, b: Part): number {
  if ("digits" in a && "digits" in b) {
    // Without leading zeros the longer number is the greater one; no size is too big that way.
    return a.digits.length - b.digits.length || compareText(a.digits, b.digits);
  }
  if ("word" in a && "word" in b) return compareText(a.word, b.word);
  if ("digits" in a) return a.digits === "" ? -1 : 1;
  return "digits" in b && b.digits === "" ? 1 : -1;
}

const compareText = (a: string, b: string): number => (a === b ? 0 : a < b ? -1 : 1);
