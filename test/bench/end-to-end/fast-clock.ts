/** The system's clock, but that it may be made to run faster for a while; it never jumps and never goes back. */
import type { Clock } from "#adapters/contract.ts";
import { systemClock } from "#agent/clock.ts";

interface Timer {
  readonly at_ms: number;
  readonly run: () => void;
  cancel: () => void;
}

export class FastClock implements Clock {
  readonly #timers = new Set<Timer>();
  #speed = 1;
  /** Both read the same at the last change of speed. */
  #real_ms = 0;
  #own_ms = 0;

  /** Runs at `speed` for `own_ms` of its own time. */
  async runFast(speed: number, own_ms: number): Promise<void> {
    this.#change(speed);
    await this.sleep(own_ms);
    this.#change(1);
  }

  monotonic_ms(): number {
    return this.#own_ms + (systemClock.monotonic_ms() - this.#real_ms) * this.#speed;
  }

  now_us(): number {
    return systemClock.now_us() + Math.round((this.monotonic_ms() - systemClock.monotonic_ms()) * 1000);
  }

  after(delay_ms: number, run: () => void): () => void {
    const timer = { at_ms: this.monotonic_ms() + delay_ms, run, cancel: () => undefined };
    this.#timers.add(timer);
    this.#arm(timer);
    return () => {
      this.#timers.delete(timer);
      timer.cancel();
    };
  }

  async sleep(delay_ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        cancel();
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const cancel = this.after(delay_ms, done);
      signal?.addEventListener("abort", done, { once: true });
    });
  }

  #arm(timer: Timer): void {
    timer.cancel = systemClock.after(Math.max(0, timer.at_ms - this.monotonic_ms()) / this.#speed, () => {
      this.#timers.delete(timer);
      timer.run();
    });
  }

  #change(speed: number): void {
    this.#own_ms = this.monotonic_ms();
    this.#real_ms = systemClock.monotonic_ms();
    this.#speed = speed;
    for (const timer of this.#timers) {
      timer.cancel();
      this.#arm(timer);
    }
  }
}
