/** Between device and journal, and back: pipeline, payload encoding and decoding, beside a memcpy of the values. */
import type { Descriptor, Device } from "#adapters/contract.ts";
import { createFrame, type Frame } from "#adapters/frame.ts";
import { decodePayload } from "#agent/batch/reader.ts";
import { BatchWriter } from "#agent/batch/writer.ts";
import { pointCommon } from "#profiles/schema.ts";
import { Pipeline } from "#agent/process/pipeline.ts";
import type { Row } from "./stage.ts";

const DEVICES = 80;
const POINTS = 125;
const ROUNDS = 200;
const READINGS = DEVICES * POINTS;

/** Slow random walks with three decimals: what a plant's analog values look like. */
function walk(values: Float64Array): void {
  for (let index = 0; index < values.length; index++) {
    values[index] = Math.round(((values[index] ?? 0) + (Math.random() - 0.5)) * 1000) / 1000;
  }
}

function device(index: number): Device {
  const series = Array.from({ length: POINTS }, (_, point) => ({
    name: `p${point}`,
    metric: "m",
    unit: "V",
    description: "",
    kind: point % 10 === 0 ? ("counter" as const) : ("gauge" as const),
    value: "double" as const,
    monotonic: point % 10 === 0,
    attributes: {},
  }));
  const points = series.map((one, point) => ({ ...pointCommon.parse({ name: `p${point}` }), ...one, every: 1000 }));
  const descriptor: Descriptor = {
    device: `d${index}`,
    source: "modbus",
    resource: {},
    scope: { name: "b", version: "1" },
    series,
  };
  return { id: `d${index}`, options: {}, points, descriptor };
}

export async function bench(): Promise<Row[]> {
  const frames: Frame[] = Array.from({ length: DEVICES }, () =>
    createFrame(Uint32Array.from({ length: POINTS }, (_, point) => point)),
  );
  for (const frame of frames) for (let row = 0; row < POINTS; row++) frame.doubles[row] = 230 + Math.random() * 10;
  const writer = new BatchWriter();
  const known = new Map<Descriptor, number>();
  const pipelines = frames.map((_, index) => {
    const one = device(index);
    known.set(one.descriptor, index + 1);
    const push = (descriptor: Descriptor, frame: Frame): void => writer.frame(known.get(descriptor) ?? 0, frame);
    return new Pipeline(one, new Map(), { push, counterChanged: () => undefined });
  });
  const byId = new Map([...known].map(([descriptor, id]) => [id, descriptor]));
  const descriptorOf = (id: number): Descriptor => byId.get(id) ?? device(0).descriptor;

  const times = { copy: 0, pipeline: 0, finish: 0, decode: 0 };
  let bytes = 0;
  const target = new Uint8Array(READINGS * 8);
  for (let round = -20; round < ROUNDS; round++) {
    for (const frame of frames) {
      walk(frame.doubles);
      frame.time_us = 1_790_000_000_000_000 + round * 1_000_000;
    }
    const t0 = performance.now();
    for (const [index, frame] of frames.entries()) target.set(new Uint8Array(frame.doubles.buffer), index * POINTS * 8);
    const t1 = performance.now();
    for (const [index, frame] of frames.entries()) pipelines[index]?.frame(frame);
    const t2 = performance.now();
    const { payload } = writer.finish();
    const t3 = performance.now();
    decodePayload(payload, descriptorOf);
    const t4 = performance.now();
    if (round < 0) continue;
    times.copy += t1 - t0;
    times.pipeline += t2 - t1;
    times.finish += t3 - t2;
    times.decode += t4 - t3;
    bytes += payload.length;
  }
  const per = (ms: number): number => (ms * 1e6) / (ROUNDS * READINGS);
  const floor = per(times.copy);
  const row = (name: string, ms: number): Row => ({
    name,
    value: per(ms),
    unit: "ns/reading",
    floor,
    ratio: per(ms) / floor,
  });
  return [
    row("pipeline and payload encoding", times.pipeline),
    row("payload compression (zstd 1)", times.finish),
    row("payload decoding", times.decode),
    {
      name: "payload size",
      value: bytes / (ROUNDS * READINGS),
      unit: "bytes/reading",
      floor: 8,
      ratio: bytes / (ROUNDS * READINGS) / 8,
    },
  ];
}
