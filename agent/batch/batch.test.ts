import type { Descriptor, Event } from "#adapters/contract.ts";
import { createFrame, type Frame, setInt } from "#adapters/frame.ts";
import { bad, GOOD, uncertain } from "#adapters/quality.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decodePayload } from "./reader.ts";
import { BatchWriter } from "./writer.ts";

const descriptor: Descriptor = {
  device: "meter",
  source: "modbus",
  resource: { "device.id": "meter" },
  scope: { name: "x", version: "1" },
  series: [],
};

const qualities = [GOOD, bad("timeout"), bad("exception_2"), uncertain("unknown_state"), uncertain("")];

/** Any frame a source could make: shuffled or consecutive points, mixed qualities, optional columns. */
const anyFrame = fc
  .record({
    rows: fc.integer({ min: 1, max: 60 }),
    first: fc.integer({ min: 0, max: 300 }),
    run: fc.boolean(),
    same: fc.boolean(),
    times: fc.boolean(),
    starts: fc.boolean(),
    texts: fc.boolean(),
    seed: fc.array(fc.double({ noNaN: true }), { minLength: 60, maxLength: 60 }),
    picks: fc.array(fc.nat(4), { minLength: 60, maxLength: 60 }),
    text: fc.array(fc.option(fc.string({ unit: "grapheme", maxLength: 20 })), { minLength: 60, maxLength: 60 }),
    time_us: fc.integer({ min: 0, max: 4_000_000_000_000_000 }),
  })
  .map(({ rows, first, run, same, times, starts, texts, seed, picks, text, time_us }): Frame => {
    const points = Uint32Array.from({ length: rows }, (_, row) => (run ? first + row : (first + row * 7919) % 100_000));
    const frame = createFrame(points);
    frame.time_us = time_us;
    if (times) frame.times_us = Float64Array.from({ length: rows }, (_, row) => time_us + row);
    if (starts) frame.starts_us = Float64Array.from({ length: rows }, (_, row) => row * 1000);
    if (texts) frame.texts = text.slice(0, rows);
    for (let row = 0; row < rows; row++) {
      frame.doubles[row] = seed[row] ?? 0;
      frame.quality[row] = qualities[picks[same ? 0 : row] ?? 0] ?? GOOD;
    }
    return frame;
  });

describe("journal payloads", () => {
  test("what is written is read back, column by column", () => {
    fc.assert(
      fc.property(fc.array(anyFrame, { maxLength: 6 }), fc.nat(1000), (frames, lost) => {
        const writer = new BatchWriter();
        for (const frame of frames) writer.frame(7, frame);
        if (lost > 0) writer.lost(lost);
        const rows = frames.reduce((sum, frame) => sum + frame.count, 0);
        const { payload, weight, references } = writer.finish();
        assert.equal(weight, rows + lost);
        assert.deepEqual(references, frames.length > 0 ? [7] : []);
        const decoded = decodePayload(payload, () => descriptor);
        assert.equal(decoded.readings, rows);
        assert.equal(decoded.lost, lost);
        for (const [index, frame] of frames.entries()) {
          const back = decoded.frames[index]?.frame;
          assert.ok(back);
          assert.deepEqual(back.points, frame.points);
          assert.deepEqual(back.quality, frame.quality);
          assert.deepEqual(back.times_us, frame.times_us);
          assert.deepEqual(back.starts_us, frame.starts_us);
          assert.deepEqual(back.texts, frame.texts);
          assert.equal(back.time_us, frame.time_us);
          for (let row = 0; row < frame.count; row++) {
            // A bad reading has no value: whether the column is kept is the codec's affair.
            if ((frame.quality[row] ?? 0) === GOOD) assert.equal(back.ints[row], frame.ints[row]);
          }
        }
      }),
    );
  });

  test("int64 is exact and events keep their attributes", () => {
    const frame = createFrame(Uint32Array.of(0, 1));
    frame.ints[0] = -9007199254740993n;
    setInt(frame, 1, -5_000_000_000);
    const event: Event = {
      name: "lineside.gap",
      time_us: 1_700_000_000_000_000,
      severity: "warn",
      body: "nothing for 3 s",
      attributes: { "gap.points": ["a", "b"], "gap.readings": 6 },
      descriptor,
      target: "otlp",
    };
    const writer = new BatchWriter();
    writer.frame(1, frame);
    writer.event(2, event);
    const decoded = decodePayload(writer.finish().payload, () => descriptor);
    assert.deepEqual([...(decoded.frames[0]?.frame.ints ?? [])], [-9007199254740993n, -5_000_000_000n]);
    assert.deepEqual(decoded.events, [event]);
  });

  test("a frame of a dead device takes a few bytes", () => {
    const frame = createFrame(Uint32Array.from({ length: 125 }, (_, row) => row));
    frame.quality.fill(bad("timeout"));
    const writer = new BatchWriter();
    writer.frame(1, frame);
    assert.ok(writer.size < 40, `${writer.size} bytes`);
  });

  test("a payload may stand anywhere in memory", () => {
    const frame = createFrame(Uint32Array.of(5, 6, 7));
    frame.doubles.set([1.5, -2.5, 3.25]);
    const writer = new BatchWriter();
    writer.lost(1);
    writer.frame(1, frame);
    const { payload } = writer.finish();
    for (let offset = 0; offset < 9; offset++) {
      const memory = new Uint8Array(payload.length + 16);
      memory.set(payload, offset);
      const decoded = decodePayload(memory.subarray(offset, offset + payload.length), () => descriptor);
      assert.deepEqual([...(decoded.frames[0]?.frame.doubles ?? [])], [1.5, -2.5, 3.25], `offset ${offset}`);
    }
  });

  test("damage is an error, never a reading", () => {
    const frame = createFrame(Uint32Array.of(0, 1, 2));
    const writer = new BatchWriter();
    writer.frame(1, frame);
    const { payload } = writer.finish();
    for (let length = 0; length < payload.length; length++) {
      assert.throws(() => decodePayload(payload.subarray(0, length), () => descriptor), { code: "journal_format" });
    }
    const newer = Uint8Array.from(payload);
    newer[0] = 9;
    assert.throws(() => decodePayload(newer, () => descriptor), /version 9/);
  });
});
