/** What one stage of the benchmark gives to the runner, test/bench/main.ts. */

/** One figure, beside the floor that was measured in the same run on the same machine. */
export interface Row {
  /** Stable: the tables of docs/performance.md and comparisons over time go by it. */
  readonly name: string;
  readonly value: number;
  /** Such as `ns/point`, `requests/s`, `MB`. */
  readonly unit: string;
  /** What the machine can do at best, in the same unit; null where there is no such thing (RSS). */
  readonly floor: number | null;
  /** value / floor; null without a floor. */
  readonly ratio: number | null;
}

/** A stage measures once, for some seconds at most; the runner repeats it, each time in a new process. */
export type Stage = () => Promise<readonly Row[]>;

/** A row with its ratio. */
export function row(name: string, value: number, unit: string, floor: number | null): Row {
  return { name, value, unit, floor, ratio: floor === null || floor === 0 ? null : value / floor };
}
