import assert from "node:assert/strict";
import { PassThrough, Writable } from "node:stream";
import { describe, test } from "node:test";
import type { AdapterContext } from "../../contract.ts";
import { bad, uncertain } from "../../quality.ts";
import { batchOf, descriptor, frameOf, series } from "#test/contract/batches.ts";
import { realClock } from "#test/contract/clock.ts";
import { createTarget } from "./target.ts";

const ignore = (): void => {};
const context: AdapterContext = {
  clock: realClock,
  log: { debug: ignore, info: ignore, warn: ignore, error: ignore },
  data_dir: null,
};
const TIME_US = 1_795_000_000_123_456;

describe("console target", () => {
  test("prints lines that people can read: aligned, quality in sight", async () => {
    const meter = descriptor("main-meter", [
      series("voltage_l1"),
      series("energy", { kind: "counter", value: "int", monotonic: true, unit: "kW.h" }),
      series("mode", {
        kind: "state",
        value: "int",
        unit: "1",
        states: [[2, "run"]],
        flags: [
          [0, "hot"],
          [1, "wet"],
        ],
      }),
      series("order", { kind: "text", value: "text", unit: "1" }),
    ]);
    const scale = descriptor("scale", [series("weight", { unit: "kg" })]);
    const frame = frameOf(meter, TIME_US, [
      { series: 0, value: 230.123456789 },
      { series: 1, value: 9_007_199_254_740_993n },
      { series: 2, value: 2 },
      { series: 3, value: "4711\x1b[31m\r" },
      { series: 0, value: 1e9 / 3, quality: uncertain("out_of_calibration") },
      { series: 1, value: null, quality: bad("timeout") },
    ]);
    const event = {
      name: "lineside.device.down",
      time_us: TIME_US,
      severity: "error",
      body: "no answer",
      attributes: {},
      descriptor: scale,
    } as const;
    const output = new PassThrough({ encoding: "utf8" });
    const target = await createTarget({ format: "text" }, context, output);
    const frames = [
      { descriptor: meter, frame },
      { descriptor: scale, frame: frameOf(scale, TIME_US, [{ series: 0, value: 0.1 + 0.2 }]) },
    ];
    assert.equal((await target.deliver(batchOf(frames, [event]), new AbortController().signal)).kind, "delivered");
    const time = "2026-11-18T11:06:40.123Z";
    assert.deepEqual(String(output.read()).split("\n"), [
      `${time}  main-meter  voltage_l1      230.1235 V`,
      `${time}  main-meter  energy      9007199254740993 kW.h`,
      `${time}  main-meter  mode        2 (run, wet)`,
      `${time}  main-meter  order       4711\\x1b[31m\\x0d`,
      `${time}  main-meter  voltage_l1     333333300 V      UNCERTAIN out_of_calibration`,
      `${time}  main-meter  energy                 - kW.h   BAD timeout`,
      `${time}  scale       weight               0.3 kg`,
      `${time}  scale       ERROR lineside.device.down: no answer`,
      "",
    ]);
  });

  test("a reader that went away is a retry, now and later, and no crash", async () => {
    const output = new Writable({ write: (_chunk, _encoding, done) => done(new Error("write EPIPE")) });
    const target = await createTarget({ format: "json" }, context, output);
    const device = descriptor("d", [series("t")]);
    const batch = batchOf([{ descriptor: device, frame: frameOf(device, 1, [{ series: 0, value: 1 }]) }]);
    for (let attempt = 0; attempt < 2; attempt++) {
      const outcome = await target.deliver(batch, new AbortController().signal);
      assert.deepEqual(outcome, { kind: "retry", reason: "write EPIPE" });
    }
  });
});
