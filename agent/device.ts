/**
 * Runs one device: keeps its link up, polls its groups when they are due, and says so when it cannot.
 *
 *   Schedule ──tick──▶ due ──▶ session.poll ──Frame──▶ pipeline ──▶ collect
 *                        └ link down ──▶ a frame of bad readings with the reason, at the same pace
 *   connect ─▶ up ─▶ lost ─▶ close ─▶ wait ─▶ connect ...
 *
 * Polls of one device never overlap: a group that is due while another is read waits for it, and one
 * that is due again before it was read is counted as an overrun. Devices share nothing here, so a
 * slow one delays nobody.
 */
import {
  type Attributes,
  type Clock,
  type Event,
  LinesideError,
  type Log,
  type Session,
  type Source,
} from "#adapters/contract.ts";
import { createFrame, fillBad, type Frame } from "#adapters/frame.ts";
import { bad } from "#adapters/quality.ts";
import { ended } from "./ended.ts";
import { deviceEvent, gapEvent, missed } from "./gap.ts";
import type { Pipeline } from "./process/pipeline.ts";
import type { Schedule } from "./schedule.ts";
import type { SiteDevice } from "./site/contract.ts";
import { messageOf } from "./message.ts";

/** A connect that takes longer is given up; adapters have shorter limits of their own. */
const CONNECT_MS_MAX = 60_000;
const RETRY_MS_FIRST = 200;
/** A lost device is tried again at the pace of its polls, within these bounds. */
const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 30_000;
const OVERRUN_LOG_MS = 60_000;
/** A device that does not end in so long is left behind. */
const STOP_MS_MAX = 5_000;

export type DeviceState = "starting" | "up" | "down" | "stopped";

export interface DeviceStatus {
  readonly id: string;
  readonly source: string;
  readonly state: DeviceState;
  /** Why it is down: an error code; empty otherwise. */
  readonly reason: string;
  /** Since when it is in this state, microseconds since 1970. */
  readonly since_us: number;
  readonly readings: number;
  readonly uncertain: number;
  readonly bad: number;
  readonly connects: number;
  readonly overruns: number;
  /** Milliseconds that the last round of polling took. */
  readonly poll_ms: number;
  /** Since when its figures are counted. */
  readonly started_us: number;
}

export interface DeviceContext {
  readonly clock: Clock;
  readonly log: Log;
  readonly schedule: Schedule;
  readonly pipeline: Pipeline;
  readonly event: (event: Event) => void;
}

export class DeviceRunner {
  readonly device: SiteDevice;
  readonly #context: DeviceContext;
  readonly #session: Session;
  readonly #stop = new AbortController();
  readonly #due: boolean[];
  readonly #removals: (() => void)[] = [];
  readonly #retry_ms_max: number;
  /** Per point: was it reported in the poll under way. */
  readonly #reported: Uint8Array;
  #polling = false;
  #running: Promise<void> | null = null;
  #loop: Promise<void> | null = null;
  #loseLink: ((error: LinesideError) => void) | null = null;
  #state: DeviceState = "starting";
  #reason = "";
  #since_us: number;
  readonly #started_us: number;
  /** Monotonic time of that, for durations: wall time may be set meanwhile. */
  #since_ms: number;
  /** The last frame in this life of the link. */
  #lastFrame: { readonly time_us: number; readonly at_ms: number } | null = null;
  #downSince: { readonly time_us: number; readonly at_ms: number } = { time_us: 0, at_ms: 0 };
  #connects = 0;
  #overruns = 0;
  #overrunLogged_ms = -Infinity;
  #poll_ms = 0;

  constructor(device: SiteDevice, source: Source<never, never>, context: DeviceContext) {
    this.device = device;
    this.#context = context;
    this.#started_us = this.#since_us = context.clock.now_us();
    this.#since_ms = context.clock.monotonic_ms();
    // The registry pairs each protocol with its own device type; here only the pairing is known.
    this.#session = source.open(device as never, {
      clock: context.clock,
      log: context.log,
      sink: (frame) => this.#take(frame),
      lost: (error) => this.#loseLink?.(error),
    });
    this.#due = this.#session.groups.map(() => false);
    this.#reported = new Uint8Array(device.descriptor.series.length);
    const every_ms = Math.min(...this.#session.groups.map((group) => group.every_ms), RETRY_MS_MAX);
    this.#retry_ms_max = Math.max(every_ms, RETRY_MS_MIN);
  }

  start(): void {
    this.#loop = this.#keepConnected();
    for (const [group, { every_ms }] of this.#session.groups.entries()) {
      this.#removals.push(this.#context.schedule.add(every_ms, () => this.#tick(group)));
    }
  }

  /** Ends polling, then the link; when it resolves nothing of the device is left running, if it ends at all. */
  async stop(): Promise<void> {
    for (const remove of this.#removals.splice(0)) remove();
    this.#stop.abort();
    await ended(this.#context, this.device.id, STOP_MS_MAX, this.#end());
    // An outage that nobody sees the end of is told as far as it went.
    if (this.#state === "down") this.#tellOutage();
    this.#enter("stopped", "");
  }

  async #end(): Promise<void> {
    await this.#session.close();
    await this.#running;
    await this.#loop;
  }

  status(): DeviceStatus {
    const { latest } = this.#context.pipeline;
    return {
      id: this.device.id,
      source: this.device.protocol,
      state: this.#state,
      reason: this.#reason,
      since_us: this.#since_us,
      readings: latest.readings,
      uncertain: latest.uncertain,
      bad: latest.bad,
      connects: this.#connects,
      overruns: this.#overruns,
      poll_ms: this.#poll_ms,
      started_us: this.#started_us,
    };
  }

  async #keepConnected(): Promise<void> {
    const { clock, log } = this.#context;
    const { signal } = this.#stop;
    let failures = 0;
    while (!signal.aborted) {
      const error = await this.#connectOnce(signal, () => (failures = 0));
      // Before the link is closed: nothing may be polled while it is.
      if (!signal.aborted) this.#noteDown(error);
      try {
        await this.#session.close();
      } catch (cause) {
        log.error({ device: this.device.id, err: cause }, `${this.device.id}: its link does not close properly`);
      }
      await this.#running;
      if (signal.aborted) return;
      const wait_ms = Math.min(RETRY_MS_FIRST * 2 ** failures++, this.#retry_ms_max);
      // Spread, so that the devices behind a switch that comes back are not all tried in the same instant.
      await clock.sleep(wait_ms * (0.8 + 0.2 * Math.random()), signal);
    }
  }

  #noteDown(error: LinesideError): void {
    const { log } = this.#context;
    if (this.#state !== "down") {
      log.warn({ device: this.device.id, code: error.code }, `${this.device.id} is down: ${error.message}`);
      this.#goDown(error);
    } else if (error.code !== this.#reason) {
      log.warn({ device: this.device.id, code: error.code }, `${this.device.id} is still down: ${error.message}`);
      this.#reason = error.code;
    }
  }

  /** One life of the link, from connect to its end; resolves with why it ended. */
  async #connectOnce(signal: AbortSignal, connected: () => void): Promise<LinesideError> {
    const { clock, log } = this.#context;
    const { promise: lost, resolve } = Promise.withResolvers<LinesideError>();
    const attempt = new AbortController();
    const aborted = (): void => {
      attempt.abort();
      resolve(new LinesideError("aborted", "stopped"));
    };
    signal.addEventListener("abort", aborted, { once: true });
    this.#loseLink = resolve;
    let late = false;
    const cancel = clock.after(CONNECT_MS_MAX, () => {
      late = true;
      attempt.abort();
    });
    const started_ms = clock.monotonic_ms();
    try {
      const identity = await this.#session.connect(attempt.signal);
      this.#identify(identity);
    } catch (error) {
      signal.removeEventListener("abort", aborted);
      return late
        ? new LinesideError("connect_timeout", `no link within ${CONNECT_MS_MAX / 1000} s`)
        : asLinkError(error);
    } finally {
      cancel();
    }
    if (signal.aborted) return new LinesideError("aborted", "stopped");
    connected();
    this.#connects++;
    const took_ms = Math.round(clock.monotonic_ms() - started_ms);
    log.info({ device: this.device.id, took_ms }, `${this.device.id} is up`);
    this.#goUp();
    try {
      return await lost;
    } finally {
      signal.removeEventListener("abort", aborted);
    }
  }

  #identify(identity: Attributes): void {
    const { pipeline } = this.#context;
    const { descriptor } = this.device;
    const resource = { ...descriptor.resource, ...identity };
    // Identity is a cache key: the same words keep the same descriptor.
    if (isSame(pipeline.descriptor.resource, resource)) return;
    pipeline.descriptor = isSame(descriptor.resource, resource) ? descriptor : { ...descriptor, resource };
  }

  #goUp(): void {
    const { clock, pipeline, event } = this.#context;
    const now_us = clock.now_us();
    if (this.#state === "down") {
      const id = this.device.id;
      event(deviceEvent(pipeline.descriptor, "up", now_us, "", `${id} is up again`));
      this.#tellOutage();
    } else {
      event(deviceEvent(pipeline.descriptor, "up", now_us, "", `${this.device.id} is up`));
    }
    this.#enter("up", "");
    this.#lastFrame = null;
    // Polled at once: nobody should wait an interval for the first values of a device that is back.
    for (let group = 0; group < this.#due.length; group++) this.#tick(group);
  }

  #tellOutage(): void {
    const { clock, pipeline, event } = this.#context;
    const { time_us, at_ms } = this.#downSince;
    const now_us = clock.now_us();
    const readings = missed(this.device.points, clock.monotonic_ms() - at_ms);
    const { descriptor } = pipeline;
    const ends = { from_us: time_us, to_us: now_us };
    event(gapEvent({ descriptor, points: [], ...ends, reason: this.#reason, readings, estimated: true }, now_us));
  }

  #goDown(error: LinesideError): void {
    const { clock, pipeline, event } = this.#context;
    const now_us = clock.now_us();
    this.#downSince = this.#lastFrame ?? { time_us: this.#since_us, at_ms: this.#since_ms };
    this.#enter("down", error.code);
    event(deviceEvent(pipeline.descriptor, "down", now_us, error.code, error.message));
    if (this.#session.pushed.length > 0) this.#report(this.#session.pushed, error.code);
  }

  #enter(state: DeviceState, reason: string): void {
    this.#state = state;
    this.#reason = reason;
    this.#since_us = this.#context.clock.now_us();
    this.#since_ms = this.#context.clock.monotonic_ms();
  }

  #tick(group: number): void {
    if (this.#stop.signal.aborted) return;
    if (this.#state === "starting") {
      const { every_ms } = this.#session.groups[group] ?? { every_ms: 0 };
      const waited_ms = this.#context.clock.monotonic_ms() - this.#since_ms;
      if (waited_ms >= every_ms) this.#reportGroup(group, "connecting");
      return;
    }
    if (this.#state === "down") {
      this.#reportGroup(group, this.#reason);
      return;
    }
    if (this.#due[group]) this.#overrun();
    this.#due[group] = true;
    this.#running ??= this.#pollDue().finally(() => (this.#running = null));
  }

  async #pollDue(): Promise<void> {
    const { clock } = this.#context;
    for (;;) {
      const group = this.#due.indexOf(true);
      if (group < 0 || this.#stop.signal.aborted) return;
      if (this.#state !== "up") return this.#reportDue(this.#reason);
      this.#due[group] = false;
      this.#reported.fill(0);
      this.#polling = true;
      const started_ms = clock.monotonic_ms();
      try {
        await this.#session.poll(group, this.#stop.signal);
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        const link = asLinkError(error);
        this.#reportRest(group, link.code);
        this.#reportDue(link.code);
        this.#loseLink?.(link);
        return;
      } finally {
        this.#polling = false;
      }
      this.#poll_ms = clock.monotonic_ms() - started_ms;
    }
  }

  #overrun(): void {
    const { clock, log } = this.#context;
    this.#overruns++;
    const now_ms = clock.monotonic_ms();
    if (now_ms - this.#overrunLogged_ms < OVERRUN_LOG_MS) return;
    this.#overrunLogged_ms = now_ms;
    const took_ms = Math.round(this.#poll_ms);
    log.warn(
      { device: this.device.id, took_ms, overruns: this.#overruns },
      `${this.device.id} is slower than its interval: a poll is skipped (the last took ${took_ms} ms); ` +
        "raise `every:` or read fewer points",
    );
  }

  #take(frame: Frame): void {
    this.#lastFrame = { time_us: frame.time_us, at_ms: this.#context.clock.monotonic_ms() };
    if (this.#polling) for (let row = 0; row < frame.count; row++) this.#reported[frame.points[row] ?? 0] = 1;
    this.#context.pipeline.frame(frame);
  }

  /** What was due when the link was lost says so now, as it will at each later tick. */
  #reportDue(reason: string): void {
    for (const [group, due] of this.#due.entries()) if (due) this.#reportGroup(group, reason);
    this.#due.fill(false);
  }

  #reportGroup(group: number, reason: string): void {
    this.#report(this.#session.groups[group]?.points ?? new Uint32Array(), reason);
  }

  /** What a poll that broke off had not reported yet. */
  #reportRest(group: number, reason: string): void {
    const points = this.#session.groups[group]?.points ?? new Uint32Array();
    this.#report(
      points.filter((point) => this.#reported[point] !== 1),
      reason,
    );
  }

  /** Readings without a value still say when and why. */
  #report(points: Uint32Array, reason: string): void {
    const frame = createFrame(points);
    frame.time_us = this.#context.clock.now_us();
    if (this.#context.pipeline.hasTexts) frame.texts = Array.from({ length: points.length }, () => null);
    fillBad(frame, bad(reason));
    this.#context.pipeline.frame(frame);
  }
}

function isSame(one: Attributes, other: Attributes): boolean {
  const keys = Object.keys(one);
  return keys.length === Object.keys(other).length && keys.every((key) => one[key] === other[key]);
}

function asLinkError(error: unknown): LinesideError {
  if (error instanceof LinesideError) return error;
  return new LinesideError("link_failed", messageOf(error), { cause: error });
}
