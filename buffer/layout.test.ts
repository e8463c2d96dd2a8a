import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import {
  type CursorState,
  decodeCheckpoint,
  decodeCursors,
  decodeDescription,
  decodeEntry,
  decodeKey,
  decodeMark,
  encodeCheckpoint,
  encodeCursors,
  encodeDescription,
  encodeEntry,
  encodeKey,
  encodeMark,
  KIND,
  parseSegmentName,
  segmentName,
} from "./layout.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
/** Weights and positions go up to 2^53 - 1. */
const u53 = fc.maxSafeNat();
const u32 = fc.nat({ max: 0xffff_ffff });

describe("bytes on disk", () => {
  test("a record, byte by byte", () => {
    const key = encodeKey(0x1_0000_0007);
    assert.equal(hex(key), "0000000100000007");
    const entry = {
      kind: KIND.record,
      weight_before: 0x2_0000_0003,
      weight: 5,
      references: [9],
      described_at: [0x1_0000_0004],
      payload: Buffer.from("abc"),
    };
    const value = encodeEntry(key, entry, 0x1_0000_0007);
    const crc = "48a5e044";
    assert.equal(hex(value), `${crc}01010001` + "0000000200000003" + "00000005" + "00000009" + "00000003" + "616263");
  });

  test("a description, cursors, a mark and a segment's name", () => {
    assert.equal(hex(encodeDescription(258, Buffer.from("x"))), "0000010278");
    assert.equal(hex(encodeCheckpoint({ covers_seq: 258, bytes: Buffer.from("x") })), "000000000000010278");
    const cursor = { name: "otlp", seq: 7, weight: 6, start_weight: 1, delivered: 3, dropped: 2 };
    assert.equal(
      hex(encodeCursors({ next_description_id: 3, cursors: [cursor] })),
      "00000003" +
        "0001" +
        "046f746c70" +
        "0000000000000007" +
        "0000000000000006" +
        "0000000000000001" +
        "0000000000000003" +
        "0000000000000002",
    );
    assert.equal(hex(encodeMark({ seq: 7, weight: 6 })), "61b983a9" + "0000000000000007" + "0000000000000006");
    assert.equal(segmentName(42, 1234), "0000000000000042-0000000000001234");
  });

  test("what is not a segment has no place in the chain", () => {
    assert.deepEqual(parseSegmentName("0000000000000042-0000000000001234"), { first: 42, weight: 1234 });
    for (const name of ["42-1234", "lost+found", "0000000000000042", "0000000000000042-0000000000001234.tmp"]) {
      assert.equal(parseSegmentName(name), null, name);
    }
  });

  test("every entry comes back as it was written, under its own key alone", () => {
    const entries = fc.record(
      {
        seq: u53,
        kind: fc.constantFrom(...Object.values(KIND)),
        weight_before: u53,
        weight: u32,
        ids: fc.array(u32, { maxLength: 5 }),
        payload: fc.uint8Array({ maxLength: 100 }),
      },
      { noNullPrototype: true },
    );
    fc.assert(
      fc.property(entries, ({ seq, ids, ...rest }) => {
        const described_at = ids.map((_, index) => Math.max(0, seq - index));
        const key = encodeKey(seq);
        const value = encodeEntry(key, { ...rest, references: ids, described_at }, seq);
        const decoded = decodeEntry(key, value);
        assert.ok(decoded);
        assert.deepEqual(
          { ...decoded, payload: Uint8Array.from(decoded.payload) },
          { ...rest, seq, references: ids, described_at, payload: rest.payload },
        );
        assert.equal(decodeEntry(encodeKey(seq === 0 ? 1 : seq - 1), value), null);
      }),
    );
  });

  test("one flipped bit anywhere, or a cut anywhere, is noticed", () => {
    const key = encodeKey(3);
    const entry = { kind: KIND.record, weight_before: 1, weight: 2, references: [1], described_at: [2] };
    const value = encodeEntry(key, { ...entry, payload: Buffer.from("0123456789") }, 3);
    for (let bit = 0; bit < value.length * 8; bit++) {
      const flipped = Uint8Array.from(value);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      assert.equal(decodeEntry(key, flipped), null, `bit ${bit}`);
    }
    for (let length = 0; length < value.length; length++) {
      assert.equal(decodeEntry(key, value.subarray(0, length)), null, `cut at ${length}`);
    }
    assert.equal(decodeKey(key.subarray(1)), null);
    const mark = encodeMark({ seq: 1, weight: 1 });
    for (let bit = 0; bit < mark.length * 8; bit++) {
      const flipped = Uint8Array.from(mark);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      assert.equal(decodeMark(flipped), null, `bit ${bit}`);
    }
  });

  test("cursors and descriptions come back", () => {
    const cursor: fc.Arbitrary<CursorState> = fc.record(
      {
        name: fc.string({ minLength: 1, maxLength: 40 }),
        seq: u53,
        weight: u53,
        start_weight: u53,
        delivered: u53,
        dropped: u53,
      },
      { noNullPrototype: true },
    );
    fc.assert(
      fc.property(u32, fc.array(cursor, { maxLength: 4 }), fc.uint8Array(), (id, cursors, bytes) => {
        const state = { next_description_id: id, cursors };
        assert.deepEqual(decodeCursors(encodeCursors(state)), state);
        const description = decodeDescription(encodeDescription(id, bytes));
        assert.equal(description.id, id);
        assert.deepEqual(Uint8Array.from(description.bytes), bytes);
        const checkpoint = decodeCheckpoint(encodeCheckpoint({ covers_seq: id, bytes }));
        assert.equal(checkpoint.covers_seq, id);
        assert.deepEqual(Uint8Array.from(checkpoint.bytes), bytes);
      }),
    );
  });
});
