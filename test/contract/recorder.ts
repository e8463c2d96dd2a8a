/** Takes frames as the agent would: reads the rows, keeps copies, and leaves nothing of what was lent. */
import type { Device, LinesideError, SessionContext } from "#adapters/contract.ts";
import type { Frame } from "#adapters/frame.ts";
import { bad, classOf, type QualityClass, reasonOf } from "#adapters/quality.ts";
import { realClock } from "./clock.ts";

export interface Reading {
  readonly point: number;
  readonly name: string;
  readonly quality: QualityClass;
  readonly reason: string;
  readonly value: number | bigint | string | null;
  readonly time_us: number;
  /** The device's own time, where it gave one. */
  readonly device_time_us: number | null;
}

export interface Recorder {
  readonly context: SessionContext;
  /** Every reading so far, in the order in which they came. */
  readonly readings: Reading[];
  readonly losses: LinesideError[];
}

const POISON = bad("frame_was_kept_by_the_source");
const quiet = () => {};

export function createRecorder(device: Device): Recorder {
  const readings: Reading[] = [];
  const losses: LinesideError[] = [];
  return {
    readings,
    losses,
    context: {
      clock: realClock,
      log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
      lost: (error) => losses.push(error),
      sink(frame) {
        for (let row = 0; row < frame.count; row += 1) readings.push(readRow(device, frame, row));
        poison(frame);
      },
    },
  };
}

function readRow(device: Device, frame: Frame, row: number): Reading {
  const point = frame.points[row] ?? -1;
  const series = device.descriptor.series[point];
  if (series === undefined) throw new RangeError(`a frame names point ${point}, which the device does not have`);
  const packed = frame.quality[row] ?? 0;
  const quality = classOf(packed);
  const column =
    series.value === "text" ? frame.texts?.[row] : series.value === "int" ? frame.ints[row] : frame.doubles[row];
  return {
    point,
    name: series.name,
    quality,
    reason: reasonOf(packed),
    value: quality === "bad" ? null : (column ?? null),
    time_us: frame.time_us,
    device_time_us: frame.times_us?.[row] ?? null,
  };
}

/** A frame is lent: whatever is done to it after its use must not show in a later one. */
function poison(frame: Frame): void {
  frame.doubles.fill(Number.NaN);
  frame.quality.fill(POISON);
  frame.texts?.fill("poison");
  frame.times_us?.fill(-1);
  frame.starts_us?.fill(-1);
  frame.time_us = -1;
  frame.count = 0;
}
