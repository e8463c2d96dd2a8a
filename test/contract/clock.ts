/** The machine's own time and timers, for tests that work on real sockets. */
import type { Clock } from "#adapters/contract.ts";

export const realClock: Clock = {
  now_us: () => Math.round((performance.timeOrigin + performance.now()) * 1000),
  monotonic_ms: () => performance.now(),
  after(delay_ms, run) {
    const timer = setTimeout(run, delay_ms);
    return () => clearTimeout(timer);
  },
  sleep(delay_ms, signal) {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, delay_ms);
      signal?.addEventListener("abort", done);
    });
  },
};
