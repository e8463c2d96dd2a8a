/** Repeats of one stage, made one: medians with their spread, as a table or as JSON. */
import type { Row } from "./stage.ts";

/** What one repeat of a stage said, in a process of its own. */
export interface Repeat {
  readonly rows: readonly Row[];
  /** Highest resident set of that process. */
  readonly rss_mb: number;
}

export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  readonly min: number;
  readonly max: number;
  readonly floor: number | null;
  readonly ratio: number | null;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/**
 * Medians over the repeats, in the order of the first one. The ratio is the median of the ratios, each
 * taken within one process: a machine that slows down for a while slows both sides of it.
 */
export function summarize(repeats: readonly Repeat[]): Figure[] {
  const figures: Figure[] = [];
  for (const first of repeats[0]?.rows ?? []) {
    const rows = repeats.flatMap((repeat) => repeat.rows.filter((one) => one.name === first.name));
    const values = rows.map((one) => one.value);
    const floors = rows.flatMap((one) => (one.floor === null ? [] : [one.floor]));
    const ratios = rows.flatMap((one) => (one.ratio === null ? [] : [one.ratio]));
    figures.push({
      name: first.name,
      unit: first.unit,
      value: median(values),
      min: Math.min(...values),
      max: Math.max(...values),
      floor: floors.length > 0 ? median(floors) : null,
      ratio: ratios.length > 0 ? median(ratios) : null,
    });
  }
  const rss = repeats.map((repeat) => repeat.rss_mb);
  figures.push({
    name: "peak RSS of this stage's process",
    unit: "MB",
    value: median(rss),
    min: Math.min(...rss),
    max: Math.max(...rss),
    floor: null,
    ratio: null,
  });
  return figures;
}

/** Three significant digits are what such a measurement is worth. */
function short(value: number): string {
  if (!Number.isFinite(value)) return "-";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(3)));
}

/** The table that people read, in Markdown. */
export function table(stage: string, figures: readonly Figure[]): string {
  const lines = figures.map(({ name, unit, value, min, max, floor, ratio }) => [
    name,
    short(value),
    `${short(min)}..${short(max)}`,
    floor === null ? "-" : short(floor),
    ratio === null ? "-" : ratio.toFixed(2),
    unit,
  ]);
  const head = [stage, "median", "min..max", "floor", "ratio", "unit"];
  const widths = head.map((title, column) =>
    Math.max(title.length, ...lines.map((line) => (line[column] ?? "").length)),
  );
  const format = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => (i === 0 || i === 5 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join(" | ")} |`;
  const rule = `|${widths.map((width, i) => (i === 0 || i === 5 ? "-".repeat(width + 2) : `${"-".repeat(width + 1)}:`)).join("|")}|`;
  return [format(head), rule, ...lines.map(format)].join("\n");
}
