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
  type Descriptor,
  type Event,
  LinesideError,
  type Log,
  type Session,
  type Source,
} from "#adapters/contract.ts";
import { createFrame, fillBad, type Frame } from "#adapters/frame.ts";
import { bad } from "#adapters/quality.ts";
import { deviceEvent, gapEvent } from "./gap.ts";
import type { Pipeline } from "./process/pipeline.ts";
import type { Schedule } from "./schedule.ts";
import type { SiteDevice } from "./site/contract.ts";

/** A connect that takes longer is given up; adapters have shorter limits of their own. */
const CONNECT_MS_MAX = 60_000;
const RETRY_MS_FIRST = 200;
/** A lost device is tried again at the pace of its polls, within these bounds. */
const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 30_000;
const OVERRUN_LOG_MS = 60_000;

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
  #lastFrame_us = 0;
  #downSince_us = 0;
  #connects = 0;
  #overruns = 0;
  #overrunLogged_ms = -Infinity;
  #poll_ms = 0;

  constructor(device: SiteDevice, source: Source<never, never>, context: DeviceContext) {
    this.device = device;
    this.#context = context;
    this.#since_us = context.clock.now_us();
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

  /** Ends polling, then the link; when it resolves nothing of the device is left running. */
  async stop(): Promise<void> {
    for (const remove of this.#removals) remove();
    this.#stop.abort();
    await this.#session.close();
    await this.#running;
    await this.#loop;
    this.#enter("stopped", "");
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
    };
  }

  async #keepConnected(): Promise<void> {
    const { clock, log } = this.#context;
    const { signal } = this.#stop;
    let failures = 0;
    while (!signal.aborted) {
      const error = await this.#connectOnce(signal, () => (failures = 0));
      await this.#session.close();
      await this.#running;
      if (signal.aborted) return;
      if (this.#state !== "down") {
        log.warn({ device: this.device.id, code: error.code }, `${this.device.id} is down: ${error.message}`);
        this.#goDown(error);
      } else if (error.code !== this.#reason) {
        log.warn({ device: this.device.id, code: error.code }, `${this.device.id} is still down: ${error.message}`);
        this.#reason = error.code;
      }
      const wait_ms = Math.min(RETRY_MS_FIRST * 2 ** failures++, this.#retry_ms_max);
      // Spread, so that the devices behind a switch that comes back are not all tried in the same instant.
      await clock.sleep(wait_ms * (0.8 + 0.2 * Math.random()), signal);
    }
  }

  /** One life of the link, from connect to its end; resolves with why it ended. */
  async #connectOnce(signal: AbortSignal, connected: () => void): Promise<LinesideError> {
    const { clock, log } = this.#context;
    const { promise: lost, resolve } = Promise.withResolvers<LinesideError>();
    const aborted = (): void => resolve(new LinesideError("aborted", "stopped"));
    this.#loseLink = resolve;
    const timeout = new AbortController();
    const cancel = clock.after(CONNECT_MS_MAX, () => timeout.abort());
    const started_ms = clock.monotonic_ms();
    try {
      const identity = await this.#session.connect(AbortSignal.any([signal, timeout.signal]));
      this.#identify(identity);
    } catch (error) {
      return asLinkError(error);
    } finally {
      cancel();
    }
    if (signal.aborted) return new LinesideError("aborted", "stopped");
    connected();
    this.#connects++;
    const took_ms = Math.round(clock.monotonic_ms() - started_ms);
    log.info({ device: this.device.id, took_ms }, `${this.device.id} is up`);
    this.#goUp();
    signal.addEventListener("abort", aborted, { once: true });
    try {
      return await lost;
    } finally {
      signal.removeEventListener("abort", aborted);
    }
  }

  #identify(identity: Attributes): void {
    const { pipeline } = this.#context;
    const { descriptor } = this.device;
    const news = Object.entries(identity).filter(([key, value]) => descriptor.resource[key] !== value);
    if (news.length === 0) pipeline.descriptor = descriptor;
    else if (!isSame(pipeline.descriptor, news)) {
      pipeline.descriptor = { ...descriptor, resource: { ...descriptor.resource, ...Object.fromEntries(news) } };
    }
  }

  #goUp(): void {
    const { clock, pipeline, event } = this.#context;
    const now_us = clock.now_us();
    if (this.#state === "down") {
      const id = this.device.id;
      event(deviceEvent(pipeline.descriptor, "up", now_us, "", `${id} is up again`));
      event(gapEvent(this.#outage(now_us), now_us));
    } else {
      event(deviceEvent(pipeline.descriptor, "up", now_us, "", `${this.device.id} is up`));
    }
    this.#enter("up", "");
    // Polled at once: nobody should wait an interval for the first values of a device that is back.
    for (let group = 0; group < this.#due.length; group++) this.#tick(group);
  }

  #outage(now_us: number) {
    const from_us = this.#downSince_us;
    let readings = 0;
    for (const group of this.#session.groups) {
      readings += Math.floor((now_us - from_us) / (group.every_ms * 1000)) * group.points.length;
    }
    const { descriptor } = this.#context.pipeline;
    return { descriptor, points: [], from_us, to_us: now_us, reason: this.#reason, readings, estimated: true };
  }

  #goDown(error: LinesideError): void {
    const { clock, pipeline, event } = this.#context;
    const now_us = clock.now_us();
    this.#downSince_us = this.#lastFrame_us || this.#since_us;
    this.#enter("down", error.code);
    event(deviceEvent(pipeline.descriptor, "down", now_us, error.code, error.message));
    if (this.#session.pushed.length > 0) this.#report(this.#session.pushed, error.code);
  }

  #enter(state: DeviceState, reason: string): void {
    this.#state = state;
    this.#reason = reason;
    this.#since_us = this.#context.clock.now_us();
  }

  #tick(group: number): void {
    if (this.#stop.signal.aborted) return;
    if (this.#state === "starting") {
      const { every_ms } = this.#session.groups[group] ?? { every_ms: 0 };
      const waited_ms = (this.#context.clock.now_us() - this.#since_us) / 1000;
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
      if (group < 0 || this.#state !== "up" || this.#stop.signal.aborted) return;
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
        this.#due.fill(false);
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
    this.#lastFrame_us = frame.time_us;
    if (this.#polling) for (let row = 0; row < frame.count; row++) this.#reported[frame.points[row] ?? 0] = 1;
    this.#context.pipeline.frame(frame);
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

function isSame(descriptor: Descriptor, attributes: readonly (readonly [string, unknown])[]): boolean {
  return attributes.every(([key, value]) => descriptor.resource[key] === value);
}

function asLinkError(error: unknown): LinesideError {
  if (error instanceof LinesideError) return error;
  return new LinesideError("link_failed", error instanceof Error ? error.message : String(error), { cause: error });
}
