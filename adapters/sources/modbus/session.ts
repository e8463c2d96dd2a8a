/**
 * The way to one device: what is read at each interval, compiled once, and one poll after another.
 *
 *   open ─▶ points by interval ─▶ reads (plan) ─▶ asks: request, decoder, frame
 *   poll ─▶ ask ─▶ bus ─▶ good ─▶ decode ─▶ sink
 *            ▲       ├ refused (exception 1, 2, 3) ─▶ split ─┐
 *            │       ├ timeout, or a gateway's ─▶ the rest of this poll is bad, and asked first in the next
 *            │       └ else ─▶ bad ─▶ sink                   │
 *            └───────────────────────────────────────────────┘
 */
import type { ModbusPoint } from "#profiles/schema.ts";
import type { Attributes, Device, PollGroup, Session, SessionContext } from "../../contract.ts";
import { LinesideError } from "../../contract.ts";
import { fillBad } from "../../frame.ts";
import { GOOD, type Quality } from "../../quality.ts";
import { aborted } from "./aborted.ts";
import { type Ask, Group } from "./asks.ts";
import type { Bus, Job, Member, Unit } from "./bus.ts";
import type { Request } from "./link.ts";
import type { ModbusOptions } from "./options.ts";
import { limitsOf } from "./plan.ts";
import { isRefused, TIMEOUT } from "./reasons.ts";

const TIMEOUT_MS_DEFAULT = 1000;
/** A poll asks no more often than this for parts of refused reads; the next one goes on. */
const SPLITS_PER_POLL_MAX = 64;

/** An RTU request, and what an answer has besides its data. */
const FRAMES_BYTES = 8 + 5;

/** How the bus's line paces this device. */
export interface Pace {
  /** Milliseconds that a byte takes on the line; 0 on a network. */
  readonly byte_ms: number;
}

interface Poll {
  readonly group: Group;
  /** Still to be asked, the next one last. */
  readonly todo: Ask[];
  splits: number;
  readonly resolve: () => void;
  readonly reject: (error: LinesideError) => void;
}

export class ModbusSession implements Session {
  readonly groups: readonly PollGroup[];
  readonly pushed = new Uint32Array();
  readonly #context: SessionContext;
  readonly #bus: Bus;
  readonly #unit: Unit;
  readonly #member: Member;
  readonly #groups: readonly Group[];
  readonly #timeout_ms: number;
  readonly #pause_ms: number;
  readonly #connect_delay_ms: number;
  readonly #byte_ms: number;
  #job: Job | null = null;
  #poll: Poll | null = null;
  #ask: Ask | null = null;
  #isConnected = false;
  /** Why the link broke before connect was through. */
  #failure: LinesideError | null = null;
  #signal: AbortSignal | null = null;
  readonly #onAbort = (): void => this.#abandon(aborted("the poll", this.#signal?.reason));

  constructor(device: Device<ModbusPoint, ModbusOptions>, context: SessionContext, bus: Bus, pace: Pace) {
    const { options, points, descriptor } = device;
    this.#context = context;
    this.#bus = bus;
    this.#unit = bus.unit(options.unit);
    this.#member = { unit: this.#unit, lost: (error) => this.#lost(error) };
    bus.claim(this.#member);
    this.#timeout_ms = options.timeout ?? TIMEOUT_MS_DEFAULT;
    this.#pause_ms = options.pause ?? 0;
    this.#connect_delay_ms = options.connect_delay ?? 0;
    this.#byte_ms = pace.byte_ms;
    const byInterval = new Map<number, number[]>();
    for (const [index, { every }] of points.entries()) byInterval.set(every, [...(byInterval.get(every) ?? []), index]);
    const intervals = [...byInterval].toSorted(([a], [b]) => a - b);
    const plan = { points, series: descriptor.series, order: options.order ?? "ABCD", unit: options.unit } as const;
    this.groups = intervals.map(([every_ms, indexes]) => ({ every_ms, points: Uint32Array.from(indexes) }));
    this.#groups = intervals.map(([, indexes]) => new Group(plan, indexes, limitsOf(options)));
  }

  async connect(signal: AbortSignal): Promise<Attributes> {
    this.#failure = null;
    await this.#bus.connect(this.#member, signal);
    if (this.#connect_delay_ms > 0) {
      await this.#context.clock.sleep(this.#connect_delay_ms, signal);
      if (signal.aborted) {
        await this.#bus.leave(this.#member);
        throw aborted(`connecting to ${this.#bus.name}`, signal.reason);
      }
    }
    this.#throwFailure();
    for (const group of this.#groups) group.forget();
    this.#isConnected = true;
    return {};
  }

  poll(index: number, signal: AbortSignal): Promise<void> {
    const group = this.#groups[index];
    if (group === undefined) return Promise.reject(new RangeError(`no group ${index}`));
    if (this.#poll !== null) return Promise.reject(new Error("a poll of this session is under way"));
    if (signal.aborted) return Promise.reject(aborted("the poll", signal.reason));
    if (!this.#isConnected) {
      return Promise.reject(new LinesideError("link_lost", `${this.#bus.name} is not connected`));
    }
    const now_ms = this.#context.clock.monotonic_ms();
    if (now_ms < this.#unit.rest_until_ms) {
      for (const ask of group.wholes) this.#sinkBad(ask, TIMEOUT);
      return Promise.resolve();
    }
    this.#watch(signal);
    return new Promise((resolve, reject) => {
      const todo = group.begin(now_ms);
      this.#poll = { group, todo, splits: 0, resolve, reject };
      this.#sinkRefused(group);
      this.#next();
    });
  }

  async close(): Promise<void> {
    this.#isConnected = false;
    this.#abandon(aborted("the poll"));
    this.#watch(null);
    await this.#bus.release(this.#member);
  }

  #throwFailure(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  #next(): void {
    const poll = this.#poll;
    if (poll === null) return;
    const ask = poll.todo.pop();
    if (ask === undefined) {
      this.#poll = null;
      poll.resolve();
      return;
    }
    this.#ask = ask;
    this.#job ??= this.#newJob(ask.request);
    this.#job.request = ask.request;
    // On a slow line the bytes alone may take longer than the wait for them.
    const bytes = FRAMES_BYTES + ask.request.data_bytes;
    this.#job.timeout_ms = this.#timeout_ms + bytes * this.#byte_ms;
    this.#bus.submit(this.#job);
  }

  #newJob(request: Request): Job {
    return {
      request,
      unit: this.#unit,
      timeout_ms: this.#timeout_ms,
      pause_ms: this.#pause_ms,
      withdrawn: false,
      done: (quality, view, base) => this.#done(quality, view, base),
      lost: (error) => this.#lost(error),
    };
  }

  #done(quality: Quality, view: DataView | null, base: number): void {
    const ask = this.#ask;
    const poll = this.#poll;
    if (ask === null || poll === null) return;
    this.#ask = null;
    if (quality === GOOD && view !== null) {
      ask.decoder.decode(view, base, ask.frame);
      poll.group.answered(ask);
      this.#sink(ask);
    } else if (isRefused(quality)) this.#refused(poll, ask, quality);
    else {
      this.#sinkBad(ask, quality);
      if (this.#unit.timeouts > 0) {
        // One timeout is what a silent unit may cost the others on its bus, so it is asked no more now.
        for (const left of poll.todo.splice(0)) this.#sinkBad(left, quality);
        poll.group.timedOut(ask);
      }
    }
    this.#next();
  }

  #refused(poll: Poll, ask: Ask, quality: Quality): void {
    const maySplit = poll.splits < SPLITS_PER_POLL_MAX;
    const parts = maySplit ? poll.group.split(ask) : [];
    if (parts.length > 0) {
      poll.splits += 1;
      poll.todo.push(...parts);
      return;
    }
    if (maySplit) poll.group.park(ask, quality, this.#context.clock.monotonic_ms());
    this.#sinkBad(ask, quality);
  }

  /** Points that the device has refused since it was connected, and that are not asked for this time. */
  #sinkRefused(group: Group): void {
    const frame = group.refusedFrame();
    if (frame === null) return;
    frame.time_us = this.#context.clock.now_us();
    this.#context.sink(frame);
  }

  #sinkBad(ask: Ask, quality: Quality): void {
    ask.frame.count = ask.frame.points.length;
    fillBad(ask.frame, quality);
    this.#sink(ask);
  }

  #sink({ frame }: Ask): void {
    frame.time_us = this.#context.clock.now_us();
    this.#context.sink(frame);
  }

  #lost(error: LinesideError): void {
    if (!this.#isConnected) {
      this.#failure = error;
      return;
    }
    this.#isConnected = false;
    this.#abandon(error);
    this.#context.lost(error);
  }

  /** Ends the poll under way. Its request may be on the wire: the bus waits for the answer, alone. */
  #abandon(reason: LinesideError): void {
    const poll = this.#poll;
    this.#poll = null;
    if (this.#ask !== null && this.#job !== null) {
      this.#bus.withdraw(this.#job);
      this.#job = null;
    }
    this.#ask = null;
    poll?.reject(reason);
  }

  /** One listener for as long as polls come with the same signal: one each would cost more than a request. */
  #watch(signal: AbortSignal | null): void {
    if (this.#signal === signal) return;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#signal = signal;
    signal?.addEventListener("abort", this.#onAbort);
  }
}
