/** Events that the agent itself reports: what is missing from the data, and why; devices that come and go. */
import type { Descriptor, Event } from "#adapters/contract.ts";
import { isoTime } from "#adapters/lines.ts";

/** Names listed in one event; beyond them only their number is told. */
const NAMES_MAX = 64;

/** A stretch of time in which readings are missing. */
export interface Gap {
  readonly descriptor: Descriptor;
  /** Names of the points concerned; empty means all points of the device. */
  readonly points: readonly string[];
  /** The last reading before, and the first one after, microseconds since 1970. */
  readonly from_us: number;
  readonly to_us: number;
  /** Stable, lower_snake: `agent_stopped`, `buffer_full`, `corrupt`, `refused`, or a link's error code. */
  readonly reason: string;
  /** Readings missing: counted where they existed, estimated from the interval where they were never read. */
  readonly readings: number;
  readonly estimated: boolean;
  /** What the receiver or the system said, for people. */
  readonly detail?: string;
  /** The target whose data is missing; none where nobody has it. */
  readonly target?: string;
}

/** Readings that were not taken while nothing was read for so long, about: each point at its own interval. */
export function missed(points: readonly { readonly every: number }[], elapsed_ms: number): number {
  return points.reduce((sum, { every }) => sum + Math.max(0, Math.floor(elapsed_ms / every)), 0);
}

export function gapEvent(gap: Gap, now_us: number): Event {
  const { descriptor, points, from_us, reason, readings } = gap;
  // The clock may have been set back meanwhile (a board without a battery): how long it was is not known then.
  const to_us = Math.max(from_us, gap.to_us);
  const names = points.length > 0 ? points : descriptor.series.map((series) => series.name);
  const seconds = (to_us - from_us) / 1e6;
  const about = gap.estimated ? "about " : "";
  return {
    name: "lineside.gap",
    time_us: now_us,
    severity: "warn",
    body: `${descriptor.device}: ${about}${readings} readings missing over ${seconds.toFixed(1)} s (${reason})`,
    attributes: {
      "gap.device": descriptor.device,
      "gap.from": isoTime(from_us),
      "gap.to": isoTime(to_us),
      "gap.reason": reason,
      "gap.readings": readings,
      "gap.estimated": gap.estimated,
      "gap.points": names.slice(0, NAMES_MAX),
      "gap.points.count": names.length,
      ...(gap.detail === undefined ? {} : { "gap.detail": gap.detail }),
      ...(gap.target === undefined ? {} : { "gap.target": gap.target }),
    },
    descriptor,
    ...(gap.target === undefined ? {} : { target: gap.target }),
  };
}

/** The gap that an event tells of; null for any other event. */
export function gapOf({ name, attributes, descriptor, target }: Event): Gap | null {
  if (name !== "lineside.gap") return null;
  const points = attributes["gap.points"];
  return {
    descriptor,
    points: Array.isArray(points) ? points : [],
    from_us: microsOf(String(attributes["gap.from"])),
    to_us: microsOf(String(attributes["gap.to"])),
    reason: String(attributes["gap.reason"]),
    readings: Number(attributes["gap.readings"]),
    estimated: attributes["gap.estimated"] === true,
    ...(target === undefined ? {} : { target }),
  };
}

export function deviceEvent(
  descriptor: Descriptor,
  state: "up" | "down",
  now_us: number,
  reason: string,
  detail: string,
): Event {
  return {
    name: `lineside.device.${state}`,
    time_us: now_us,
    severity: state === "up" ? "info" : "warn",
    body: detail,
    attributes: { "device.id": descriptor.device, ...(reason === "" ? {} : { "device.reason": reason }) },
    descriptor,
  };
}

/** The inverse of isoTime. */
function microsOf(text: string): number {
  return Date.parse(`${text.slice(0, 23)}Z`) * 1000 + Number(text.slice(23, 26));
}
