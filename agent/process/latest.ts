/** The newest reading of every point of a device, for people: `read`, the status page, the demo. */
import type { Descriptor, Series } from "#adapters/contract.ts";
import type { Frame } from "#adapters/frame.ts";
import { namesOf } from "#adapters/lines.ts";
import { classOf, isBad, isGood, type QualityClass, reasonOf } from "#adapters/quality.ts";

export interface Reading {
  readonly point: string;
  /** null: bad, or never read. */
  readonly value: number | bigint | string | null;
  /** kind state: the name of the code, or of each flag that is set; empty otherwise. */
  readonly label: string;
  readonly unit: string;
  readonly quality: QualityClass;
  readonly reason: string;
  /** Microseconds since 1970: the device's own time where it gives one. 0: never read. */
  readonly time_us: number;
}

/** The reason of a point that nothing was heard of since the start. */
const NOT_READ = "not_read";

export class Latest {
  readonly #values: Float64Array;
  readonly #ints: BigInt64Array;
  readonly #words: Int32Array;
  readonly #texts: (string | null)[];
  readonly #quality: Uint16Array;
  readonly #time_us: Float64Array;
  /** Rows seen since the start, and those of them that were not good. */
  readings = 0;
  uncertain = 0;
  bad = 0;

  constructor(points: number) {
    const memory = new ArrayBuffer(points * 8);
    this.#values = new Float64Array(memory);
    this.#ints = new BigInt64Array(memory);
    this.#words = new Int32Array(memory);
    this.#texts = Array.from({ length: points }, () => null);
    this.#quality = new Uint16Array(points);
    this.#time_us = new Float64Array(points);
  }

  apply(frame: Frame): void {
    const { points, words, quality, texts, times_us, count } = frame;
    for (let row = 0; row < count; row++) {
      const point = points[row] ?? 0;
      const q = quality[row] ?? 0;
      this.#quality[point] = q;
      this.#time_us[point] = times_us?.[row] || frame.time_us;
      if (isBad(q)) {
        this.bad++;
        continue;
      }
      if (!isGood(q)) this.uncertain++;
      // Moved as two words: no BigInt is made, and an int64 that looks like a NaN arrives unharmed.
      this.#words[point * 2] = words[row * 2] ?? 0;
      this.#words[point * 2 + 1] = words[row * 2 + 1] ?? 0;
      if (texts !== null) this.#texts[point] = texts[row] ?? null;
    }
    this.readings += count;
  }

  /**
   * A value that comes back keeps the device's own time, but not one before the reading that said it was
   * missing: an OPC UA server sends a value that has not changed for an hour with the time of that change,
   * and a series must not run backwards. Such a value is true when it arrives, so it gets that time.
   */
  keepForward(frame: Frame): void {
    const { times_us, points, count, time_us } = frame;
    if (times_us === null) return;
    for (let row = 0; row < count; row++) {
      const point = points[row] ?? 0;
      if (!isBad(this.#quality[point] ?? 0)) continue;
      if ((times_us[row] ?? 0) < (this.#time_us[point] ?? 0)) times_us[row] = time_us;
    }
  }

  read(descriptor: Descriptor): Reading[] {
    return descriptor.series.map((series, point) => {
      const q = this.#quality[point] ?? 0;
      const time_us = this.#time_us[point] ?? 0;
      const value = time_us === 0 || isBad(q) ? null : this.#value(series.value, point);
      return {
        point: series.name,
        value,
        label: value === null || typeof value === "string" ? "" : labelOf(series, value),
        unit: series.unit,
        quality: time_us === 0 ? "bad" : classOf(q),
        reason: time_us === 0 ? NOT_READ : reasonOf(q),
        time_us,
      };
    });
  }

  #value(column: "int" | "double" | "text", point: number): number | bigint | string | null {
    if (column === "text") return this.#texts[point] ?? null;
    return column === "int" ? (this.#ints[point] ?? 0n) : (this.#values[point] ?? 0);
  }
}

function labelOf(series: Series, code: number | bigint): string {
  const { state, flags } = namesOf(series, code);
  return state ?? flags?.join(" ") ?? "";
}
