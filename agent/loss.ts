/** Sums up readings that a target will never get into one gap a device: which points, from, to, how many. */
import type { Clock, Descriptor } from "#adapters/contract.ts";
import type { Frame } from "#adapters/frame.ts";
import type { Entry, Loss } from "#buffer/contract.ts";
import { decodePayload } from "./batch/reader.ts";
import type { BatchWriter } from "./batch/writer.ts";
import type { Descriptors } from "./descriptors.ts";
import { type Gap, gapEvent } from "./gap.ts";

interface Sum {
  readonly descriptor: Descriptor;
  readonly points: Set<number>;
  from_us: number;
  to_us: number;
  readings: number;
}

export class LossSummary {
  readonly #sums = new Map<string, Sum>();

  add(frames: Iterable<{ readonly descriptor: Descriptor; readonly frame: Frame }>): void {
    for (const { descriptor, frame } of frames) {
      // A device may have had several descriptors over time; the gap is told of the newest.
      const sum = this.#sums.get(descriptor.device) ?? {
        descriptor,
        points: new Set<number>(),
        from_us: Number.POSITIVE_INFINITY,
        to_us: 0,
        readings: 0,
      };
      this.#sums.set(descriptor.device, { ...sum, descriptor });
      const kept = this.#sums.get(descriptor.device) ?? sum;
      kept.readings += frame.count;
      kept.from_us = Math.min(kept.from_us, frame.time_us);
      kept.to_us = Math.max(kept.to_us, frame.time_us);
      for (let row = 0; row < frame.count; row++) kept.points.add(frame.points[row] ?? 0);
    }
  }

  get readings(): number {
    let readings = 0;
    for (const sum of this.#sums.values()) readings += sum.readings;
    return readings;
  }

  gaps(about: { reason: string; detail?: string; target?: string }): Gap[] {
    return [...this.#sums.values()].map(({ descriptor, points, from_us, to_us, readings }) => ({
      descriptor,
      points: [...points].map((point) => descriptor.series[point]?.name ?? String(point)),
      from_us,
      to_us,
      readings,
      estimated: false,
      ...about,
    }));
  }
}

/** The entry that stands in the journal for what a target lost there: one gap event a device. */
export async function lossEntry(
  loss: Loss,
  descriptors: Descriptors,
  gateway: Descriptor,
  clock: Clock,
  writer: BatchWriter,
): Promise<Entry> {
  const reason = loss.reason === "overflow" ? "buffer_full" : loss.reason;
  const summary = new LossSummary();
  for await (const record of loss.records) {
    await descriptors.load(record.references);
    summary.add(decodePayload(record.payload, descriptors.get).frames);
  }
  const now_us = clock.now_us();
  const gaps = summary.gaps({ reason, target: loss.target });
  const untold = loss.weight - summary.readings;
  if (untold > 0) {
    // What cannot be read any more: how many is known from the log's own count, not whose they were.
    const detail = `records ${loss.after_seq + 1} to ${loss.to_seq}`;
    const ends = { from_us: now_us, to_us: now_us };
    gaps.push({ descriptor: gateway, points: [], ...ends, reason, readings: untold, estimated: false, detail, target: loss.target });
  }
  for (const gap of gaps) writer.event(descriptors.idOf(gap.descriptor), gapEvent(gap, now_us));
  return writer.finish();
}
