import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { framingProblem } from "#profiles/checks/serial.ts";
import fc from "fast-check";
import { checksumOf } from "./checksum.ts";
import { createFramer, type Framing } from "./framer.ts";

const framingOf = (given: Partial<Framing>): Framing => ({ max: 1024, ...given });
const checksum = (given: Partial<NonNullable<Framing["checksum"]>>): NonNullable<Framing["checksum"]> => ({
  kind: "xor",
  coding: "binary",
  position: "before_end",
  from: "after_start",
  ...given,
});

/** Frames and counts of pieces; `null` is silence. */
function run(framing: Framing, pieces: readonly (string | Uint8Array | null)[]) {
  const frames: string[] = [];
  const framer = createFramer(framing, (body) => frames.push(Buffer.from(body).toString("latin1")));
  for (const piece of pieces) {
    if (piece === null) framer.flush();
    else framer.push(typeof piece === "string" ? Buffer.from(piece, "latin1") : piece);
  }
  return { frames, counts: { ...framer.counts } };
}

describe("checksums", () => {
  test("have the published check values over 123456789", () => {
    const bytes = Buffer.from("123456789");
    const hex = (kind: NonNullable<Framing["checksum"]>["kind"], coding: "binary" | "hex" = "binary") =>
      Buffer.from(checksumOf(checksum({ kind, coding }), bytes, 0, bytes.length)).toString(
        coding === "hex" ? "latin1" : "hex",
      );
    assert.equal(hex("xor"), "31");
    assert.equal(hex("sum8"), "dd");
    assert.equal(hex("sum8_complement"), "23");
    assert.equal(hex("crc16_modbus"), "374b", "low byte first");
    assert.equal(hex("crc16_ccitt"), "29b1");
    assert.equal(hex("crc16_modbus", "hex"), "4B37", "high digit first");
    assert.equal(hex("xor", "hex"), "31");
  });
});

describe("framer", () => {
  test("ends lines at their terminator, wherever the bytes are split", () => {
    const framing = framingOf({ end: "\r\n" });
    assert.deepEqual(run(framing, ["S S  1.00 g\r\nS D  2.00 g\r\n"]).frames, ["S S  1.00 g", "S D  2.00 g"]);
    assert.deepEqual(run(framing, ["S S  1.0", "0 g\r", "\nS"]).frames, ["S S  1.00 g"]);
    assert.deepEqual(run(framing, ["\r\n\r\na\r\n"]).frames, ["a"], "empty lines are nothing");
    assert.deepEqual(run(framing, ["a\rb\nc\r\n"]).frames, ["a\rb\nc"], "half a terminator is data");
  });

  test("takes what stands between STX and ETX, and skips the rest", () => {
    const framing = framingOf({ start: "\x02", end: "\x03" });
    const { frames, counts } = run(framing, ["noise\x02ABC\x03\r\n\x02DEF\x03"]);
    assert.deepEqual(frames, ["ABC", "DEF"]);
    assert.equal(counts.skipped_bytes, 7);
  });

  test("a start within a frame begins the next one", () => {
    const { frames } = run(framingOf({ start: "\x02", end: "\x03" }), ["\x02lost\x02found\x03"]);
    assert.deepEqual(frames, ["found"]);
  });

  test("counts a fixed length, and finds its place again", () => {
    assert.deepEqual(run(framingOf({ length: 4 }), ["abcdefgh", "ij"]).frames, ["abcd", "efgh"]);
    assert.deepEqual(run(framingOf({ start: "\x02", length: 3 }), ["x\x02abc\x02d", "ef"]).frames, ["abc", "def"]);
    // Total 4 after the start, CR included: the first start is a false one.
    assert.deepEqual(run(framingOf({ start: "\x02", length: 4, end: "\r" }), ["\x02a\x02abc\r"]).frames, ["abc"]);
  });

  test("silence ends a frame where nothing else does, and gives up an unfinished one otherwise", () => {
    assert.deepEqual(run(framingOf({ gap: 20 }), ["ab", "c", null, null, "d", null]).frames, ["abc", "d"]);
    const { frames, counts } = run(framingOf({ end: "\r", gap: 20 }), ["half", null, "whole\r"]);
    assert.deepEqual(frames, ["whole"]);
    assert.equal(counts.skipped_bytes, 4);
  });

  test("drops and counts what is too long, and goes on with the next frame", () => {
    const { frames, counts } = run(framingOf({ end: "\r", max: 4 }), ["1234\r12345\r123456789\rok\r"]);
    assert.deepEqual(frames, ["1234", "ok"]);
    assert.equal(counts.oversize, 2);
    const gap = run(framingOf({ gap: 5, max: 4 }), ["12345", "6", null, "ok", null]);
    assert.deepEqual(gap.frames, ["ok"]);
    assert.equal(gap.counts.oversize, 1);
  });

  test("checks the checksum in every place and coding", () => {
    // A ^ B ^ C = 0x40; with the ETX: 0x43.
    assert.deepEqual(
      run(framingOf({ start: "\x02", end: "\x03", checksum: checksum({}) }), ["\x02ABC\x40\x03"]).frames,
      ["ABC"],
    );
    const after = framingOf({ start: "\x02", end: "\x03", checksum: checksum({ position: "after_end" }) });
    assert.deepEqual(run(after, ["\x02ABC\x03\x43\x02ABC\x03", "\x43"]).frames, ["ABC", "ABC"]);
    const fromStart = framingOf({ start: "\x02", end: "\x03", checksum: checksum({ from: "start" }) });
    assert.deepEqual(run(fromStart, ["\x02ABC\x42\x03"]).frames, ["ABC"]);
    const hex = framingOf({ end: "\r", checksum: checksum({ kind: "crc16_ccitt", coding: "hex" }) });
    assert.deepEqual(run(hex, ["12345678929B1\r12345678929b1\r"]).frames, ["123456789", "123456789"]);
    const modbus = framingOf({ length: 11, checksum: checksum({ kind: "crc16_modbus" }) });
    assert.deepEqual(run(modbus, ["123456789\x37\x4b"]).frames, ["123456789"]);
    const gap = framingOf({ gap: 5, checksum: checksum({ kind: "sum8" }) });
    assert.deepEqual(run(gap, ["123456789\xdd", null]).frames, ["123456789"]);
  });

  test("a wrong checksum drops that frame alone", () => {
    const framing = framingOf({ start: "\x02", end: "\x03", checksum: checksum({}) });
    const { frames, counts } = run(framing, ["\x02ABC\x41\x03\x02ABC\x40\x03"]);
    assert.deepEqual(frames, ["ABC"]);
    assert.equal(counts.checksum_errors, 1);
  });

  test("a binary checksum may look like the end", () => {
    // 'A' ^ 'B' = 0x03, which is the ETX itself.
    const framing = framingOf({ start: "\x02", end: "\x03", checksum: checksum({}) });
    assert.deepEqual(run(framing, ["\x02AB\x03\x03\x02ABC\x40\x03"]).frames, ["AB", "ABC"]);
    assert.deepEqual(run(framing, ["\x02AB\x03", "\x03"]).frames, ["AB"]);
  });

  test("property: any split of any bytes gives the same frames and counts", () => {
    const sum = fc.option(
      fc.record({
        kind: fc.constantFrom("xor", "sum8", "crc16_modbus"),
        coding: fc.constantFrom("binary", "hex"),
        position: fc.constantFrom("before_end", "after_end"),
        from: fc.constantFrom("start", "after_start"),
      }),
      { nil: undefined },
    );
    const framings = fc
      .record({
        start: fc.constantFrom(undefined, "\x02", "\x02A", "A"),
        end: fc.constantFrom(undefined, "\x03", "\r\n", "AB", "A"),
        length: fc.option(fc.integer({ min: 3, max: 7 }), { nil: undefined }),
        max: fc.integer({ min: 1, max: 9 }),
        checksum: sum,
      })
      .map((given) => framingOf(Object.fromEntries(Object.entries(given).filter(([, v]) => v !== undefined))))
      .filter((framing) => framingProblem(framing) === null);
    const alphabet = fc.constantFrom(0x02, 0x03, 0x0d, 0x0a, 0x41, 0x42, 0x30, 0x00);
    fc.assert(
      fc.property(
        framings,
        fc.array(alphabet, { maxLength: 60 }),
        fc.array(fc.integer({ min: 1, max: 9 })),
        (framing, bytes, cuts) => {
          const pieces: Uint8Array[] = [];
          let at = 0;
          for (const cut of cuts) {
            pieces.push(Uint8Array.from(bytes.slice(at, at + cut)));
            at += cut;
          }
          pieces.push(Uint8Array.from(bytes.slice(at)));
          const whole = run(framing, [Uint8Array.from(bytes)]);
          assert.deepEqual(run(framing, pieces), whole);
          assert.deepEqual(
            run(
              framing,
              bytes.map((byte) => Uint8Array.of(byte)),
            ),
            whole,
          );
        },
      ),
      { numRuns: 3000 },
    );
  });

  test("property: frames that were built come out as they went in, with noise between", () => {
    const framing = framingOf({ start: "\x02", end: "\x03", checksum: checksum({ kind: "crc16_modbus" }) });
    const text = fc.string({ unit: fc.constantFrom("A", "7", " ", "-", "."), minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(fc.array(text, { maxLength: 8 }), fc.constantFrom("", "\r\n", "xx"), (bodies, noise) => {
        const line = bodies.map((body) => {
          const bytes = Buffer.from(body, "latin1");
          const sum = checksumOf(checksum({ kind: "crc16_modbus" }), bytes, 0, bytes.length);
          return `${noise}\x02${body}${Buffer.from(sum).toString("latin1")}\x03`;
        });
        assert.deepEqual(run(framing, [line.join("")]).frames, bodies);
      }),
    );
  });

  test("holds no more than it must, whatever comes", () => {
    const framing = framingOf({ end: "\r", max: 16 });
    const { frames, counts } = run(framing, ["x".repeat(1_000_000), "\rok\r"]);
    assert.deepEqual(frames, ["ok"]);
    assert.equal(counts.oversize, 1);
    assert.equal(counts.skipped_bytes, 1_000_001);
  });
});
