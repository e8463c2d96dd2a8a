/** Batches for tests of targets: a device with one series of each kind, and readings as rows. */
import type { Batch, Descriptor, Event, Series } from "#adapters/contract.ts";
import { createFrame, type Frame } from "#adapters/frame.ts";
import { GOOD, type Quality } from "#adapters/quality.ts";

/** A gauge of doubles in V, unless said otherwise. */
export function series(name: string, given: Partial<Series> = {}): Series {
  return {
    name,
    metric: name,
    unit: "V",
    description: "",
    kind: "gauge",
    value: "double",
    monotonic: false,
    attributes: {},
    ...given,
  };
}

export function descriptor(device: string, all: readonly Series[], given: Partial<Descriptor> = {}): Descriptor {
  return {
    device,
    source: "modbus",
    resource: { "service.name": "lineside", "device.id": device },
    scope: { name: "acme/meter", version: "1.2" },
    series: all,
    ...given,
  };
}

/** One reading; what is left out is good, without a time of its own, and of no start. */
export interface Row {
  readonly series: number;
  readonly value: number | bigint | string | null;
  readonly quality?: Quality;
  readonly time_us?: number;
  readonly start_us?: number;
}

/** Puts rows into columns, each value where its series says. */
export function frameOf(device: Descriptor, time_us: number, rows: readonly Row[]): Frame {
  const frame = createFrame(Uint32Array.from(rows, (row) => row.series));
  frame.time_us = time_us;
  if (rows.some((row) => row.time_us !== undefined))
    frame.times_us = Float64Array.from(rows, (row) => row.time_us ?? 0);
  if (rows.some((row) => row.start_us !== undefined))
    frame.starts_us = Float64Array.from(rows, (row) => row.start_us ?? 0);
  const column = rows.map((row) => device.series[row.series]?.value);
  if (column.includes("text")) frame.texts = rows.map((row) => (typeof row.value === "string" ? row.value : null));
  rows.forEach((row, index) => {
    frame.quality[index] = row.quality ?? GOOD;
    if (typeof row.value === "bigint") frame.ints[index] = row.value;
    else if (typeof row.value === "number" && column[index] === "int") frame.ints[index] = BigInt(row.value);
    else if (typeof row.value === "number") frame.doubles[index] = row.value;
  });
  return frame;
}

export function batchOf(frames: Batch["frames"], events: readonly Event[] = []): Batch {
  return { frames, events, readings: frames.reduce((sum, { frame }) => sum + frame.count, 0) };
}
