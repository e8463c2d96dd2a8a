/** Cuts decoded payloads into batches that a target takes in one piece. */
import type { Batch, Descriptor, Event } from "#adapters/contract.ts";
import type { Frame } from "#adapters/frame.ts";

type DeviceFrame = { readonly descriptor: Descriptor; readonly frame: Frame };

/**
 * Batches of at most `readings_max` readings each, in order; events go with the last one. A device has one
 * descriptor a batch: targets group by it, and what was read before and after a change must not change places.
 */
export function split(frames: readonly DeviceFrame[], events: readonly Event[], readings_max: number): Batch[] {
  const batches: Batch[] = [];
  let part: DeviceFrame[] = [];
  let readings = 0;
  const described = new Map<string, Descriptor>();
  const close = (closing: readonly Event[]): void => {
    batches.push({ frames: part, events: closing, readings });
    part = [];
    readings = 0;
    described.clear();
  };
  for (const { descriptor, frame } of frames) {
    const before = described.get(descriptor.device);
    if (before !== undefined && before !== descriptor) close([]);
    for (let from = 0; from < frame.count;) {
      if (readings === readings_max) close([]);
      described.set(descriptor.device, descriptor);
      const rows = Math.min(frame.count - from, readings_max - readings);
      part.push({ descriptor, frame: rows === frame.count ? frame : slice(frame, from, rows) });
      readings += rows;
      from += rows;
    }
  }
  if (part.length > 0 || events.length > 0) close(events);
  return batches;
}

/** Rows [from, from + rows) of a frame; the columns share its memory. */
export function slice(frame: Frame, from: number, rows: number): Frame {
  const to = from + rows;
  return {
    points: frame.points.subarray(from, to),
    count: rows,
    doubles: frame.doubles.subarray(from, to),
    ints: frame.ints.subarray(from, to),
    words: frame.words.subarray(from * 2, to * 2),
    quality: frame.quality.subarray(from, to),
    time_us: frame.time_us,
    times_us: frame.times_us?.subarray(from, to) ?? null,
    starts_us: frame.starts_us?.subarray(from, to) ?? null,
    texts: frame.texts?.slice(from, to) ?? null,
  };
}
