/** What a device's points and options come to, worked out once: addresses, writers, intervals, limits. */
import type { OpcuaPoint } from "#profiles/schema.ts";
import { type Device, LinesideError, type PollGroup } from "../../contract.ts";
import { type Address, parseAddress } from "./address.ts";
import { compileWriter, type Writer } from "./decode.ts";
import type { OpcuaOptions } from "./options.ts";

const TIMEOUT_MS = 10_000;
const WATCHDOG_MIN_MS = 10_000;
const PUBLISHING_MIN_MS = 100;
/** A subscription says at least so often that it lives, however slow its points are. */
const PUBLISHING_MAX_MS = 5_000;
const QUEUE = 10;
const SESSION_MIN_MS = 60_000;

export interface Plan {
  readonly mode: "subscribe" | "poll";
  readonly addresses: readonly Address[];
  readonly writers: readonly Writer[];
  /** Sampling or poll interval of each point. */
  readonly every_ms: Float64Array;
  /** Mode poll: points of one interval, shortest first; empty otherwise. */
  readonly groups: readonly PollGroup[];
  /** Mode subscribe: all points; empty otherwise. */
  readonly pushed: Uint32Array;
  readonly hasText: boolean;
  readonly publishing_ms: number;
  readonly queue: number;
  readonly watchdog_ms: number;
  readonly timeout_ms: number;
  /** How long the session may be without traffic. */
  readonly session_ms: number;
}

export function compilePlan(device: Device<OpcuaPoint, OpcuaOptions>): Plan {
  const { options, points, descriptor } = device;
  const mode = options.mode ?? "subscribe";
  const every_ms = Float64Array.from(points, (point) => point.every);
  const shortest_ms = every_ms.reduce((least, every) => Math.min(least, every), PUBLISHING_MAX_MS);
  const publishing_ms = options.publishing ?? Math.max(shortest_ms, PUBLISHING_MIN_MS);
  const timeout_ms = options.timeout ?? TIMEOUT_MS;
  const beat_ms = mode === "poll" ? Math.max(timeout_ms, shortest_ms) : publishing_ms;
  return {
    mode,
    addresses: points.map((point) => addressOf(device.id, point)),
    writers: points.map((point, i) => {
      const series = descriptor.series[i];
      if (!series) throw new LinesideError("config", `device ${device.id}: point ${point.name} has no series`);
      return compileWriter(point, series);
    }),
    every_ms,
    groups: mode === "poll" ? groupByInterval(every_ms) : [],
    pushed: mode === "poll" ? new Uint32Array(0) : Uint32Array.from(points, (_, i) => i),
    hasText: descriptor.series.some((series) => series.value === "text"),
    publishing_ms,
    queue: options.queue ?? QUEUE,
    watchdog_ms: options.watchdog ?? Math.max(3 * beat_ms, WATCHDOG_MIN_MS),
    timeout_ms,
    session_ms: mode === "poll" ? SESSION_MIN_MS : Math.max(SESSION_MIN_MS, 3 * publishing_ms),
  };
}

function addressOf(device: string, point: OpcuaPoint): Address {
  try {
    return parseAddress(point.address);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new LinesideError("config", `device ${device}, point ${point.name}: ${why}`, { cause });
  }
}

function groupByInterval(every_ms: Float64Array): PollGroup[] {
  const groups = new Map<number, number[]>();
  every_ms.forEach((every, point) => {
    const members = groups.get(every);
    if (members) members.push(point);
    else groups.set(every, [point]);
  });
  return [...groups]
    .sort(([a], [b]) => a - b)
    .map(([every, points]) => ({ every_ms: every, points: Uint32Array.from(points) }));
}
