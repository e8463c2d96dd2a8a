/** Whatever comes in on the line, in whatever pieces: one answer at most, of the length that was asked for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { rtuFrame } from "#test/hardware-sim/modbus/frames.ts";
import type { LineEvents } from "./lines.ts";
import { requestOf } from "./link.ts";
import { RtuPort } from "./rtu-port.ts";

const UNIT = 1;
const noise = fc.uint8Array({ maxLength: 40 });
const pieces = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 8 });

/** What the port takes for the answer to a read of `count` registers when `bytes` come in. */
function answersTo(count: number, bytes: Uint8Array, sizes: readonly number[]): Buffer[] {
  const lines: LineEvents[] = [];
  const port = new RtuPort(
    (events) => {
      lines.push(events);
      return Promise.resolve({ write: () => undefined, close: () => Promise.resolve() });
    },
    { stray: () => undefined, lost: () => undefined },
  );
  const answers: Buffer[] = [];
  port.on("data", (answer: Buffer) => answers.push(answer));
  port.open(() => undefined);
  const request = requestOf(UNIT, { area: "holding", function_code: 3, address: 0x200, count });
  port.expect(request);
  port.write(rtuFrame(UNIT, request.frame.subarray(7)));
  for (let at = 0, i = 0; at < bytes.length; i += 1) {
    const size = sizes[i % sizes.length] ?? 1;
    lines[0]?.bytes(bytes.subarray(at, at + size));
    at += size;
  }
  return answers;
}

const answerOf = (data: Uint8Array): Buffer => rtuFrame(UNIT, Buffer.from([3, data.length, ...data]));

test("bytes at random are never two answers, nor one of another length", () => {
  const headed = fc.tuple(fc.constantFrom([UNIT, 3], [UNIT, 0x83], [2, 3]), noise);
  const bytes = fc.oneof(
    noise,
    headed.map(([head, rest]) => Uint8Array.from([...head, ...rest])),
  );
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), bytes, pieces, (count, given, sizes) => {
      const answers = answersTo(count, given, sizes);
      assert.ok(answers.length <= 1);
      for (const { length } of answers) assert.ok(length === 5 || length === 5 + count * 2, `${length} bytes`);
    }),
    { numRuns: 3000 },
  );
});

test("the answer is found behind what is not for us, however it is cut", () => {
  const data = fc
    .integer({ min: 1, max: 12 })
    .chain((count) => fc.uint8Array({ minLength: count * 2, maxLength: count * 2 }));
  // Of another unit, so that nothing before the answer looks like one.
  const before = noise.map((bytes) => bytes.map((byte) => (byte === UNIT ? 2 : byte)));
  fc.assert(
    fc.property(data, before, pieces, (wanted, first, sizes) => {
      const answer = answerOf(wanted);
      const answers = answersTo(wanted.length / 2, Buffer.concat([first, answer]), sizes);
      assert.deepEqual(answers, [answer]);
    }),
    { numRuns: 1000 },
  );
});
