/** CPU, memory and event loop time of this process: what the runtime counts anyway, for nothing wakes up to measure. */
import type { Clock } from "#adapters/contract.ts";

export class ProcessFigures {
  readonly #clock: Clock;
  readonly #started_ms: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#started_ms = clock.monotonic_ms();
  }

  take() {
    const { user, system } = process.cpuUsage();
    return {
      pid: process.pid,
      cpu_s: (user + system) / 1e6,
      rss_bytes: process.memoryUsage.rss(),
      uptime_s: (this.#clock.monotonic_ms() - this.#started_ms) / 1000,
      loop_active_s: performance.eventLoopUtilization().active / 1000,
    };
  }
}
