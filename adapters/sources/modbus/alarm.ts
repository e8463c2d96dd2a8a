/** One timer that is moved often and fires seldom: a deadline that moves on costs nothing. */
import type { Clock } from "../../contract.ts";

export class Alarm {
  readonly #clock: Clock;
  readonly #run: () => void;
  readonly #fire = (): void => this.#onTimer();
  #wanted_ms = Number.POSITIVE_INFINITY;
  #armed_ms = Number.POSITIVE_INFINITY;
  #cancel: (() => void) | null = null;

  constructor(clock: Clock, run: () => void) {
    this.#clock = clock;
    this.#run = run;
  }

  /** Runs once at this monotonic time, in place of any other time set before. */
  at(wanted_ms: number, now_ms: number): void {
    this.#wanted_ms = wanted_ms;
    // A timer that fires earlier is left to fire, and set again then.
    if (this.#cancel !== null && this.#armed_ms <= wanted_ms) return;
    this.#cancel?.();
    this.#arm(now_ms);
  }

  /** Not wanted any more; the timer may still pass by, and does nothing then. */
  off(): void {
    this.#wanted_ms = Number.POSITIVE_INFINITY;
  }

  close(): void {
    this.off();
    this.#cancel?.();
    this.#cancel = null;
  }

  #arm(now_ms: number): void {
    this.#armed_ms = this.#wanted_ms;
    this.#cancel = this.#clock.after(Math.max(0, Math.ceil(this.#wanted_ms - now_ms)), this.#fire);
  }

  #onTimer(): void {
    this.#cancel = null;
    if (this.#wanted_ms === Number.POSITIVE_INFINITY) return;
    const now_ms = this.#clock.monotonic_ms();
    if (now_ms < this.#wanted_ms) return this.#arm(now_ms);
    this.#wanted_ms = Number.POSITIVE_INFINITY;
    this.#run();
  }
}
