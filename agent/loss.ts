/** Sums up what a target will never get into one gap a device and reason: which points, from, to, how many. */
import type { Clock, Descriptor, Event } from "#adapters/contract.ts";
import type { Frame } from "#adapters/frame.ts";
import type { Entry, Loss } from "#buffer/contract.ts";
import { decodePayload } from "./batch/reader.ts";
import type { BatchWriter } from "./batch/writer.ts";
import type { Descriptors } from "./descriptors.ts";
import { type Gap, gapEvent, gapOf } from "./gap.ts";

interface Sum {
  /** A device may have had several descriptors over time; the gap is told of the newest. */
  descriptor: Descriptor;
  readonly reason: string;
  /** The target that it concerns; undefined: all. */
  readonly target: string | undefined;
  readonly points: Set<string>;
  from_us: number;
  to_us: number;
  readings: number;
  estimated: boolean;
}

export class LossSummary {
  readonly #reason: string;
  readonly #sums = new Map<string, Sum>();
  /** Readings lost now: without those that a lost gap event told of. */
  readings = 0;

  /** `reason`: why readings and events added from now on are lost. */
  constructor(reason: string) {
    this.#reason = reason;
  }

  add(frames: Iterable<{ readonly descriptor: Descriptor; readonly frame: Frame }>): void {
    for (const { descriptor, frame } of frames) {
      const sum = this.#sum(descriptor, this.#reason);
      widen(sum, frame.time_us, frame.time_us);
      sum.readings += frame.count;
      this.readings += frame.count;
      for (let row = 0; row < frame.count; row++) {
        const point = frame.points[row] ?? 0;
        sum.points.add(descriptor.series[point]?.name ?? String(point));
      }
    }
  }

  /**
   * A gap that is itself lost is told again, or a loss would be silent after all. Where `target` alone
   * loses it, gaps of other targets are none of its business.
   */
  addGaps(events: Iterable<Event>, target?: string): void {
    for (const event of events) {
      if (target !== undefined && (event.target ?? target) !== target) continue;
      const gap = gapOf(event);
      if (gap === null) continue;
      const sum = this.#sum(gap.descriptor, gap.reason, event.target);
      widen(sum, gap.from_us, gap.to_us);
      sum.readings += gap.readings;
      sum.estimated ||= gap.estimated;
      for (const point of gap.points) sum.points.add(point);
    }
  }

  gaps(about: { detail?: string; target?: string } = {}): Gap[] {
    return [...this.#sums.values()].map(({ target, points, ...sum }) => ({
      ...sum,
      points: [...points],
      ...(target === undefined ? {} : { target }),
      ...about,
    }));
  }

  #sum(descriptor: Descriptor, reason: string, target?: string): Sum {
    const key = JSON.stringify([reason, descriptor.device, target]);
    let sum = this.#sums.get(key);
    if (sum === undefined) {
      const empty = { from_us: Number.POSITIVE_INFINITY, to_us: 0, readings: 0, estimated: false };
      sum = { descriptor, reason, target, points: new Set(), ...empty };
      this.#sums.set(key, sum);
    }
    sum.descriptor = descriptor;
    return sum;
  }
}

function widen(sum: Sum, from_us: number, to_us: number): void {
  sum.from_us = Math.min(sum.from_us, from_us);
  sum.to_us = Math.max(sum.to_us, to_us);
}

/** The entry that stands in the journal for what a target lost there: one gap event a device and reason. */
export async function lossEntry(
  loss: Loss,
  descriptors: Descriptors,
  gateway: Descriptor,
  clock: Clock,
  writer: BatchWriter,
): Promise<Entry> {
  const reason = loss.reason === "overflow" ? "buffer_full" : loss.reason;
  const { target } = loss;
  const summary = new LossSummary(reason);
  let toldBefore = 0;
  for await (const record of loss.records) {
    try {
      await descriptors.load(record.references);
      const { frames, events, lost } = decodePayload(record.payload, descriptors.get);
      toldBefore += lost;
      summary.add(frames);
      summary.addGaps(events, target);
    } catch (error) {
      // It stays among what is not told yet, below.
      if (!(error instanceof Error && "code" in error)) throw error;
    }
  }
  const now_us = clock.now_us();
  const gaps = summary.gaps({ target });
  const untold = loss.weight - summary.readings - toldBefore;
  if (untold > 0) {
    // What cannot be read any more: how many is known from the log's own count, not whose they were.
    const detail = `records ${loss.after_seq + 1} to ${loss.to_seq}`;
    const ends = { from_us: now_us, to_us: now_us };
    gaps.push({ descriptor: gateway, points: [], ...ends, reason, readings: untold, estimated: false, detail, target });
  }
  for (const gap of gaps) writer.event(descriptors.idOf(gap.descriptor), gapEvent(gap, now_us));
  return writer.finish();
}
