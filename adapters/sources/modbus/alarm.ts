/**
 * Deadlines and pauses of all buses on one timer: they are moved with every request and pass without
 * being needed, and a timer for each would cost more than the request.
 */
import type { Clock } from "../../contract.ts";

/** A time at which something runs, unless it is moved or dropped before. */
export class Alarm {
  /** Monotonic; infinite while nothing is wanted. */
  wanted_ms = Number.POSITIVE_INFINITY;
  readonly run: () => void;
  readonly #keeper: TimeKeeper;

  constructor(keeper: TimeKeeper, run: () => void) {
    this.#keeper = keeper;
    this.run = run;
  }

  /** Runs once at this monotonic time, in place of any other time set before. */
  at(wanted_ms: number, now_ms: number): void {
    this.wanted_ms = wanted_ms;
    this.#keeper.wake(wanted_ms, now_ms);
  }

  /** Not wanted any more. */
  off(): void {
    this.wanted_ms = Number.POSITIVE_INFINITY;
  }

  /** The same, and the timer goes with the last alarm. */
  close(): void {
    this.off();
    this.#keeper.rest();
  }
}

export class TimeKeeper {
  readonly #clock: Clock;
  readonly #alarms: Alarm[] = [];
  readonly #fire = (): void => this.#onTimer();
  #armed_ms = Number.POSITIVE_INFINITY;
  #cancel: (() => void) | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Kept for good: there is one for each bus. */
  alarm(run: () => void): Alarm {
    const alarm = new Alarm(this, run);
    this.#alarms.push(alarm);
    return alarm;
  }

  wake(wanted_ms: number, now_ms: number): void {
    // A timer that fires earlier is left to fire, and is set again then.
    if (this.#armed_ms <= wanted_ms) return;
    this.#cancel?.();
    this.#armed_ms = wanted_ms;
    this.#cancel = this.#clock.after(Math.max(0, Math.ceil(wanted_ms - now_ms)), this.#fire);
  }

  rest(): void {
    if (this.#cancel === null || this.#alarms.some(({ wanted_ms }) => wanted_ms < Number.POSITIVE_INFINITY)) return;
    this.#cancel();
    this.#cancel = null;
    this.#armed_ms = Number.POSITIVE_INFINITY;
  }

  #onTimer(): void {
    this.#cancel = null;
    this.#armed_ms = Number.POSITIVE_INFINITY;
    const now_ms = this.#clock.monotonic_ms();
    for (const alarm of this.#alarms) {
      if (alarm.wanted_ms > now_ms) continue;
      alarm.off();
      alarm.run();
    }
    let next_ms = Number.POSITIVE_INFINITY;
    for (const { wanted_ms } of this.#alarms) next_ms = Math.min(next_ms, wanted_ms);
    if (next_ms < Number.POSITIVE_INFINITY) this.wake(next_ms, now_ms);
  }
}
