/**
 * The one schema of device profiles and of points that stand in a site file. From it come the types,
 * the check, the JSON Schema that editors use (`lineside schema`) and the reference page.
 *
 * Every field has a `describe`: it is the text that the reference page and the editor show.
 */
import { z } from "zod";

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|min|h)$/;
const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, min: 60_000, h: 3_600_000 };

/** `500ms`, `1s`, `5min`, `1h`; becomes milliseconds. */
export const duration = z
  .string("expected a duration such as 500ms, 1s, 5min or 1h")
  .regex(DURATION, "expected a duration such as 500ms, 1s, 5min or 1h")
  .transform((text) => {
    const [, amount = "0", unit = "ms"] = DURATION.exec(text) ?? [];
    return Number(amount) * (UNIT_MS[unit] ?? 1);
  });

/** A name in YAML that later shows up in logs, URLs and file names. */
export const identifier = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/, "expected letters, digits, '-', '_' or '.', starting with a letter or digit");

export const pointName = z
  .string()
  .regex(/^[a-z][a-z0-9_]*$/, "expected lower case letters, digits and '_', starting with a letter");

export const pointKind = z.enum(["gauge", "counter", "state", "text"]);

const sentinel = z.union([
  z.union([z.number(), z.literal("nan")]),
  z.strictObject({
    value: z.union([z.number(), z.literal("nan")]).describe("The raw value."),
    reason: z
      .string()
      .regex(/^[a-z][a-z0-9_]*$/)
      .describe("What it means, such as not_implemented or sensor_open; the reading's quality reason."),
  }),
]);

/** Fields that every point has, whatever the protocol. */
export const pointCommon = z.strictObject({
  name: pointName.describe("Unique within the device; stable, for it names the series."),
  metric: z
    .string()
    .regex(/^[a-z][a-z0-9_.]*$/, "expected a dotted lower case metric name such as electrical.voltage")
    .optional()
    .describe("OTLP metric name; points of one quantity share it and differ in attributes. Default: the point's name."),
  description: z.string().optional().describe("One line for people; the OTLP metric's description."),
  kind: pointKind
    .default("gauge")
    .describe(
      "gauge: a momentary value. counter: a total that counts up. state: a code with named states, or a bit field with named flags. text: a string, sent as a log record.",
    ),
  unit: z
    .string()
    .default("1")
    .describe("UCUM code, case sensitive: V, A, kW.h, Cel, %, bar, 1. Of the value after scaling."),
  attributes: z
    .record(z.string().regex(/^[a-z][a-z0-9_.]*$/), z.union([z.string(), z.number(), z.boolean()]))
    .default({})
    .describe("Attributes of the series, such as phase: L1 or direction: import."),
  every: duration.optional().describe("Poll or sampling interval of this point. Default: the device's."),
  scale: z.number().default(1).describe("value = raw * scale + offset."),
  offset: z.number().default(0).describe("Added after scaling."),
  range: z
    .tuple([z.number(), z.number()])
    .optional()
    .describe("Lowest and highest value that can be true, after scaling; outside it the reading is bad, out_of_range."),
  sentinels: z
    .array(sentinel)
    .optional()
    .describe("Raw values that mean 'no value': a number, nan, or {value, reason}. Default reason: sentinel."),
  states: z
    .record(z.string().regex(/^-?\d+$|^0x[0-9a-fA-F]+$/, "expected an integer code"), z.string())
    .optional()
    .describe("kind state: the name of each code."),
  flags: z
    .record(z.string().regex(/^\d+$/, "expected a bit number"), z.string())
    .optional()
    .describe("kind state over a bit field: the name of each bit, 0 the least significant."),
  monotonic: z.boolean().default(true).describe("kind counter: false where it may also count down (net energy)."),
  rollover: z
    .union([z.number().positive(), z.string().regex(/^(2|10)\^\d+$/, "expected a number, 2^n or 10^n")])
    .optional()
    .describe(
      "kind counter: the raw value at which it starts again from 0, such as 2^32 or 10^6. Without it every step back is a reset.",
    ),
  report: z
    .enum(["always", "change"])
    .optional()
    .describe(
      "change: only when value or quality differ from the last reading, and every ten minutes. Default: change for text, always for the rest.",
    ),
  access: z.literal("read").default("read").describe("Points are read only."),
  source: z
    .string()
    .optional()
    .describe("Evidence: where the address and scale come from; an id of the profile's sources, or a text."),
  verified: z
    .union([
      z.literal(false),
      z.strictObject({
        model: z.string().describe("The device it was checked on."),
        firmware: z.string().optional(),
        date: z.iso.date(),
      }),
    ])
    .default(false)
    .describe("Checked on a real device: {model, firmware, date}; false where it never was."),
  notes: z.string().optional().describe("Quirks, for people."),
});

// --- Modbus -------------------------------------------------------------------------------------

export const modbusTypes = [
  "bool",
  "u8",
  "u16",
  "s16",
  "u24",
  "u32",
  "s32",
  "u64",
  "s64",
  "f32",
  "f64",
  "bcd16",
  "bcd32",
  "string",
] as const;

export const wordOrder = z
  .enum(["ABCD", "CDAB", "BADC", "DCBA"])
  .describe(
    "Order of bytes on the wire, A the most significant: ABCD big-endian, CDAB low word first, BADC bytes swapped in each word, DCBA little-endian.",
  );

export const modbusPoint = pointCommon.extend({
  area: z
    .enum(["holding", "input", "coil", "discrete"])
    .default("holding")
    .describe("holding: FC 3. input: FC 4. coil: FC 1. discrete: FC 2."),
  address: z.int().min(0).max(65535).describe("Wire address, from 0. A manual's 40001 or 30001 is usually 0 here."),
  type: z
    .enum(modbusTypes)
    .default("u16")
    .describe("Type on the wire; bool for coils, discrete inputs and single bits."),
  order: wordOrder.optional(),
  length: z.int().min(1).max(125).optional().describe("type string: number of registers, two characters each."),
  bits: z
    .strictObject({ shift: z.int().min(0).max(63), width: z.int().min(1).max(32) })
    .optional()
    .describe("Only these bits of the integer: shift to the right, then keep width bits."),
  scale_register: z
    .int()
    .min(0)
    .max(65535)
    .optional()
    .describe(
      "Register (same area) with a signed power of ten that multiplies the value (SunSpec sunssf), read in the same request; 0x8000 means the point is not implemented.",
    ),
});

const addressRange = z.tuple([z.int().min(0).max(65535), z.int().min(0).max(65535)]);

/** How a Modbus device wants to be read; a profile states it, a site file may override it. */
export const modbusBehaviour = z.strictObject({
  order: wordOrder.optional().describe("Byte order of values wider than one register. Default: ABCD."),
  registers_max: z.int().min(1).max(125).optional().describe("Most registers in one read. Default: 125."),
  bits_max: z.int().min(1).max(2000).optional().describe("Most coils or discrete inputs in one read. Default: 2000."),
  gap_registers_max: z
    .int()
    .min(0)
    .max(124)
    .optional()
    .describe("Unused registers that a read may cover to save a request. Default: 16. 0 reads only what is asked."),
  forbidden: z.array(addressRange).optional().describe("Address ranges [first, last] that a read must not touch."),
  alone: z
    .array(addressRange)
    .optional()
    .describe("Ranges [first, last] that are read as one block of exactly this length."),
  pause: duration
    .optional()
    .describe("Silence between two requests to this device. Default: none on TCP, 3.5 characters on serial lines."),
  timeout: duration.optional().describe("Wait for an answer. Default: 1s."),
  connect_delay: duration.optional().describe("Wait after connecting before the first request. Default: none."),
});

// --- OPC UA -------------------------------------------------------------------------------------

export const opcuaPoint = pointCommon.extend({
  address: z
    .string()
    .regex(
      /^(nsu=[^;]+;|ns=\d+;)?[isgb]=.+$/,
      "expected a NodeId such as nsu=http://acme.example/oven;s=Zone1.PV or i=2258",
    )
    .describe("NodeId. The namespace stands by its URI (nsu=...;), for indexes change between servers and restarts."),
  type: z
    .enum(["f64", "i64", "bool", "string"])
    .optional()
    .describe(
      "Kind of number wanted: f64 (default), i64 for counters and codes that must stay exact, bool, string (default for text).",
    ),
});

export const opcuaBehaviour = z.strictObject({
  mode: z
    .enum(["subscribe", "poll"])
    .optional()
    .describe("subscribe (default): the server sends changes. poll: read every interval."),
  publishing: duration
    .optional()
    .describe("Publishing interval wanted of the server. Default: the shortest point interval, between 100ms and 5s."),
  queue: z
    .int()
    .min(1)
    .max(10_000)
    .optional()
    .describe("Values that the server keeps for an item between two publishings. Default: 10."),
  watchdog: duration
    .optional()
    .describe(
      "A subscription silent for so long (keep-alives included) is given up and made anew. Default: 3 publishing intervals, at least 10s.",
    ),
  timeout: duration.optional().describe("Wait for an answer. Default: 10s."),
});

// --- Serial line protocols ----------------------------------------------------------------------

export const serialPoint = pointCommon.extend({
  address: z
    .string()
    .regex(
      /^[a-z][a-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*$/,
      "expected MESSAGE.GROUP, a message of the profile and a named group of its pattern",
    )
    .describe("MESSAGE.GROUP: a message of this profile and a named group of its pattern."),
  type: z
    .enum(["f64", "i64", "string"])
    .optional()
    .describe("How the group's text is read: f64 (default), i64, string (default for text)."),
  map: z
    .record(z.string(), z.number())
    .optional()
    .describe("Text tokens and the number each stands for, such as S: 1, D: 0."),
});

/** Escapes as in YAML double quotes (\r, \n, \x02) are already bytes here. */
const framing = z.strictObject({
  start: z
    .string()
    .min(1)
    .optional()
    .describe('Bytes that begin a frame, such as "\\x02" (STX). Bytes before it are skipped.'),
  end: z.string().min(1).optional().describe('Bytes that end a frame, such as "\\r\\n" or "\\x03" (ETX).'),
  length: z
    .int()
    .min(1)
    .max(4096)
    .optional()
    .describe("Fixed frame length in bytes: all that follows start, checksum and end included."),
  gap: duration
    .optional()
    .describe("Silence that ends a frame, where nothing else does; otherwise silence that gives up an unfinished one."),
  max: z.int().min(1).max(65536).default(1024).describe("Longest frame in bytes; longer input is dropped and counted."),
  checksum: z
    .strictObject({
      kind: z.enum(["xor", "sum8", "sum8_complement", "crc16_modbus", "crc16_ccitt"]),
      coding: z
        .enum(["binary", "hex"])
        .default("binary")
        .describe(
          "How it is written: raw bytes (crc16_modbus low byte first, crc16_ccitt high byte first), or hexadecimal digits, high digit first.",
        ),
      position: z
        .enum(["before_end", "after_end"])
        .default("before_end")
        .describe("Where it stands. after_end: it covers the end bytes too."),
      from: z.enum(["start", "after_start"]).default("after_start").describe("The first byte that it covers."),
    })
    .optional()
    .describe("Frames with a wrong checksum are dropped and counted."),
});

const serialMessage = z.strictObject({
  name: pointName,
  request: z.string().min(1).optional().describe("What is sent to get it; without it the device sends by itself."),
  pattern: z
    .string()
    .describe("Regular expression with named groups; it must match the whole frame without start, end and checksum."),
  errors: z
    .record(z.string(), z.string().regex(/^[a-z][a-z0-9_]*$/))
    .optional()
    .describe('Patterns of answers that carry no value, and the quality reason of each, such as "^S \\\\+": overload.'),
  every: duration
    .optional()
    .describe(
      "Poll interval of a request. Default: the shortest of its points. Without a request: how often it is simulated.",
    ),
  example: z
    .string()
    .min(1)
    .optional()
    .describe(
      "An answer as the device writes it, with {group} in the place of values, {group:10} padded to ten characters. Simulated devices answer with it.",
    ),
});

export const serialLine = z.strictObject({
  baud: z.int().min(50).max(4_000_000).optional().describe("Default: 9600."),
  data_bits: z
    .union([z.literal(7), z.literal(8)])
    .optional()
    .describe("Default: 8."),
  parity: z.enum(["none", "even", "odd"]).optional().describe("Default: none."),
  stop_bits: z
    .union([z.literal(1), z.literal(2)])
    .optional()
    .describe("Default: 1."),
});

export const serialBehaviour = serialLine.extend({
  framing: framing.optional().describe("Where a frame begins and ends."),
  messages: z.array(serialMessage).optional().describe("What is asked, and what is answered."),
  encoding: z.enum(["ascii", "latin1", "utf8"]).optional().describe("Default: ascii."),
  timeout: duration.optional().describe("Wait for an answer. Default: 1s."),
  pause: duration.optional().describe("Silence between two requests. Default: none."),
  silent_after: duration
    .optional()
    .describe(
      "A device that sends by itself and has been silent for so long has bad points, reason silent. Default: never.",
    ),
});

/** Protocols that a profile can be written for, and the schema of their points and behaviour. */
export const protocols = {
  modbus: { point: modbusPoint, behaviour: modbusBehaviour },
  opcua: { point: opcuaPoint, behaviour: opcuaBehaviour },
  serial: { point: serialPoint, behaviour: serialBehaviour },
} as const;

export type Protocol = keyof typeof protocols;
export type PointKind = z.output<typeof pointKind>;
/** A point as adapters get it: all defaults filled in, `every` in milliseconds and always there. */
type Resolved<T> = Omit<T, "every"> & { readonly every: number };
export type Point = Resolved<z.output<typeof pointCommon>>;
export type ModbusPoint = Resolved<z.output<typeof modbusPoint>>;
export type OpcuaPoint = Resolved<z.output<typeof opcuaPoint>>;
export type SerialPoint = Resolved<z.output<typeof serialPoint>>;
export type ModbusBehaviour = z.output<typeof modbusBehaviour>;
export type SerialBehaviour = z.output<typeof serialBehaviour>;
export type SerialMessage = z.output<typeof serialMessage>;
