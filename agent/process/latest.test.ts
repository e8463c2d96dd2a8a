import type { Descriptor } from "#adapters/contract.ts";
import { createFrame } from "#adapters/frame.ts";
import { bad } from "#adapters/quality.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Latest } from "./latest.ts";

test("a value that comes back is not older than the reading that said it was missing", () => {
  const latest = new Latest(2);
  const frame = createFrame(Uint32Array.of(0, 1));
  const take = (time_us: number, own: readonly number[] | null, quality = 0): number[] | null => {
    frame.time_us = time_us;
    frame.times_us = own === null ? null : Float64Array.from(own);
    frame.quality.fill(quality);
    latest.keepForward(frame);
    latest.apply(frame);
    return frame.times_us === null ? null : [...frame.times_us];
  };
  assert.deepEqual(take(1000, [900, 100]), [900, 100], "the device's own time, however old");
  take(2000, null, bad("link_lost"));
  assert.deepEqual(take(3000, [900, 2500]), [3000, 2500], "unchanged since before the loss: true as it arrives");
  assert.deepEqual(take(4000, [3900, 2600]), [3900, 2600], "from then on the device's own time again");
});

test("a code is told by its name, flags also of a negative one, and of 64 bits", () => {
  const shape = {
    metric: "m",
    unit: "1",
    description: "",
    kind: "state",
    value: "int",
    monotonic: false,
    attributes: {},
  } as const;
  const flags = [
    [0, "low"],
    [15, "sign"],
    [62, "high"],
  ] as const;
  const descriptor: Descriptor = {
    device: "d",
    source: "modbus",
    resource: {},
    scope: { name: "t", version: "1" },
    series: [
      { ...shape, name: "state", states: [[-1, "fault"]] },
      { ...shape, name: "flags", flags },
    ],
  };
  const latest = new Latest(2);
  const frame = createFrame(Uint32Array.of(0, 1));
  frame.time_us = 1;
  const labels = (state: bigint, code: bigint): string[] => {
    frame.ints[0] = state;
    frame.ints[1] = code;
    latest.apply(frame);
    return latest.read(descriptor).map(({ label }) => label);
  };
  assert.deepEqual(labels(-1n, -32768n), ["fault", "sign high"]);
  assert.deepEqual(labels(7n, (1n << 62n) + 1n), ["unknown", "low high"]);
});
