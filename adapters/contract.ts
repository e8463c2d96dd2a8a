/**
 * The nouns that sources, targets and the agent share. Nothing here runs.
 *
 *   device ──▶ Source ─▶ Session ──Frame──▶ agent (collect, journal, forward) ──Batch──▶ Target ──▶ Outcome
 *
 * A source never sees a target, and neither sees the journal. Retry, backoff, queues and batching
 * live in the agent; an adapter connects, reads or delivers once, and says how it went.
 */
import type { Point } from "#profiles/schema.ts";
import type { Attributes, Series } from "#profiles/series.ts";
import type { Frame } from "./frame.ts";

// A series follows from a profile's point alone, so it is defined there.
export type { Attributes, Series };

/** Wall time and monotonic time, and the only timers there are: tests put a virtual one in its place. */
export interface Clock {
  /** Wall time in microseconds since 1970-01-01 UTC, a safe integer. It may jump. */
  now_us(): number;
  /** Monotonic milliseconds, for durations. It never jumps. */
  monotonic_ms(): number;
  /** Calls `run` once after `delay_ms`; the returned function cancels it. */
  after(delay_ms: number, run: () => void): () => void;
  /** Resolves after `delay_ms`, or at once when `signal` aborts (it never rejects). */
  sleep(delay_ms: number, signal?: AbortSignal): Promise<void>;
}

/** The part of pino that adapters use. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Where readings come from. Immutable: a changed device gets a new one. Its identity is a cache key. */
export interface Descriptor {
  readonly device: string;
  /** The adapter that reads it: `modbus`, `opcua`, `serial`, or `agent` for our own figures. */
  readonly source: string;
  /** OTLP resource attributes: gateway, ISA-95 path, device identity. */
  readonly resource: Attributes;
  readonly scope: { readonly name: string; readonly version: string };
  /** `series[i]` is `Device.points[i]`. */
  readonly series: readonly Series[];
}

/** A device as a source sees it: site file and profile, merged and checked. Immutable. */
export interface Device<P extends Point = Point, Options = unknown> {
  readonly id: string;
  /** What the adapter's own options schema made of the profile's and the site file's section. */
  readonly options: Options;
  readonly points: readonly P[];
  readonly descriptor: Descriptor;
}

/** One adapter for one kind of device, made once an agent: it owns what devices share (a bus, a socket). */
export interface Source<P extends Point = Point, Options = unknown> {
  /** Compiles the device's plan once. Throws LinesideError `config` where it cannot be read at all. */
  open(device: Device<P, Options>, context: SessionContext): Session;
  close(): Promise<void>;
}

/** What a source or a target gets once, when it is made. */
export interface AdapterContext {
  readonly clock: Clock;
  readonly log: Log;
  /** Where it may keep files of its own (certificates); null where nothing may be kept. */
  readonly data_dir: string | null;
}

export interface SessionContext {
  readonly clock: Clock;
  readonly log: Log;
  /** Takes readings. The frame is lent: whoever keeps it copies it before returning. */
  readonly sink: (frame: Frame) => void;
  /** Says once that a connected session is lost; the agent then closes it and connects anew. */
  readonly lost: (error: LinesideError) => void;
}

/** Points that are read together at one interval. */
export interface PollGroup {
  readonly every_ms: number;
  readonly points: Uint32Array;
}

/** The way to one device. connect and poll are never called while another of them is under way. */
export interface Session {
  /** What the agent polls; empty where everything is pushed. */
  readonly groups: readonly PollGroup[];
  /** Points that are pushed (subscribed, unsolicited); the agent marks them bad when the link is lost. */
  readonly pushed: Uint32Array;
  /** Resolves when readings can be had, with what the device says of itself (OTLP resource attributes). */
  connect(signal: AbortSignal): Promise<Attributes>;
  /**
   * Reads one group and gives every one of its points to the sink, good or bad. What happens to a
   * request or a point (timeout, exception, sentinel) is quality; only a lost link rejects.
   */
  poll(group: number, signal: AbortSignal): Promise<void>;
  /** Ends everything and frees it; safe at any time, also twice. A later connect starts afresh. */
  close(): Promise<void>;
}

/** Something that happened: an OTLP log record. */
export interface Event {
  /** `lineside.gap`, `lineside.device.up`, ... */
  readonly name: string;
  readonly time_us: number;
  readonly severity: "info" | "warn" | "error";
  readonly body: string;
  readonly attributes: Readonly<Record<string, string | number | boolean | readonly string[]>>;
  /** The device it concerns; the gateway itself otherwise. */
  readonly descriptor: Descriptor;
  /** Set where the event concerns one target alone; the others skip it. */
  readonly target?: string;
}

export interface Batch {
  /**
   * In journal order; frames of one device are in the order in which they were read, and all have the same
   * descriptor.
   */
  readonly frames: readonly { readonly descriptor: Descriptor; readonly frame: Frame }[];
  readonly events: readonly Event[];
  /** Readings in `frames`. */
  readonly readings: number;
}

export type Outcome =
  /** `rejected` readings were refused by name (OTLP partial success) and will not be taken later. */
  | { readonly kind: "delivered"; readonly rejected: number; readonly reason?: string }
  /** Try the same batch again, not before `wait_ms` where the receiver asked for that. */
  | { readonly kind: "retry"; readonly reason: string; readonly wait_ms?: number }
  /** This batch will never be taken. */
  | { readonly kind: "refused"; readonly reason: string }
  /** Take smaller batches; this one may be given again in parts. */
  | { readonly kind: "too_large"; readonly reason: string };

/** Maps batches to a protocol and sends them. One batch at a time unless the target says otherwise. */
export interface Target {
  /** Never rejects for what the network or the receiver does: that is an Outcome. */
  deliver(batch: Batch, signal: AbortSignal): Promise<Outcome>;
  close(): Promise<void>;
}

/**
 * The one error class. `code` is stable and doubles as the quality reason of the readings that it
 * costs; `message` names file, device and field, and what to do.
 */
export class LinesideError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "LinesideError";
    this.code = code;
  }
}
