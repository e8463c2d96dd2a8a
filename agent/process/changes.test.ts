import type { Device } from "#adapters/contract.ts";
import { createFrame } from "#adapters/frame.ts";
import { bad } from "#adapters/quality.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Changes } from "./changes.ts";

test("rows that say nothing new are left out, by bits, text and quality", () => {
  const device = {
    points: [{ kind: "state", report: "change" }, { kind: "text" }, { kind: "gauge" }],
    descriptor: { series: [{ value: "int" }, { value: "text" }, { value: "double" }] },
  } as unknown as Device; // Only what Changes looks at.
  const changes = new Changes(device);
  const frame = createFrame(Uint32Array.of(0, 1, 2));
  const rows = (state: bigint, text: string | null, quality = 0): number[] => {
    frame.ints[0] = state;
    frame.texts = [null, text, null];
    frame.quality.fill(quality);
    return [...changes.apply(frame).points];
  };
  assert.deepEqual(rows(-1n, "a"), [0, 1, 2]);
  assert.deepEqual(rows(-1n, "a"), [2]);
  // As doubles -1n and -2n are both NaN.
  assert.deepEqual(rows(-2n, "a"), [0, 2]);
  assert.deepEqual(rows(-2n, "b"), [1, 2]);
  assert.deepEqual(rows(0n, null, bad("timeout")), [0, 1, 2]);
  assert.deepEqual(rows(7n, "x", bad("timeout")), [2], "what a bad row holds is no news");
  assert.deepEqual(rows(-2n, "b"), [0, 1, 2], "good again is news");
  assert.equal(changes.unchanged, 6);
  frame.time_us += 600_000_000;
  assert.deepEqual(rows(-2n, "b"), [0, 1, 2], "told again after ten minutes");
  frame.time_us += 1_000_000;
  assert.deepEqual(rows(-2n, "b"), [2]);
  frame.time_us -= 3_600_000_000;
  assert.deepEqual(rows(-2n, "b"), [0, 1, 2], "a clock that was set back silences nothing");
});

test("what is left of a frame keeps every bit of its values", () => {
  const device = {
    points: [{ kind: "text" }, { kind: "state" }],
    descriptor: { series: [{ value: "text" }, { value: "int" }] },
  } as unknown as Device; // Only what Changes looks at.
  const changes = new Changes(device);
  const frame = createFrame(Uint32Array.of(0, 1));
  frame.texts = ["a", null];
  changes.apply(frame);
  const changed: bigint[] = [];
  // The last two are signalling NaNs as doubles: a move through a double register sets their quiet bit.
  const values = [-1n, -2n, 2n ** 53n + 1n, -(2n ** 63n), 0x7ff0_0000_0000_0001n, -0xf_ffff_ffff_ffffn];
  // Often enough for the optimising compiler to have its say.
  for (let count = 0; count < 20_000; count++) {
    const value = values[count % values.length] ?? 0n;
    frame.ints[1] = value;
    const news = changes.apply(frame);
    if (news.count !== 1 || news.ints[0] !== value) changed.push(value);
  }
  assert.deepEqual(changed, []);
});
