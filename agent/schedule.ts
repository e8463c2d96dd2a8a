/**
 * When things are polled. Jobs of one interval share a timer: what costs at real rates is waking up,
 * not polling (100 devices at 1 Hz cost ten times more when each has a wake-up of its own). So that
 * a large plant does not burst all at once, an interval's jobs are cut into slots of a bounded size
 * that are spread evenly over it.
 *
 *   interval 1 s:  |slot 0 ......|slot 1 ......|slot 2 ......|slot 0 ...
 *
 * Intervals start at multiples of themselves in monotonic time, so 500 ms, 1 s and 5 s coincide.
 */
import type { Clock } from "#adapters/contract.ts";

/** Jobs that start at one wake-up. */
const SLOT_JOBS_MAX = 128;

export class Schedule {
  readonly #clock: Clock;
  readonly #wheels = new Map<number, Wheel>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls `run` each `every_ms`; it must not block and not throw. The returned function ends that. */
  add(every_ms: number, run: () => void): () => void {
    let wheel = this.#wheels.get(every_ms);
    if (wheel === undefined) {
      wheel = new Wheel(this.#clock, every_ms);
      this.#wheels.set(every_ms, wheel);
    }
    const remove = wheel.add(run);
    return () => {
      remove();
      if (wheel.empty) this.#wheels.delete(every_ms);
    };
  }
}

class Wheel {
  readonly #clock: Clock;
  readonly #every_ms: number;
  #slots: (() => void)[][] = [];
  #next = { at_ms: 0, slot: 0 };
  #cancel: (() => void) | null = null;

  constructor(clock: Clock, every_ms: number) {
    this.#clock = clock;
    this.#every_ms = every_ms;
  }

  get empty(): boolean {
    return this.#slots.length === 0;
  }

  add(run: () => void): () => void {
    let slot = this.#slots.find((jobs) => jobs.length < SLOT_JOBS_MAX);
    if (slot === undefined) {
      slot = [];
      this.#slots.push(slot);
    }
    slot.push(run);
    this.#arm();
    return () => {
      const index = slot.indexOf(run);
      if (index >= 0) slot.splice(index, 1);
      if (slot.length === 0) this.#slots = this.#slots.filter((jobs) => jobs !== slot);
      this.#arm();
    };
  }

  /**
   * Sets the timer to the first slot after now, and after `done_ms`. Missed slots (a stalled process) are
   * not made up for.
   */
  #arm(done_ms = 0): void {
    this.#cancel?.();
    this.#cancel = null;
    if (this.#slots.length === 0) return;
    const now_ms = this.#clock.monotonic_ms();
    const spacing_ms = this.#every_ms / this.#slots.length;
    // Half a millisecond ahead counts as there, for a multiple of a fraction is seldom exact.
    const step = Math.floor((Math.max(now_ms, done_ms) + 0.5) / spacing_ms) + 1;
    this.#next = { at_ms: step * spacing_ms, slot: step % this.#slots.length };
    this.#cancel = this.#clock.after(Math.max(1, this.#next.at_ms - now_ms), () => this.#fire());
  }

  #fire(): void {
    const jobs = this.#slots[this.#next.slot] ?? [];
    // Node's timers count whole milliseconds from the loop's own time and may fire more than one early:
    // the slot is done all the same, and must not come twice.
    this.#arm(this.#next.at_ms);
    for (const run of jobs.slice()) run();
  }
}
