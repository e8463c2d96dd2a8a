import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BinaryStream } from "node-opcua";
import {
  DataChangeNotification,
  DataType,
  DataValue,
  NodeId,
  StatusCodes,
  Variant,
  VariantArrayType,
} from "node-opcua-client";
import { opcuaPoint } from "#profiles/schema.ts";
import { seriesOf } from "#profiles/series.ts";
import { createFrame, type Frame } from "../../frame.ts";
import { classOf, reasonOf } from "../../quality.ts";
import { compileWriter, type Writer, writeDataValue } from "./decode.ts";
import { itemsOf, keepNotificationsRaw, rawOf, readNotification } from "./raw.ts";

keepNotificationsRaw();

const RECEIVED_US = 1_700_000_000_000_000;
const INPUTS = [{}, { type: "i64" }, { kind: "text" }, { type: "bool" }] as const;

function compile(i: number): { writer: Writer; column: "int" | "double" | "text" } {
  const point = { ...opcuaPoint.parse({ name: "p", address: "i=1", ...INPUTS[i] }), every: 1000 };
  const series = seriesOf("opcua", point);
  return { writer: compileWriter(point, series), column: series.value };
}
const POINTS = INPUTS.map((_, i) => compile(i));

const int64 = fc.tuple(fc.nat(0xffffffff), fc.nat(0xffffffff));
const date = fc.date({ min: new Date("1970-01-01"), max: new Date("2200-01-01"), noInvalidDate: true });
const text = fc.string({ unit: "grapheme", maxLength: 20 });
const scalars = fc.oneof(
  fc.tuple(fc.constant(DataType.Boolean), fc.boolean()),
  fc.tuple(fc.constant(DataType.SByte), fc.integer({ min: -128, max: 127 })),
  fc.tuple(fc.constant(DataType.Byte), fc.nat(255)),
  fc.tuple(fc.constant(DataType.Int16), fc.integer({ min: -32768, max: 32767 })),
  fc.tuple(fc.constant(DataType.UInt16), fc.nat(65535)),
  fc.tuple(fc.constant(DataType.Int32), fc.integer()),
  fc.tuple(fc.constant(DataType.UInt32), fc.nat(0xffffffff)),
  fc.tuple(fc.constant(DataType.Int64), int64),
  fc.tuple(fc.constant(DataType.UInt64), int64),
  fc.tuple(fc.constant(DataType.Float), fc.float()),
  fc.tuple(fc.constant(DataType.Double), fc.double()),
  fc.tuple(fc.constant(DataType.String), fc.option(text)),
  fc.tuple(fc.constant(DataType.DateTime), date),
  fc.tuple(
    fc.constant(DataType.Guid),
    fc.uuid().map((uuid) => uuid.toUpperCase()),
  ),
  fc.tuple(
    fc.constant(DataType.ByteString),
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
  ),
  fc.tuple(fc.constant(DataType.LocalizedText), fc.record({ text, locale: text })),
  fc.tuple(fc.constant(DataType.QualifiedName), fc.record({ name: text, namespaceIndex: fc.nat(9) })),
  fc.tuple(
    fc.constant(DataType.NodeId),
    fc.nat(100_000).map((id) => new NodeId(NodeId.NodeIdType.NUMERIC, id, 3)),
  ),
  fc.tuple(fc.constant(DataType.StatusCode), fc.constant(StatusCodes.BadTimeout)),
);
const variant = fc.oneof(
  {
    weight: 5,
    arbitrary: scalars.map(([dataType, value]) => new Variant({ dataType, arrayType: VariantArrayType.Scalar, value })),
  },
  fc
    .array(fc.double())
    .map((value) => new Variant({ dataType: DataType.Double, arrayType: VariantArrayType.Array, value })),
  fc.array(text).map((value) => new Variant({ dataType: DataType.String, arrayType: VariantArrayType.Array, value })),
  fc.constant(
    new Variant({
      dataType: DataType.Double,
      arrayType: VariantArrayType.Matrix,
      dimensions: [2, 2],
      value: [1, 2, 3, 4],
    }),
  ),
  fc.constant(new Variant()),
);
const status = fc.constantFrom(
  StatusCodes.Good,
  StatusCodes.UncertainLastUsableValue,
  StatusCodes.BadSensorFailure,
  StatusCodes.GoodClamped,
);
const dataValue = fc
  .record({
    value: variant,
    statusCode: status,
    sourceTimestamp: fc.option(date),
    sourcePicoseconds: fc.nat(9_999).map((ticks) => ticks * 100_000),
    serverTimestamp: fc.option(date),
    serverPicoseconds: fc.nat(9_999).map((ticks) => ticks * 100_000),
  })
  .map((options) => new DataValue(options));
const items = fc.array(fc.record({ clientHandle: fc.nat(INPUTS.length - 1), value: dataValue }), { maxLength: 8 });

/** As it comes on the wire: the body's length, then the body. */
function encode(monitoredItems: readonly { clientHandle: number; value: DataValue }[]): Buffer {
  const stream = new BinaryStream(Buffer.alloc(100_000));
  stream.length = 4;
  new DataChangeNotification({ monitoredItems: [...monitoredItems] }).encode(stream);
  stream.buffer.writeUInt32LE(stream.length - 4, 0);
  return stream.buffer.subarray(0, stream.length);
}

function receive(bytes: Buffer): DataChangeNotification {
  const stream = new BinaryStream(bytes);
  stream.length = 4;
  const notification = new DataChangeNotification(null);
  notification.decode(stream);
  assert.equal(stream.length, bytes.length);
  return notification;
}

function newFrame(rows: number): Frame {
  const frame = createFrame(new Uint32Array(rows));
  frame.times_us = new Float64Array(rows).fill(RECEIVED_US);
  frame.texts = Array.from({ length: rows }, () => null);
  return frame;
}

/** Rows of a body, through the reader under test. */
function read(body: Buffer, rows: number): { frame: Frame; handles: number[] } {
  const frame = newFrame(rows);
  const handles: number[] = [];
  readNotification(body, {
    frame,
    writer: (handle) => POINTS[handle]?.writer,
    row: (handle) => handles.push(handle) - 1,
    status: () => undefined,
  });
  return { frame, handles };
}

const rowsOf = (frame: Frame, handles: readonly number[]): unknown[] =>
  handles.map((handle, row) => {
    const quality = frame.quality[row] ?? 0;
    const column = POINTS[handle]?.column;
    const value = column === "text" ? frame.texts?.[row] : column === "int" ? frame.ints[row] : frame.doubles[row];
    return [
      handle,
      classOf(quality),
      reasonOf(quality),
      classOf(quality) === "bad" ? null : value,
      frame.times_us?.[row],
    ];
  });

test("bytes say what the library's objects say", () => {
  fc.assert(
    fc.property(items, (given) => {
      const notification = receive(encode(given));
      const body = rawOf(notification);
      assert.ok(body);
      const { frame, handles } = read(body, given.length);
      // Asked for, the library decodes after all: the other users of it in this process notice nothing.
      const decoded = notification.monitoredItems ?? [];
      assert.equal(decoded.length, given.length);
      const expected = newFrame(given.length);
      decoded.forEach((item, row) => {
        const writer = POINTS[item.clientHandle]?.writer;
        if (writer) writeDataValue(expected, row, writer, item.value, RECEIVED_US);
      });
      assert.deepEqual(
        rowsOf(frame, handles),
        rowsOf(
          expected,
          decoded.map((item) => item.clientHandle),
        ),
      );
    }),
    { numRuns: 500 },
  );
});

test("literal bytes: a double with status, source time and picoseconds, then an unknown vendor's status", () => {
  const body = Buffer.from(
    [
      "02000000", // two items
      "00000000 1f 0b 0000000000003540 00008f40", // handle 0: value 21.0, Uncertain, below
      "4e0d3f28b9dbd901 3412 00a08c3ab9dbd901", // source time, picoseconds, server time
      "01000000 02 0000fe80", // handle 1: nothing but a status
      "00000000", // no diagnostics
    ]
      .join("")
      .replaceAll(" ", ""),
    "hex",
  );
  const { frame, handles } = read(body, 2);
  assert.deepEqual(handles, [0, 1]);
  assert.equal(frame.doubles[0], 21);
  const ticks = 0x01d9dbb9283f0d4en - 116_444_736_000_000_000n;
  assert.equal(frame.times_us?.[0], Number(ticks / 10n));
  assert.deepEqual([classOf(frame.quality[0] ?? 0), reasonOf(frame.quality[1] ?? 0)], ["uncertain", "status_80fe0000"]);
  assert.equal(frame.times_us?.[1], RECEIVED_US);
});

test("items of unknown handles are passed over", () => {
  const value = new DataValue({ value: new Variant({ dataType: DataType.Double, value: 7 }) });
  const body = rawOf(
    receive(
      encode([
        { clientHandle: 99, value },
        { clientHandle: 0, value },
      ]),
    ),
  );
  assert.ok(body);
  const { frame, handles } = read(body, 1);
  assert.deepEqual([handles, frame.doubles[0]], [[0], 7]);
});

test("damaged bytes are read or refused, soon and with a RangeError", () => {
  fc.assert(
    fc.property(items, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 }), fc.nat(), (given, flips, cut) => {
      const body = Buffer.from(encode(given).subarray(4));
      for (const [at, byte] of flips) body[at % body.length] = byte;
      const damaged = cut % 3 === 0 ? body.subarray(0, cut % (body.length + 1)) : body;
      try {
        read(damaged, 1_000);
      } catch (error) {
        assert.ok(error instanceof RangeError, String(error));
      }
    }),
    { numRuns: 1_500 },
  );
});

test("values nested without end are refused", () => {
  const body = Buffer.concat([Buffer.from("010000000000000001", "hex"), Buffer.alloc(5_000, 24)]);
  assert.throws(() => read(body, 1), RangeError);
});

test("arrays of nothing, as long as their message, keep nobody busy", () => {
  // An array of variants, each of them an array of Null that claims all the bytes behind it.
  const count = 60_000;
  const element = Buffer.from("8000000000", "hex");
  const elements = Buffer.concat(Array.from({ length: count }, () => element));
  for (let i = 0; i < count; i += 1) elements.writeInt32LE((count - i - 1) * 5, i * 5 + 1);
  const head = Buffer.from("01000000000000000198", "hex");
  const body = Buffer.concat([head, Buffer.alloc(4), elements, Buffer.alloc(4)]);
  body.writeInt32LE(count, head.length);
  const start_ms = performance.now();
  const { frame } = read(body, 1);
  assert.equal(reasonOf(frame.quality[0] ?? 0), "type_unsupported");
  assert.ok(performance.now() - start_ms < 1_000, `${performance.now() - start_ms} ms`);
});

test("a time of the device that no receiver can hold is none", () => {
  const times = [new Date("1900-01-01"), new Date("2300-01-01"), new Date("9000-01-01")];
  for (const sourceTimestamp of times) {
    const value = new DataValue({ value: new Variant({ dataType: DataType.Double, value: 7 }), sourceTimestamp });
    const body = rawOf(receive(encode([{ clientHandle: 0, value }])));
    assert.ok(body);
    const { frame } = read(body, 1);
    assert.deepEqual([frame.doubles[0], frame.times_us?.[0]], [7, RECEIVED_US], sourceTimestamp.toISOString());
  }
});

test("a body too short to announce anything is refused like any other damage", () => {
  for (let bytes = 0; bytes < 4; bytes += 1) assert.throws(() => itemsOf(Buffer.alloc(bytes)), RangeError);
  assert.equal(itemsOf(Buffer.from("ffffffff", "hex")), 0);
  assert.equal(itemsOf(Buffer.from("03000000", "hex")), 3);
});
