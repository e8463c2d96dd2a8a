/**
 * Random devices and batches, encoded and decoded by protobufjs, beside a model of the mapping that is
 * as plain as the page docs/otlp-mapping.md. The same encoder takes several batches in a row, so that
 * kept layouts and new ones meet.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Batch, Descriptor, Event, Series } from "../../../contract.ts";
import { bad, classOf, GOOD, reasonOf, uncertain } from "../../../quality.ts";
import { batchOf, descriptor, frameOf, type Row, series } from "#test/contract/batches.ts";
import { countLogs, countPoints } from "#test/receiver/count.ts";
import {
  type AnyValue,
  type KeyValue,
  type LogRecord,
  type Metric,
  type NumberDataPoint,
  type OtlpRequest,
  typeOf,
} from "#test/receiver/proto.ts";
import fc from "fast-check";
import { type Encoder, jsonEncoder, protobufEncoder, type Signal } from "./encode.ts";

const OPTIONS = { quality_attributes: true, bytes_max: 64 * 1024 * 1024 };
const RUNS = { numRuns: 150 };
const TYPES: Readonly<Record<Signal, string>> = {
  metrics: "ExportMetricsServiceRequest",
  logs: "ExportLogsServiceRequest",
};

// --- model ----------------------------------------------------------------------------------------

const nanos = (time_us: number): string => String(BigInt(Math.floor(time_us)) * 1000n);

function anyValue(value: string | number | boolean | readonly string[]): AnyValue {
  if (typeof value === "string") return { stringValue: value.toWellFormed() };
  if (typeof value === "boolean") return { boolValue: value };
  if (typeof value !== "number") return { arrayValue: { values: value.map(anyValue) } };
  return Number.isSafeInteger(value) ? { intValue: String(value) } : { doubleValue: value };
}

const keyValues = (attributes: Event["attributes"]): KeyValue[] =>
  Object.entries(attributes).map(([key, value]) => ({ key: key.toWellFormed(), value: anyValue(value) }));

const qualityOf = ({ quality = GOOD }: Row): Record<string, string> =>
  classOf(quality) === "good"
    ? {}
    : { "lineside.quality": classOf(quality), "lineside.quality_reason": reasonOf(quality) };

interface Given {
  readonly device: Descriptor;
  readonly frames: readonly { readonly time_us: number; readonly rows: readonly Row[] }[];
}

/** [attributes, value] of each data point of a reading. */
function membersOf(
  one: Series,
  value: bigint | number,
): [Record<string, string | number | boolean>, Partial<NumberDataPoint>][] {
  const plain = one.value === "int" ? { asInt: String(value) } : { asDouble: Number(value) };
  if (one.kind !== "state" || (!one.states && !one.flags)) return [[one.attributes, plain]];
  const code = BigInt(value);
  const names = [...new Set([...(one.states ?? []).map(([, name]) => name), ...(one.states ? ["unknown"] : [])])];
  const name = one.states?.find(([known]) => BigInt(known) === code)?.[1] ?? "unknown";
  return [
    ...names.map(
      (state) =>
        [{ ...one.attributes, state }, { asInt: state === name ? "1" : "0" }] as [Record<string, string>, object],
    ),
    ...(one.flags ?? []).map(
      ([bit, flag]) =>
        [{ ...one.attributes, flag }, { asInt: String((BigInt.asUintN(64, code) >> BigInt(bit)) & 1n) }] as [
          Record<string, string>,
          object,
        ],
    ),
  ];
}

function metricOf(one: Series): Metric {
  const state = one.kind === "state" && Boolean(one.states ?? one.flags);
  const identity = { name: one.metric, description: one.description, unit: state ? "1" : one.unit };
  if (one.kind !== "counter" && !state) return { ...identity, gauge: { dataPoints: [] } };
  return {
    ...identity,
    sum: { dataPoints: [], aggregationTemporality: 2, isMonotonic: one.kind === "counter" && one.monotonic },
  };
}

function modelOfMetrics(given: readonly Given[]): OtlpRequest {
  const resourceMetrics = given.flatMap(({ device, frames }) => {
    const metrics = new Map<string, Metric>();
    for (const one of device.series) {
      if (one.value === "text") continue;
      const metric = metricOf(one);
      const key = identityOf(metric);
      if (!metrics.has(key)) metrics.set(key, metric);
    }
    for (const { time_us, rows } of frames) {
      for (const row of rows) {
        const one = device.series[row.series];
        if (!one || one.value === "text") continue;
        const metric = metrics.get(identityOf(metricOf(one)));
        const without = classOf(row.quality ?? GOOD) === "bad";
        const start =
          one.kind === "counter" && row.start_us !== undefined ? { startTimeUnixNano: nanos(row.start_us) } : {};
        // What the column holds for a bad row does not matter.
        const value = typeof row.value === "string" || row.value === null ? 0 : row.value;
        for (const [attributes, said] of membersOf(one, value)) {
          (metric?.gauge ?? metric?.sum)?.dataPoints?.push({
            ...start,
            timeUnixNano: nanos(row.time_us ?? time_us),
            ...(without ? { flags: 1 } : said),
            attributes: keyValues({ ...attributes, ...qualityOf(row) }),
          });
        }
      }
    }
    const used = [...metrics.values()].filter(({ gauge, sum }) => ((gauge ?? sum)?.dataPoints?.length ?? 0) > 0);
    return used.length === 0
      ? []
      : [
          {
            resource: { attributes: keyValues(device.resource) },
            scopeMetrics: [{ scope: device.scope, metrics: used }],
          },
        ];
  });
  return { resourceMetrics };
}

const identityOf = ({ name, unit, gauge, sum }: Metric): string =>
  JSON.stringify([name, unit, gauge === undefined, sum?.isMonotonic]);

const SEVERITIES = { info: [9, "INFO"], warn: [13, "WARN"], error: [17, "ERROR"] } as const;

function modelOfLogs(given: readonly Given[], events: readonly Event[]): OtlpRequest {
  const groups = new Map<Descriptor, LogRecord[]>();
  const add = (device: Descriptor, record: LogRecord): void => {
    groups.set(device, [...(groups.get(device) ?? []), record]);
  };
  for (const { device, frames } of given) {
    for (const { time_us, rows } of frames) {
      for (const row of rows) {
        const one = device.series[row.series];
        if (one?.value !== "text") continue;
        const without = classOf(row.quality ?? GOOD) === "bad";
        add(device, {
          timeUnixNano: nanos(row.time_us ?? time_us),
          observedTimeUnixNano: nanos(time_us),
          severityNumber: without ? 13 : 9,
          severityText: without ? "WARN" : "INFO",
          ...(!without && typeof row.value === "string" && { body: anyValue(row.value) }),
          attributes: keyValues({ ...one.attributes, ...qualityOf(row) }),
          eventName: one.metric,
        });
      }
    }
  }
  for (const event of events) {
    const [severityNumber, severityText] = SEVERITIES[event.severity];
    add(event.descriptor, {
      timeUnixNano: nanos(event.time_us),
      observedTimeUnixNano: nanos(event.time_us),
      severityNumber,
      severityText,
      body: anyValue(event.body),
      attributes: keyValues(event.attributes),
      eventName: event.name,
    });
  }
  const resourceLogs = [...groups].map(([device, logRecords]) => ({
    resource: { attributes: keyValues(device.resource) },
    scopeLogs: [{ scope: device.scope, logRecords }],
  }));
  return { resourceLogs };
}

// --- generators -----------------------------------------------------------------------------------

const attributes = fc.dictionary(
  fc.string({ minLength: 1, maxLength: 12, unit: "grapheme" }),
  fc.oneof(fc.string({ maxLength: 200, unit: "binary" }), fc.maxSafeInteger(), fc.double(), fc.boolean()),
  { maxKeys: 4, noNullPrototype: true },
);

const names = fc.uniqueArray(
  fc.tuple(fc.integer({ min: -5, max: 70_000 }), fc.constantFrom("off", "on", "hold", "unknown")),
  {
    minLength: 1,
    maxLength: 4,
    selector: ([code]) => code,
  },
);
const bits = fc.uniqueArray(fc.tuple(fc.nat(63), fc.constantFrom("low", "high", "fire")), {
  minLength: 1,
  maxLength: 3,
  selector: ([bit]) => bit,
});

const oneSeries: fc.Arbitrary<Series> = fc
  .record({
    kind: fc.constantFrom("gauge", "counter", "state", "text"),
    metric: fc.constantFrom("a", "b.c", "d".repeat(130)),
    unit: fc.constantFrom("V", "1", ""),
    int: fc.boolean(),
    monotonic: fc.boolean(),
    attributes,
    states: fc.option(names, { nil: undefined }),
    flags: fc.option(bits, { nil: undefined }),
  })
  .map(({ kind, int, states, flags, monotonic, ...rest }) =>
    series("point", {
      ...rest,
      kind,
      monotonic: kind === "counter" && monotonic,
      value: kind === "text" ? "text" : int ? "int" : "double",
      ...(kind === "state" && states && { states }),
      ...(kind === "state" && flags && { flags }),
    }),
  );

const time = fc.integer({ min: 1_600_000_000_000_000, max: 4_000_000_000_000_000 });
const qualities = fc.oneof(
  { weight: 4, arbitrary: fc.constant(GOOD) },
  { weight: 1, arbitrary: fc.constantFrom(bad("timeout"), bad("exception_2"), uncertain("overrange")) },
);

function rowOf(device: Descriptor): fc.Arbitrary<Row> {
  return fc
    .record({
      index: fc.nat(device.series.length - 1),
      int: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      code: fc.integer({ min: -6, max: 8 }),
      double: fc.double(),
      text: fc.string({ maxLength: 300, unit: "grapheme" }),
      quality: qualities,
      time_us: fc.option(time, { nil: undefined }),
      start_us: fc.option(time, { nil: undefined }),
    })
    .map(({ index, int, code, double, text, quality, time_us, start_us }) => {
      const one = device.series[index];
      const named = one?.kind === "state" && (one.states ?? one.flags) !== undefined;
      const value =
        one?.value === "text"
          ? text
          : one?.value === "int"
            ? named && code < 5
              ? BigInt(code)
              : int
            : named
              ? code
              : double;
      return { series: index, value, quality, ...(time_us && { time_us }), ...(start_us && { start_us }) };
    });
}

const devices = fc
  .array(fc.tuple(fc.array(oneSeries, { minLength: 1, maxLength: 6 }), attributes), { minLength: 1, maxLength: 3 })
  .map((all) => all.map(([list, resource], index) => descriptor(`device-${index}`, list, { resource })));

const world = devices.chain((all) => {
  const frames = fc.tuple(
    ...all.map((device) =>
      fc.array(fc.record({ time_us: time, rows: fc.array(rowOf(device), { maxLength: 8 }) }), {
        minLength: 1,
        maxLength: 3,
      }),
    ),
  );
  const event: fc.Arbitrary<Event> = fc.record({
    name: fc.constantFrom("lineside.gap", "lineside.device.up"),
    time_us: time,
    severity: fc.constantFrom("info", "warn", "error"),
    body: fc.string({ maxLength: 200 }),
    attributes: fc.dictionary(
      fc.string({ minLength: 1 }),
      fc.oneof(fc.string(), fc.array(fc.string(), { maxLength: 3 }), fc.double(), fc.boolean()),
      {
        maxKeys: 3,
        noNullPrototype: true,
      },
    ),
    descriptor: fc.constantFrom(...all),
  });
  const batch = fc.record({ frames, events: fc.array(event, { maxLength: 3 }) });
  return fc.record({ all: fc.constant(all), batches: fc.array(batch, { minLength: 1, maxLength: 3 }) });
});

// --- properties -----------------------------------------------------------------------------------

/** Whatever says the same looks the same: through protobufjs, with every default written out. */
function normal(signal: Signal, request: OtlpRequest | Buffer): unknown {
  const type = typeOf(TYPES[signal]);
  const message = Buffer.isBuffer(request) ? type.decode(request) : type.fromObject(request);
  return type.toObject(message, { longs: String, defaults: true, arrays: true, json: true });
}

function givenOf(all: readonly Descriptor[], frames: Given["frames"][]): Given[] {
  return all.map((device, index) => ({ device, frames: frames[index] ?? [] }));
}

/** Frames of all devices take turns, as they do in a journal. */
function batchOfGiven(all: readonly Given[], events: readonly Event[]): Batch {
  const turns = Math.max(...all.map(({ frames }) => frames.length));
  const frames = Array.from({ length: turns }, (_, turn) =>
    all.flatMap(({ device, frames: own }) => {
      const one = own[turn];
      return one ? [{ descriptor: device, frame: frameOf(device, one.time_us, one.rows) }] : [];
    }),
  ).flat();
  return batchOf(frames, events);
}

function check(encoder: Encoder, signal: Signal, batch: Batch, expected: OtlpRequest): void {
  const body = encoder.encode(signal, batch);
  assert(body !== "too_large");
  const entries = expected.resourceMetrics ?? expected.resourceLogs ?? [];
  if (entries.length === 0) return assert.equal(body, null);
  assert(body !== null);
  const json = encoder.content_type === "application/json";
  const decoded = json ? (JSON.parse(body.toString()) as OtlpRequest) : body;
  assert.deepEqual(sorted(normal(signal, decoded)), sorted(normal(signal, expected)));
  if (json) return;
  const type = typeOf(TYPES[signal]);
  const count = signal === "metrics" ? countPoints : countLogs;
  assert.equal(count(body), count(type.encode(type.fromObject(expected)).finish()));
}

/** Which device comes first depends on whose frame does; the model goes by device. */
function sorted(request: unknown): unknown {
  const { resourceMetrics, resourceLogs } = request as OtlpRequest;
  const entries: readonly unknown[] = resourceMetrics ?? resourceLogs ?? [];
  return entries.map((entry) => JSON.stringify(entry)).toSorted();
}

describe("OTLP mapping, against its model", () => {
  for (const make of [protobufEncoder, jsonEncoder]) {
    test(make.name, () => {
      fc.assert(
        fc.property(world, ({ all, batches }) => {
          const encoder = make(OPTIONS);
          for (const { frames, events } of [...batches, ...batches]) {
            const all_given = givenOf(all, frames);
            const batch = batchOfGiven(all_given, events);
            check(encoder, "metrics", batch, modelOfMetrics(all_given));
            check(encoder, "logs", batch, modelOfLogs(all_given, events));
          }
        }),
        RUNS,
      );
    });
  }
});
