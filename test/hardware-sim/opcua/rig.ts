/** What tests of the OPC UA source share: a device from points, a clock in a hurry, and what the sink got. */
import { createServer } from "node:net";
import type { z } from "zod";
import type { AdapterContext, Clock, Device, LinesideError, Log, SessionContext } from "#adapters/contract.ts";
import type { Frame } from "#adapters/frame.ts";
import { classOf, isBad, reasonOf } from "#adapters/quality.ts";
import { opcuaOptions, type OpcuaOptions } from "#adapters/sources/opcua/options.ts";
import { opcuaPoint, type OpcuaPoint } from "#profiles/schema.ts";
import { seriesOf } from "#profiles/series.ts";

export const URI = "http://acme.example/oven";

export type PointInput = z.input<typeof opcuaPoint>;
export type OpcuaDevice = Device<OpcuaPoint, OpcuaOptions>;

/** A device with these points, each at `every_ms` unless it says otherwise. */
export function opcuaDevice(inputs: readonly PointInput[], options: object, every_ms = 50, id = "oven"): OpcuaDevice {
  const points = inputs.map((input) => {
    const point = opcuaPoint.parse(input);
    return { ...point, every: point.every ?? every_ms };
  });
  return {
    id,
    options: opcuaOptions.parse(options),
    points,
    descriptor: {
      device: id,
      source: "opcua",
      resource: {},
      scope: { name: "test", version: "" },
      series: points.map((point) => seriesOf("opcua", point)),
    },
  };
}

/** Real time; delays of `hurry_ms` and longer pass `factor` times as fast. */
export function testClock(hurry_ms = Infinity, factor = 1): Clock {
  const short = (delay_ms: number): number => (delay_ms >= hurry_ms ? delay_ms / factor : delay_ms);
  return {
    now_us: () => Math.round((performance.timeOrigin + performance.now()) * 1000),
    monotonic_ms: () => performance.now(),
    after(delay_ms, run) {
      const timer = setTimeout(run, short(delay_ms));
      return () => clearTimeout(timer);
    },
    sleep: (delay_ms, signal) =>
      new Promise((resolve) => {
        const timer = setTimeout(resolve, short(delay_ms));
        signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
      }),
  };
}

export interface Reading {
  readonly point: string;
  readonly class: string;
  readonly reason: string;
  readonly value: number | bigint | string | null;
  readonly time_us: number;
  /** Which frame it came in, and when that was received. */
  readonly frame: number;
  readonly received_us: number;
}

/** Collects what a session says. */
export class Recorder {
  readonly readings: Reading[] = [];
  readonly losses: LinesideError[] = [];
  readonly logs: { level: string; fields: object; message: string }[] = [];
  readonly context: SessionContext;
  readonly adapter: AdapterContext;
  #frames = 0;
  #device: OpcuaDevice;
  #waiting: (() => void)[] = [];

  constructor(device: OpcuaDevice, clock: Clock, data_dir: string | null = null) {
    this.#device = device;
    const say = (level: string) => (fields: object, message: string) => void this.logs.push({ level, fields, message });
    const log: Log = { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") };
    this.context = {
      clock,
      log,
      sink: (frame) => this.#take(frame),
      lost: (error) => {
        this.losses.push(error);
        this.#wake();
      },
    };
    this.adapter = { clock, log, data_dir };
  }

  /** The last reading of a point. */
  last(point: string): Reading | undefined {
    return this.readings.findLast((reading) => reading.point === point);
  }

  /** Resolves once `met` holds, looked at with each frame and each loss. */
  async until(met: () => boolean, timeout_ms = 5_000): Promise<void> {
    const end = performance.now() + timeout_ms;
    while (!met()) {
      const left_ms = end - performance.now();
      if (left_ms <= 0)
        throw new Error(`not within ${timeout_ms} ms; the last of ${this.readings.length} readings: ${this.#tail()}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left_ms);
        this.#waiting.push(() => (clearTimeout(timer), resolve()));
      });
    }
  }

  #tail(): string {
    return this.readings
      .slice(-5)
      .map((reading) => `${reading.point} ${reading.class} ${reading.reason}`)
      .join("; ");
  }

  #take(frame: Frame): void {
    const { points, descriptor } = this.#device;
    this.#frames++;
    for (let row = 0; row < frame.count; row++) {
      const index = frame.points[row] ?? 0;
      const quality = frame.quality[row] ?? 0;
      const column = descriptor.series[index]?.value;
      const value =
        column === "text" ? (frame.texts?.[row] ?? null) : column === "int" ? frame.ints[row] : frame.doubles[row];
      this.readings.push({
        point: points[index]?.name ?? "",
        class: classOf(quality),
        reason: reasonOf(quality),
        value: isBad(quality) ? null : (value ?? null),
        time_us: frame.times_us?.[row] ?? frame.time_us,
        frame: this.#frames,
        received_us: frame.time_us,
      });
    }
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}

/** A port that accepts connections and never says a word. */
export async function silentPort(): Promise<{ port: number; connections: () => number; close: () => Promise<void> }> {
  const sockets = new Set<import("node:net").Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket
      .on("error", () => undefined)
      .on("close", () => sockets.delete(socket))
      .resume();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    connections: () => sockets.size,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
