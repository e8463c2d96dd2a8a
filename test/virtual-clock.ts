/** A clock that stands still until a test moves it: timers fire in order, at their exact times. */
import type { Clock } from "#adapters/contract.ts";

interface Timer {
  readonly at_ms: number;
  readonly order: number;
  readonly run: () => void;
}

export class VirtualClock implements Clock {
  #now_ms = 0;
  #order = 0;
  #timers: Timer[] = [];
  /** Wall time at monotonic 0; a test may step it. */
  wall_us: number;

  constructor(wall_us = 1_790_000_000_000_000) {
    this.wall_us = wall_us;
  }

  now_us(): number {
    return this.wall_us + Math.round(this.#now_ms * 1000);
  }

  monotonic_ms(): number {
    return this.#now_ms;
  }

  after(delay_ms: number, run: () => void): () => void {
    const timer = { at_ms: this.#now_ms + Math.max(0, delay_ms), order: this.#order++, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  sleep(delay_ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const cancel = this.after(delay_ms, () => {
        signal?.removeEventListener("abort", aborted);
        resolve();
      });
      const aborted = (): void => {
        cancel();
        resolve();
      };
      signal?.addEventListener("abort", aborted, { once: true });
    });
  }

  /** Timers that are set. */
  get pending(): number {
    return this.#timers.length;
  }

  /** Moves time; between timers, promises get the turns that they need. */
  async advance(by_ms: number): Promise<void> {
    const until_ms = this.#now_ms + by_ms;
    await settle();
    for (;;) {
      const next = this.#timers
        .filter(({ at_ms }) => at_ms <= until_ms)
        .sort((a, b) => a.at_ms - b.at_ms || a.order - b.order)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#now_ms = Math.max(this.#now_ms, next.at_ms);
      next.run();
      await settle();
    }
    this.#now_ms = until_ms;
  }
}

/** Lets promise chains run until they wait for something real. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 8; turn++) await new Promise((resolve) => setImmediate(resolve));
}
