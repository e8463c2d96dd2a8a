/**
 * Rows that arrive one by one, given on as frames. One frame is filled again and again; it grows to
 * the largest notification seen, and a larger one than ROWS_MAX is given in several frames.
 */
import { createFrame, type Frame } from "../../frame.ts";
import { GOOD } from "../../quality.ts";

const ROWS_START = 64;
export const ROWS_MAX = 4096;

export class Rows {
  readonly #sink: (frame: Frame) => void;
  readonly #hasText: boolean;
  #capacity = ROWS_START;
  frame: Frame;

  constructor(sink: (frame: Frame) => void, hasText: boolean) {
    this.#sink = sink;
    this.#hasText = hasText;
    this.frame = this.#make(ROWS_START);
  }

  /** Starts frames received at `time_us`, with room for `rows` where that is not too many. */
  begin(time_us: number, rows: number): void {
    if (rows > this.#capacity && this.#capacity < ROWS_MAX) {
      this.#capacity = Math.min(ROWS_MAX, 2 ** Math.ceil(Math.log2(rows)));
      this.frame = this.#make(this.#capacity);
    }
    this.frame.count = 0;
    this.frame.time_us = time_us;
  }

  /** The next row, of `point`, good and stamped with the time of receipt until it is filled. */
  next(point: number): number {
    if (this.frame.count === this.#capacity) this.flush();
    const { frame } = this;
    const row = frame.count++;
    frame.points[row] = point;
    frame.quality[row] = GOOD;
    if (frame.times_us) frame.times_us[row] = frame.time_us;
    if (frame.texts) frame.texts[row] = null;
    return row;
  }

  flush(): void {
    if (this.frame.count > 0) this.#sink(this.frame);
    this.frame.count = 0;
  }

  #make(rows: number): Frame {
    const frame = createFrame(new Uint32Array(rows));
    frame.times_us = new Float64Array(rows);
    if (this.#hasText) frame.texts = Array.from({ length: rows }, () => null);
    return frame;
  }
}
