import { VirtualClock } from "#test/virtual-clock.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Schedule } from "./schedule.ts";

describe("schedule", () => {
  test("jobs of one interval share a wake-up, at multiples of the interval, without drift", async () => {
    const clock = new VirtualClock();
    const schedule = new Schedule(clock);
    await clock.advance(123);
    const times: number[] = [];
    const removals = Array.from({ length: 100 }, () => schedule.add(1000, () => times.push(clock.monotonic_ms())));
    assert.equal(clock.pending, 1);
    await clock.advance(3000);
    assert.deepEqual(new Set(times), new Set([1000, 2000, 3000]));
    assert.equal(times.length, 300);
    for (const remove of removals) remove();
    assert.equal(clock.pending, 0);
  });

  test("a large plant is spread over the interval in bounded bursts", async () => {
    const clock = new VirtualClock();
    const schedule = new Schedule(clock);
    const counts = new Map<number, number>();
    for (let job = 0; job < 1000; job++) {
      schedule.add(1000, () => counts.set(clock.monotonic_ms(), (counts.get(clock.monotonic_ms()) ?? 0) + 1));
    }
    await clock.advance(1000);
    assert.equal(
      [...counts.values()].reduce((sum, count) => sum + count),
      1000,
    );
    assert.ok(Math.max(...counts.values()) <= 128);
    assert.equal(counts.size, 8);
  });

  test("a timer that fires a little early does not start a slot twice", async () => {
    // As Node's do: whole milliseconds, counted from the loop's own time, which stands a little back.
    class Early extends VirtualClock {
      override after(delay_ms: number, run: () => void): () => void {
        return super.after(Math.max(1, Math.trunc(delay_ms) - 1), run);
      }
    }
    const clock = new Early();
    await clock.advance(0.7);
    let runs = 0;
    new Schedule(clock).add(100, () => runs++);
    await clock.advance(1020);
    assert.equal(runs, 10);
  });
});
