/** Report by exception: rows of points with `report: change` that say nothing new are left out of a frame. */
import type { Device } from "#adapters/contract.ts";
import { createFrame, type Frame } from "#adapters/frame.ts";
import { isBad } from "#adapters/quality.ts";

/**
 * What has not changed is told again after so long: a target that is new, or lost the last change (a full
 * journal, a refusal), comes to know it all the same.
 */
const AGAIN_US = 600_000_000;

export class Changes {
  /** Per point: is it reported on change alone. */
  readonly #onChange: Uint8Array;
  readonly #text: Uint8Array;
  readonly #seen: Uint8Array;
  readonly #quality: Uint16Array;
  /** Two words a point: bits are compared, for a small negative int64 read as a double is not a number. */
  readonly #words: Int32Array;
  readonly #texts: (string | null)[];
  /** When the point was last told. */
  readonly #told_us: Float64Array;
  readonly any: boolean;
  /** Rows left out since the start. */
  unchanged = 0;

  constructor(device: Device) {
    const points: readonly { kind: string; report?: "always" | "change" | undefined }[] = device.points;
    const count = points.length;
    this.#onChange = new Uint8Array(count);
    this.#text = new Uint8Array(count);
    this.#seen = new Uint8Array(count);
    this.#quality = new Uint16Array(count);
    this.#words = new Int32Array(count * 2);
    this.#told_us = new Float64Array(count);
    this.#texts = Array.from({ length: count }, () => null);
    for (const [index, point] of points.entries()) {
      const text = device.descriptor.series[index]?.value === "text";
      this.#text[index] = text ? 1 : 0;
      this.#onChange[index] = (point.report ?? (text ? "change" : "always")) === "change" ? 1 : 0;
    }
    this.any = this.#onChange.includes(1);
  }

  /** The frame itself where every row counts, else a smaller one (it may have no rows at all). */
  apply(frame: Frame): Frame {
    if (!this.any) return frame;
    let kept = 0;
    const keep = new Uint8Array(frame.count);
    for (let row = 0; row < frame.count; row++) {
      if (this.#isNews(frame, row)) {
        keep[row] = 1;
        kept++;
      }
    }
    this.unchanged += frame.count - kept;
    return kept === frame.count ? frame : shrink(frame, keep, kept);
  }

  #isNews(frame: Frame, row: number): boolean {
    const point = frame.points[row] ?? 0;
    if (this.#onChange[point] !== 1) return true;
    const quality = frame.quality[row] ?? 0;
    const text = this.#text[point] === 1 ? (frame.texts?.[row] ?? null) : null;
    const low = frame.words[row * 2] ?? 0;
    const high = frame.words[row * 2 + 1] ?? 0;
    if (this.#seen[point] === 1 && this.#quality[point] === quality) {
      const same =
        isBad(quality) ||
        (this.#text[point] === 1
          ? this.#texts[point] === text
          : this.#words[point * 2] === low && this.#words[point * 2 + 1] === high);
      // A clock that was set back must not silence a point until it has caught up.
      const since_us = frame.time_us - (this.#told_us[point] ?? 0);
      if (same && since_us >= 0 && since_us < AGAIN_US) return false;
    }
    this.#told_us[point] = frame.time_us;
    this.#seen[point] = 1;
    this.#quality[point] = quality;
    this.#words[point * 2] = low;
    this.#words[point * 2 + 1] = high;
    this.#texts[point] = text;
    return true;
  }
}

function shrink(frame: Frame, keep: Uint8Array, rows: number): Frame {
  const points = new Uint32Array(rows);
  const small = createFrame(points);
  small.time_us = frame.time_us;
  if (frame.times_us !== null) small.times_us = new Float64Array(rows);
  if (frame.starts_us !== null) small.starts_us = new Float64Array(rows);
  if (frame.texts !== null) small.texts = [];
  let to = 0;
  for (let row = 0; row < frame.count; row++) {
    if (keep[row] !== 1) continue;
    points[to] = frame.points[row] ?? 0;
    // Moved as two words: an int64 whose bits are those of a NaN must not be touched.
    small.words[to * 2] = frame.words[row * 2] ?? 0;
    small.words[to * 2 + 1] = frame.words[row * 2 + 1] ?? 0;
    small.quality[to] = frame.quality[row] ?? 0;
    if (small.times_us !== null) small.times_us[to] = frame.times_us?.[row] ?? frame.time_us;
    if (small.starts_us !== null) small.starts_us[to] = frame.starts_us?.[row] ?? 0;
    small.texts?.push(frame.texts?.[row] ?? null);
    to++;
  }
  return small;
}
