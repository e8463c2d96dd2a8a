import type { Batch, Descriptor } from "#adapters/contract.ts";
import { createFrame } from "#adapters/frame.ts";
import { bad } from "#adapters/quality.ts";
import { VirtualClock } from "#test/virtual-clock.ts";
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DeadLetters, listLetters, readLetter } from "./dead-letter.ts";

const descriptor: Descriptor = {
  device: "d",
  source: "modbus",
  resource: {},
  scope: { name: "t", version: "1" },
  series: [],
};
const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

let dir = "";
before(async () => {
  dir = await mkdtemp(join(tmpdir(), "lineside-letters-"));
});
after(async () => await rm(dir, { recursive: true, force: true }));

function batchOf(value: bigint): Batch {
  const frame = createFrame(Uint32Array.of(0, 1));
  frame.time_us = 1_790_000_000_000_000;
  frame.ints[0] = value;
  frame.quality[1] = bad("timeout");
  const event = { name: "x", time_us: 5, severity: "info" as const, body: "b", attributes: { a: 1 }, descriptor };
  return { frames: [{ descriptor, frame }], events: [event], readings: 2 };
}

describe("dead letters", () => {
  test("what was refused is kept exactly, with the reason, in the order in which it was refused", async () => {
    const letters = new DeadLetters({ dir: join(dir, "a"), clock: new VirtualClock(), log });
    const batch = batchOf(-9007199254740993n);
    const paths = await Promise.all([
      letters.keep("otlp", "400 bad request", batch),
      letters.keep("otlp", "again", batch),
    ]);
    assert.ok(paths[0] !== null && paths[1] !== null);
    assert.ok(basename(paths[0]) < basename(paths[1]));
    const { head, batch: back } = await readLetter(paths[0]);
    assert.deepEqual([head.target, head.reason, head.readings, head.devices], ["otlp", "400 bad request", 2, ["d"]]);
    assert.equal(back.frames[0]?.frame.ints[0], -9007199254740993n);
    assert.deepEqual([...(back.frames[0]?.frame.quality ?? [])], [0, bad("timeout")]);
    assert.deepEqual(back.events, batch.events);
  });

  test("together they are bounded: the oldest go first, whoever refused them", async () => {
    const clock = new VirtualClock();
    const [one] = [await new DeadLetters({ dir: join(dir, "size"), clock, log }).keep("t", "r", batchOf(1n))];
    assert.ok(one !== null && one !== undefined);
    const [{ bytes } = { bytes: 0 }] = await listLetters(join(dir, "size"));
    const letters = new DeadLetters({ dir: join(dir, "b"), clock, log, limit_bytes: bytes * 3 });
    const kept: (string | null)[] = [];
    for (let index = 0; index < 7; index++) {
      await clock.advance(10);
      kept.push(await letters.keep(index % 2 === 0 ? "x" : "y", "r", batchOf(1n)));
    }
    const left = await listLetters(join(dir, "b"));
    assert.deepEqual(new Set(left.map(({ path }) => path)), new Set(kept.slice(-3)));
  });

  test("a disk that does not take them costs nothing else", async () => {
    await writeFile(join(dir, "file"), "");
    const letters = new DeadLetters({ dir: join(dir, "file"), clock: new VirtualClock(), log });
    assert.equal(await letters.keep("t", "r", batchOf(1n)), null);
  });
});
