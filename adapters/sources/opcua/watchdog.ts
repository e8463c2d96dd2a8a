/** Barks once when nothing has fed it for so long. Feeding costs one clock reading, no timer. */
import type { Clock } from "../../contract.ts";

export class Watchdog {
  readonly #clock: Clock;
  readonly #limit_ms: number;
  readonly #bark: () => void;
  #fed_ms: number;
  #cancel: () => void;

  constructor(clock: Clock, limit_ms: number, bark: () => void) {
    this.#clock = clock;
    this.#limit_ms = limit_ms;
    this.#bark = bark;
    this.#fed_ms = clock.monotonic_ms();
    this.#cancel = clock.after(limit_ms, () => this.#look());
  }

  feed(): void {
    this.#fed_ms = this.#clock.monotonic_ms();
  }

  stop(): void {
    this.#cancel();
  }

  #look(): void {
    const left_ms = this.#limit_ms - (this.#clock.monotonic_ms() - this.#fed_ms);
    if (left_ms <= 0) this.#bark();
    else this.#cancel = this.#clock.after(left_ms, () => this.#look());
  }
}
