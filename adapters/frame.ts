/**
 * A Frame is what one answer of a device says: parallel columns, one row a reading. It is the unit
 * of allocation on the hot path, and is lent, not given: a source may fill the same one again.
 */
import { GOOD, type Quality } from "./quality.ts";

export interface Frame {
  /** Row i is a reading of `descriptor.series[points[i]]`. */
  readonly points: Uint32Array;
  /** Rows in use; the columns may be longer. */
  count: number;
  /** The value of a `double` series. */
  readonly doubles: Float64Array;
  /** The value of an `int` series: the same memory as `doubles`. */
  readonly ints: BigInt64Array;
  /** The same memory again, two words a row, low word first (all our platforms are little-endian). */
  readonly words: Int32Array;
  readonly quality: Uint16Array;
  /** When the gateway received the answer, microseconds since 1970. */
  time_us: number;
  /** The device's own time of each row, 0 where it gives none; null where it never does. */
  times_us: Float64Array | null;
  /** Start of each counter's sum; filled by the agent; null where the frame has no counter. */
  starts_us: Float64Array | null;
  /** The value of `text` series; null where the frame has none. */
  texts: (string | null)[] | null;
}

export function createFrame(points: Uint32Array): Frame {
  const rows = points.length;
  const memory = new ArrayBuffer(rows * 8);
  return {
    points,
    count: rows,
    doubles: new Float64Array(memory),
    ints: new BigInt64Array(memory),
    words: new Int32Array(memory),
    quality: new Uint16Array(rows),
    time_us: 0,
    times_us: null,
    starts_us: null,
    texts: null,
  };
}

/** Writes an integer that a double holds exactly, without allocating a BigInt. */
export function setInt(frame: Frame, row: number, value: number): void {
  frame.words[row * 2] = value | 0;
  frame.words[row * 2 + 1] = Math.floor(value / 4294967296);
}

/** All rows without a value, for one reason: a refused request, a lost device. */
export function fillBad(frame: Frame, quality: Quality): void {
  frame.doubles.fill(0, 0, frame.count);
  frame.quality.fill(quality, 0, frame.count);
  frame.texts?.fill(null, 0, frame.count);
}

/** Makes a used frame ready to be filled again. */
export function resetFrame(frame: Frame): void {
  frame.count = frame.points.length;
  frame.quality.fill(GOOD);
}
