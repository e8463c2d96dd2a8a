/** The one place that asks the machine for the time and sets timers; everything else is given a Clock. */
import type { Clock } from "#adapters/contract.ts";
import { setTimeout as delay } from "node:timers/promises";

export const systemClock: Clock = {
  now_us: () => Math.round((performance.timeOrigin + performance.now()) * 1000) + wallOffset_us(),
  monotonic_ms: () => performance.now(),
  after(delay_ms, run) {
    const timer = setTimeout(run, delay_ms);
    return () => clearTimeout(timer);
  },
  async sleep(delay_ms, signal) {
    try {
      await delay(delay_ms, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      // An aborted wait is a wait that has ended; anything else is our own mistake.
      if (!signal?.aborted) throw error;
    }
  },
};

let offset_us = 0;
let checked_ms = -Infinity;

/**
 * `performance.timeOrigin` never moves, so a wall clock that is set later (NTP on a board without a
 * battery) would go unnoticed: the difference to `Date` is looked up once a second. Between two
 * look-ups time has microseconds and only goes forward.
 */
function wallOffset_us(): number {
  const now_ms = performance.now();
  if (now_ms - checked_ms >= 1000) {
    checked_ms = now_ms;
    const difference_ms = Date.now() - (performance.timeOrigin + now_ms);
    // Date has whole milliseconds; a smaller difference is its rounding, not a step of the clock.
    offset_us = Math.abs(difference_ms) < 2 ? 0 : Math.round(difference_ms * 1000);
  }
  return offset_us;
}
