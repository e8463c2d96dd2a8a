/**
 * What happens to a frame between its session and the journal, in this order:
 *
 *   Frame ─▶ times (never backwards after a loss) ─▶ counters (sums, start times) ─▶ latest (for people)
 *         ─▶ changes (report by exception) ─▶ collect
 */
import type { Descriptor, Device } from "#adapters/contract.ts";
import type { Frame } from "#adapters/frame.ts";
import { Changes } from "./changes.ts";
import { Counters, type CounterState } from "./counters.ts";
import { Latest } from "./latest.ts";

export interface PipelineOut {
  readonly push: (descriptor: Descriptor, frame: Frame) => void;
  /** A counter's start or offset changed: the checkpoint must be renewed. */
  readonly counterChanged: () => void;
}

export class Pipeline {
  /** The device's, with what it said of itself when it was connected. */
  descriptor: Descriptor;
  readonly latest: Latest;
  readonly counters: Counters;
  readonly changes: Changes;
  /** Whether frames of this device have a text column. */
  readonly hasTexts: boolean;
  readonly #push: (descriptor: Descriptor, frame: Frame) => void;

  constructor(device: Device, known: ReadonlyMap<string, CounterState>, out: PipelineOut) {
    this.descriptor = device.descriptor;
    this.latest = new Latest(device.descriptor.series.length);
    this.counters = new Counters(device, known, out.counterChanged);
    this.changes = new Changes(device);
    this.hasTexts = device.descriptor.series.some((series) => series.value === "text");
    this.#push = out.push;
  }

  frame(frame: Frame): void {
    this.latest.keepForward(frame);
    this.counters.apply(frame);
    this.latest.apply(frame);
    const news = this.changes.apply(frame);
    if (news.count > 0) this.#push(this.descriptor, news);
  }
}
