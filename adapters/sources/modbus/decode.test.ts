import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { modbusPoint, type ModbusPoint } from "#profiles/schema.ts";
import { inOrder, rawBytes } from "#test/hardware-sim/modbus/encode.ts";
import type { Series } from "../../contract.ts";
import { createFrame, type Frame } from "../../frame.ts";
import { classOf, reasonOf } from "../../quality.ts";
import { compileDecoder } from "./decode.ts";
import { limitsOf, planReads } from "./plan.ts";
import { widthOf, type WireType, type WordOrder } from "./types.ts";

type Given = Record<string, unknown>;

function point(given: Given): ModbusPoint {
  return { ...modbusPoint.parse({ name: "p", address: 0, ...given }), every: 1000 };
}

/** Decodes points that share one read whose data are `bytes`. */
function decode(
  points: readonly ModbusPoint[],
  values: readonly Series["value"][],
  bytes: readonly number[] | Uint8Array,
  order: WordOrder = "ABCD",
): { frame: Frame; row: (index: number) => number } {
  const [read, ...more] = planReads(points, points.keys(), limitsOf({ gap_registers_max: 124 }));
  assert.ok(read !== undefined && more.length === 0, "the test means one read");
  const series = points.map((p, i) => ({ kind: p.kind, value: values[i] ?? values[0] ?? "double" }));
  const decoder = compileDecoder(read, points, series, order);
  const frame = createFrame(decoder.points);
  if (decoder.texts) frame.texts = Array.from({ length: decoder.points.length }, () => null);
  // Seven bytes of header before the data, as on the wire.
  const wire = Uint8Array.from([9, 9, 9, 9, 9, 9, 9, ...bytes]);
  decoder.decode(new DataView(wire.buffer), 7, frame);
  return { frame, row: (index) => decoder.points.indexOf(index) };
}

function one(given: Given, bytes: readonly number[] | Uint8Array, value: Series["value"] = "double") {
  const { frame } = decode([point(given)], [value], bytes);
  const quality = frame.quality[0] ?? -1;
  return {
    value: value === "double" ? frame.doubles[0] : value === "int" ? frame.ints[0] : frame.texts?.[0],
    quality: reasonOf(quality) === "" ? classOf(quality) : `${classOf(quality)} ${reasonOf(quality)}`,
  };
}

const good = (value: number | bigint | string) => ({ value, quality: "good" });

describe("types and orders, byte for byte", () => {
  const cases: readonly (readonly [WireType, Partial<Record<WordOrder, readonly number[]>>, number])[] = [
    ["u16", { ABCD: [0x12, 0x34], CDAB: [0x12, 0x34], BADC: [0x34, 0x12], DCBA: [0x34, 0x12] }, 0x1234],
    ["s16", { ABCD: [0xff, 0xfe], CDAB: [0xff, 0xfe], BADC: [0xfe, 0xff], DCBA: [0xfe, 0xff] }, -2],
    ["u8", { ABCD: [0x77, 0x2a], CDAB: [0x77, 0x2a], BADC: [0x2a, 0x77], DCBA: [0x2a, 0x77] }, 0x2a],
    ["bcd16", { ABCD: [0x12, 0x34], BADC: [0x34, 0x12] }, 1234],
    ["bool", { ABCD: [0x01, 0x00], BADC: [0x01, 0x00] }, 1],
    [
      "u32",
      {
        ABCD: [0x89, 0xab, 0xcd, 0xef],
        CDAB: [0xcd, 0xef, 0x89, 0xab],
        BADC: [0xab, 0x89, 0xef, 0xcd],
        DCBA: [0xef, 0xcd, 0xab, 0x89],
      },
      0x89abcdef,
    ],
    [
      "s32",
      {
        ABCD: [0xff, 0xff, 0xff, 0x38],
        CDAB: [0xff, 0x38, 0xff, 0xff],
        BADC: [0xff, 0xff, 0x38, 0xff],
        DCBA: [0x38, 0xff, 0xff, 0xff],
      },
      -200,
    ],
    [
      "u24",
      {
        ABCD: [0x99, 0x01, 0x02, 0x03],
        CDAB: [0x02, 0x03, 0x99, 0x01],
        BADC: [0x01, 0x99, 0x03, 0x02],
        DCBA: [0x03, 0x02, 0x01, 0x99],
      },
      0x010203,
    ],
    [
      "bcd32",
      {
        ABCD: [0x12, 0x34, 0x56, 0x78],
        CDAB: [0x56, 0x78, 0x12, 0x34],
        BADC: [0x34, 0x12, 0x78, 0x56],
        DCBA: [0x78, 0x56, 0x34, 0x12],
      },
      12345678,
    ],
    [
      // 230.5 = 0x43668000, IEEE 754 binary32.
      "f32",
      {
        ABCD: [0x43, 0x66, 0x80, 0x00],
        CDAB: [0x80, 0x00, 0x43, 0x66],
        BADC: [0x66, 0x43, 0x00, 0x80],
        DCBA: [0x00, 0x80, 0x66, 0x43],
      },
      230.5,
    ],
    [
      // -1.5e9 = 0xC1D65A0BC0000000, IEEE 754 binary64.
      "f64",
      {
        ABCD: [0xc1, 0xd6, 0x5a, 0x0b, 0xc0, 0x00, 0x00, 0x00],
        CDAB: [0x00, 0x00, 0xc0, 0x00, 0x5a, 0x0b, 0xc1, 0xd6],
        BADC: [0xd6, 0xc1, 0x0b, 0x5a, 0x00, 0xc0, 0x00, 0x00],
        DCBA: [0x00, 0x00, 0x00, 0xc0, 0x0b, 0x5a, 0xd6, 0xc1],
      },
      -1.5e9,
    ],
    [
      "s64",
      {
        ABCD: [0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xfd],
        CDAB: [0xff, 0xfd, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff],
        BADC: [0xff, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xfd, 0xff],
        DCBA: [0xfd, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff],
      },
      -65539,
    ],
    [
      "u64",
      {
        ABCD: [0, 0, 0, 1, 0, 2, 0, 3],
        CDAB: [0, 3, 0, 2, 0, 1, 0, 0],
        BADC: [0, 0, 1, 0, 2, 0, 3, 0],
        DCBA: [3, 0, 2, 0, 1, 0, 0, 0],
      },
      0x0000_0001_0002_0003,
    ],
  ];
  for (const [type, orders, expected] of cases) {
    for (const [order, bytes] of Object.entries(orders)) {
      test(`${type} ${order}`, () => {
        assert.deepEqual(one({ type, order }, bytes), good(expected));
        if (Number.isInteger(expected)) assert.deepEqual(one({ type, order }, bytes, "int"), good(BigInt(expected)));
      });
    }
  }

  test("the device's order holds where the point has none", () => {
    const points = [point({ type: "u32" }), point({ name: "q", type: "u32", address: 2, order: "ABCD" })];
    const { frame, row } = decode(points, ["double"], [0, 1, 0, 0, 0, 0, 0, 1], "CDAB");
    assert.equal(frame.doubles[row(0)], 1);
    assert.equal(frame.doubles[row(1)], 1);
  });

  test("u64 stays exact up to the int64 maximum and is out of range above it", () => {
    const max = [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert.deepEqual(one({ type: "u64" }, max, "int"), good(2n ** 63n - 1n));
    const above = [0x80, 0, 0, 0, 0, 0, 0, 0];
    assert.deepEqual(one({ type: "u64" }, above, "int"), { value: 0n, quality: "bad out_of_range" });
    assert.deepEqual(one({ type: "u64" }, above), good(2 ** 63));
    assert.deepEqual(one({ type: "s64" }, above, "int"), good(-(2n ** 63n)));
  });

  test("coils are counted from the low bit of the first byte", () => {
    const points = [0, 3, 8, 9].map((address) => point({ name: `c${address}`, area: "coil", type: "bool", address }));
    const { frame, row } = decode(points, ["int"], [0b0000_1001, 0b0000_0010]);
    assert.deepEqual(
      [0, 1, 2, 3].map((i) => frame.ints[row(i)]),
      [1n, 1n, 0n, 1n],
    );
  });
});

describe("bits", () => {
  test("shift and width pick a field", () => {
    assert.deepEqual(one({ bits: { shift: 4, width: 3 } }, [0x0a, 0xbc]), good(0b011));
    assert.deepEqual(one({ type: "bool", bits: { shift: 15, width: 1 } }, [0x80, 0x00], "int"), good(1n));
    assert.deepEqual(one({ type: "u32", bits: { shift: 0, width: 32 } }, [0xff, 0xff, 0xff, 0xfe]), good(0xfffffffe));
    assert.deepEqual(one({ type: "s16", bits: { shift: 12, width: 4 } }, [0xf0, 0x00]), good(15));
    const wide = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0];
    assert.deepEqual(one({ type: "u64", bits: { shift: 28, width: 8 } }, wide, "int"), good(0x89n));
  });
});

describe("scale", () => {
  test("a decimal scale gives the number that a person would write", () => {
    assert.deepEqual(one({ scale: 0.1 }, [0x08, 0xfd]), good(230.1));
    assert.deepEqual(one({ scale: 0.01, offset: -40 }, [0x1b, 0x58]), good(30));
    assert.deepEqual(one({ scale: 0.1, range: [0, 1000] }, [0x08, 0xfd]), good(230.1));
    assert.deepEqual(one({ scale: -0.1 }, [0x08, 0xfd]), good(-230.1));
    assert.deepEqual(one({ scale: -0.1, range: [-1000, 0] }, [0x08, 0xfd]), good(-230.1));
  });
  test("an int series is scaled exactly, also beyond 2^53", () => {
    assert.deepEqual(one({ scale: 10 }, [0x00, 0x05], "int"), good(50n));
    const bytes = [0x00, 0x20, 0, 0, 0, 0, 0, 0x01];
    assert.deepEqual(one({ type: "u64", scale: 10 }, bytes, "int"), good((2n ** 53n + 1n) * 10n));
  });
  test("a scale register multiplies by its power of ten", () => {
    const voltage = { type: "u16", scale_register: 1 };
    assert.deepEqual(one(voltage, [0x08, 0xfd, 0xff, 0xff]), good(230.1));
    assert.deepEqual(one(voltage, [0x08, 0xfd, 0x00, 0x02]), good(230100));
    assert.deepEqual(one(voltage, [0x08, 0xfd, 0x80, 0x00]), { value: 0, quality: "bad not_implemented" });
    assert.deepEqual(one(voltage, [0x08, 0xfd, 0x00, 0x0b]), { value: 0, quality: "bad out_of_range" });
  });
  test("a scale register before its value", () => {
    assert.deepEqual(one({ address: 1, scale_register: 0 }, [0xff, 0xfe, 0x00, 0x64]), good(1));
  });
});

describe("what is no value", () => {
  test("sentinels are the raw pattern, signed or not", () => {
    const bad = { value: 0, quality: "bad sentinel" };
    assert.deepEqual(one({ sentinels: [0xffff] }, [0xff, 0xff]), bad);
    assert.deepEqual(one({ type: "s16", sentinels: [0x8000] }, [0x80, 0x00]), bad);
    assert.deepEqual(one({ type: "s16", sentinels: [-32768], scale: 0.1 }, [0x80, 0x00]), bad);
    assert.deepEqual(one({ type: "s32", sentinels: [0x7fffffff] }, [0x7f, 0xff, 0xff, 0xff]), bad);
    assert.deepEqual(one({ type: "f32", sentinels: [-9999.9] }, [0xc6, 0x1c, 0x3f, 0x9a]), bad);
    assert.deepEqual(one({ sentinels: [0xffff] }, [0xff, 0xfe]), good(0xfffe));
  });
  test("a sentinel says why", () => {
    const open = { value: 0x7fff, reason: "sensor_open" };
    assert.deepEqual(one({ sentinels: [open] }, [0x7f, 0xff]), { value: 0, quality: "bad sensor_open" });
  });
  test("64-bit sentinels that a double cannot hold", () => {
    const ones = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    const bad = { value: 0n, quality: "bad sentinel" };
    assert.deepEqual(one({ type: "u64", sentinels: [2 ** 64] }, ones, "int"), bad);
    // A double has no 2^63 - 1 either, and 2^63 is also how 0x8000000000000000 is written.
    assert.deepEqual(one({ type: "s64", sentinels: [2 ** 63] }, [0x80, 0, 0, 0, 0, 0, 0, 0], "int"), bad);
    const most = [0x7f, ...ones.slice(1)];
    assert.deepEqual(one({ type: "s64", sentinels: [2 ** 63] }, most, "int"), bad);
    assert.deepEqual(one({ type: "s64", sentinels: [2 ** 63] }, most), {
      value: 0,
      quality: "bad sentinel",
    });
    assert.deepEqual(
      one({ type: "s64", sentinels: [-1] }, [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], "int"),
      good(0xffffffffn),
    );
  });
  test("NaN and infinity are bad, by the sentinel's name where there is one", () => {
    const nan = [0x7f, 0xc0, 0x00, 0x00];
    assert.deepEqual(one({ type: "f32" }, nan), { value: 0, quality: "bad nan" });
    assert.deepEqual(one({ type: "f32" }, [0xff, 0x80, 0x00, 0x00]), { value: 0, quality: "bad nan" });
    assert.deepEqual(one({ type: "f32", order: "CDAB" }, [0x00, 0x00, 0x7f, 0xc0]), { value: 0, quality: "bad nan" });
    const named = { type: "f32", sentinels: [{ value: "nan", reason: "not_implemented" }] };
    assert.deepEqual(one(named, nan), { value: 0, quality: "bad not_implemented" });
  });
  test("a BCD digit above 9", () => {
    assert.deepEqual(one({ type: "bcd16" }, [0x1a, 0x00]), { value: 0, quality: "bad invalid_bcd" });
  });
  test("out of range, after scaling", () => {
    const percent = { scale: 0.1, range: [0, 100] };
    assert.deepEqual(one(percent, [0x03, 0xe8]), good(100));
    assert.deepEqual(one(percent, [0x03, 0xe9]), { value: 0, quality: "bad out_of_range" });
  });
  test("an unknown state keeps its value and is uncertain", () => {
    const state = { kind: "state", states: { "1": "off", "0x04": "running" } };
    assert.deepEqual(one(state, [0, 4], "int"), good(4n));
    assert.deepEqual(one(state, [0, 5], "int"), { value: 5n, quality: "uncertain unknown_state" });
  });
  test("a frame that is filled again forgets what was bad", () => {
    const points = [point({ type: "f32" }), point({ name: "q", address: 2, sentinels: [0] })];
    const [read] = planReads(points, [0, 1], limitsOf({}));
    assert.ok(read);
    const series = points.map(() => ({ kind: "gauge", value: "double" }) as const);
    const decoder = compileDecoder(read, points, series, "ABCD");
    const frame = createFrame(decoder.points);
    decoder.decode(new DataView(Uint8Array.from([0x7f, 0xc0, 0, 0, 0, 0]).buffer), 0, frame);
    assert.ok(frame.quality.every((quality) => quality !== 0));
    decoder.decode(new DataView(Uint8Array.from([0x43, 0x66, 0x80, 0, 0, 7]).buffer), 0, frame);
    assert.deepEqual([...frame.quality], [0, 0]);
    assert.deepEqual([...frame.doubles], [230.5, 7]);
  });
});

describe("texts", () => {
  const text = { kind: "text", type: "string", length: 4 };
  const ascii = (chars: string) => [...Buffer.from(chars, "latin1")];
  test("padding goes, on either side", () => {
    assert.deepEqual(one(text, ascii("AB12    "), "text"), good("AB12"));
    assert.deepEqual(one(text, ascii("\0\0 A B\0\0"), "text"), good("A B"));
    assert.deepEqual(one(text, ascii("ABC\0xyz!"), "text"), good("ABC"));
    assert.deepEqual(one(text, ascii("\0\0\0\0\0\0\0\0"), "text"), good(""));
  });
  test("byte order within the registers", () => {
    assert.deepEqual(one({ ...text, order: "BADC" }, ascii("BA21\0\0\0\0"), "text"), good("AB12"));
    assert.deepEqual(one({ ...text, order: "CDAB" }, ascii("AB12\0\0\0\0"), "text"), good("AB12"));
  });
  test("UTF-8 is a text, control characters and broken bytes are not", () => {
    assert.deepEqual(one(text, [0xc2, 0xb0, 0x43, 0, 0, 0, 0, 0], "text"), good("°C"));
    const bad = { value: null, quality: "bad not_printable" };
    assert.deepEqual(one(text, [0x41, 0x07, 0x42, 0, 0, 0, 0, 0], "text"), bad);
    assert.deepEqual(one(text, [0xff, 0xfe, 0x42, 0, 0, 0, 0, 0], "text"), bad);
  });
  test("a number that is wanted as a text keeps all its digits", () => {
    const serial = { kind: "text", type: "u64", order: "CDAB" };
    assert.deepEqual(one(serial, [0, 3, 0, 2, 0, 1, 0, 1], "text"), good("281479271809027"));
    assert.deepEqual(one({ kind: "text", type: "bcd16" }, [0x00, 0x42], "text"), good("42"));
    assert.deepEqual(one({ kind: "text", type: "u32", sentinels: [0xffff_ffff] }, [255, 255, 255, 255], "text"), {
      value: null,
      quality: "bad sentinel",
    });
  });
});

describe("properties", () => {
  const orders = fc.constantFrom<WordOrder>("ABCD", "CDAB", "BADC", "DCBA");
  const raws: Record<string, fc.Arbitrary<number | bigint>> = {
    u8: fc.nat(0xff),
    u16: fc.nat(0xffff),
    s16: fc.integer({ min: -0x8000, max: 0x7fff }),
    u24: fc.nat(0xff_ffff),
    u32: fc.integer({ min: 0, max: 0xffff_ffff }),
    s32: fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff }),
    u64: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
    s64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    f32: fc.float({ noNaN: true, noDefaultInfinity: true }),
    f64: fc.double({ noNaN: true, noDefaultInfinity: true }),
    bcd16: fc.nat(9999),
    bcd32: fc.nat(99_999_999),
  };
  for (const [type, arbitrary] of Object.entries(raws)) {
    test(`${type}: what is encoded is decoded`, () => {
      fc.assert(
        fc.property(orders, arbitrary, (order, raw) => {
          const p = point({ type, order });
          const bytes = inOrder(rawBytes(p.type, raw, widthOf(p)), p.type, order);
          const column = type.startsWith("f") ? "double" : "int";
          const { value, quality } = one({ type, order }, bytes, column);
          assert.equal(quality, "good");
          // -0 and 0 are one value.
          if (column === "int") assert.equal(value, BigInt(raw));
          else assert.ok(value === raw, `${String(value)} is not ${raw}`);
        }),
        { numRuns: 200 },
      );
    });
  }

  test("no bytes make a decoder throw, and every row is written", () => {
    const pointArbitrary = fc.record({
      type: fc.constantFrom(...Object.keys(raws), "string", "bool"),
      order: orders,
      scale: fc.constantFrom(1, 0.1, 10, 0.0061035),
      range: fc.option(fc.constant([-1000, 1000] as [number, number]), { nil: undefined }),
      sentinels: fc.option(fc.constant([0xffff, "nan" as const]), { nil: undefined }),
      column: fc.constantFrom<Series["value"]>("int", "double"),
    });
    fc.assert(
      fc.property(
        fc.array(pointArbitrary, { minLength: 1, maxLength: 12 }),
        fc.uint8Array({ minLength: 120, maxLength: 120 }),
        (given, bytes) => {
          const points = given.map(({ column: _column, ...rest }, i) =>
            point({
              ...rest,
              name: `p${i}`,
              address: i * 4,
              ...(rest.type === "string" ? { kind: "text", length: 3 } : {}),
            }),
          );
          const columns = given.map(({ column, type }) => (type === "string" ? "text" : column));
          const { frame } = decode(points, columns, bytes);
          for (let row = 0; row < frame.count; row += 1) {
            const index = frame.points[row] ?? 0;
            if (columns[index] === "double") assert.ok(Number.isFinite(frame.doubles[row]));
            if (columns[index] === "text") assert.equal(frame.texts?.[row] === null, frame.quality[row] !== 0);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
