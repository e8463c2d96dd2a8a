/** CPU, memory and event loop delay of this process. */
import type { Clock } from "#adapters/contract.ts";
import { monitorEventLoopDelay } from "node:perf_hooks";

/** Resolution of the event loop probe: fine enough to see a stall, cheap enough to leave on. */
const LOOP_RESOLUTION_MS = 20;

export class ProcessFigures {
  readonly #clock: Clock;
  readonly #started_ms: number;
  readonly #loop = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#started_ms = clock.monotonic_ms();
    this.#loop.enable();
  }

  take() {
    const { user, system } = process.cpuUsage();
    return {
      pid: process.pid,
      cpu_s: (user + system) / 1e6,
      rss_bytes: process.memoryUsage.rss(),
      uptime_s: (this.#clock.monotonic_ms() - this.#started_ms) / 1000,
      // The probe's own interval is part of what it measures.
      loop_delay_p99_s: Math.max(0, this.#loop.percentile(99) / 1e9 - LOOP_RESOLUTION_MS / 1000),
    };
  }

  close(): void {
    this.#loop.disable();
  }
}
