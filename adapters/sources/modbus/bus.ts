/**
 * One connection (a socket, a serial port) and all that share it: devices behind a gateway, units on
 * an RS-485 line. One request at a time, first come first served, so that each device gets its turn
 * after every single request of another.
 *
 *   sessions ──submit──▶ queue ─▶ ready? (pauses, silence on the line) ─▶ link ─▶ answered / deadline ─▶ done
 *                                                                           └ lost ─▶ every session
 */
import { type Clock, LinesideError, type Log } from "../../contract.ts";
import type { Quality } from "../../quality.ts";
import { aborted } from "./aborted.ts";
import type { Alarm, TimeKeeper } from "./alarm.ts";
import type { Link, LinkEvents, Request } from "./link.ts";
import { isUnreached } from "./reasons.ts";

/** A request and who waits for it. A session uses one again and again. */
export interface Job {
  request: Request;
  readonly unit: Unit;
  /** Wait for the answer to this request, and silence to keep after it. */
  timeout_ms: number;
  readonly pause_ms: number;
  /** The owner has gone; the line still waits for the answer, so that it is taken for no other's. */
  withdrawn: boolean;
  /** GOOD with the data at byte `base` of `view` (lent), or why not. */
  readonly done: (quality: Quality, view: DataView | null, base: number) => void;
  readonly lost: (error: LinesideError) => void;
}

/** A unit id on this bus. */
export interface Unit {
  readonly id: number;
  /** Not to be asked before this monotonic time. */
  not_before_ms: number;
  /** In a row; also requests that a gateway could not bring to it. */
  timeouts: number;
  /** Silent for long: polls are given up unasked until this monotonic time, for the sake of the others. */
  rest_until_ms: number;
}

/** A session that is connected or connecting. */
export interface Member {
  readonly unit: Unit;
  readonly lost: (error: LinesideError) => void;
}

/**
 * A peer that has answered before and now lets so many requests in a row go by, from every unit, is
 * gone: half-open, or rebooted without a word. One that never answered gets more time.
 */
const SILENT_MAX = 3;
const NEVER_HEARD_MAX = 10;

/** A unit that lets so many requests in a row go by rests after each, if others are waiting for the line. */
const TIRED_AFTER = 5;
/** All resting units together take one part in so many of the line's time. */
const LINE_SHARE = 5;
const REST_MS_MAX = 60_000;

export interface BusOptions {
  /** For people: `10.0.3.17:502`, `/dev/ttyUSB0`. */
  readonly name: string;
  /** Whether a silent link is given up; a serial port has no other end to lose. */
  readonly has_peer: boolean;
  readonly link: (events: LinkEvents) => Promise<Link>;
}

export class Bus {
  readonly name: string;
  readonly #options: BusOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #alarm: Alarm;
  readonly #units = new Map<number, Unit>();
  readonly #claims = new Set<Member>();
  readonly #members = new Set<Member>();
  readonly #queue: Job[] = [];
  #link: Link | null = null;
  #opening: { readonly done: Promise<void>; readonly abort: AbortController } | null = null;
  /** Ends of former links; a port opens only after it is closed. */
  #closing: Promise<void> = Promise.resolve();
  #job: Job | null = null;
  #sent_ms = 0;
  #finishing = false;
  #silent = 0;
  #heard = false;

  constructor(options: BusOptions, clock: Clock, keeper: TimeKeeper, log: Log) {
    this.name = options.name;
    this.#options = options;
    this.#clock = clock;
    this.#log = log;
    this.#alarm = keeper.alarm(() => this.#onAlarm());
  }

  unit(id: number): Unit {
    let unit = this.#units.get(id);
    if (unit === undefined) this.#units.set(id, (unit = { id, not_before_ms: 0, timeouts: 0, rest_until_ms: 0 }));
    return unit;
  }

  /** Whether a session counts on this bus, connected or not. */
  get isClaimed(): boolean {
    return this.#claims.size > 0;
  }

  claim(member: Member): void {
    this.#claims.add(member);
  }

  /** Opens the link, or shares it. Rejects with a LinesideError, `aborted` where the signal does. */
  async connect(member: Member, signal: AbortSignal): Promise<void> {
    if (signal.aborted) throw aborted(`connecting to ${this.name}`, signal.reason);
    this.#claims.add(member);
    this.#members.add(member);
    if (this.#link === null) this.#opening ??= this.#open();
    const opening = this.#opening;
    if (opening === null) return;
    let abort = (): void => undefined;
    const given = new Promise<never>((_, reject) => {
      abort = () => reject(aborted(`connecting to ${this.name}`, signal.reason));
      signal.addEventListener("abort", abort, { once: true });
    });
    try {
      await Promise.race([opening.done, given]);
    } catch (error) {
      await this.leave(member);
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** Leaves for good, as far as it is known: a bus that nobody claims may be replaced. */
  async release(member: Member): Promise<void> {
    this.#claims.delete(member);
    await this.leave(member);
  }

  /** The last one to leave closes the link. */
  async leave(member: Member): Promise<void> {
    if (!this.#members.delete(member) || this.#members.size > 0) return;
    this.#opening?.abort.abort(aborted(this.name));
    this.#end();
    await this.#closing;
  }

  /** Puts a request in the queue; its job must not be there yet. */
  submit(job: Job): void {
    if (this.#link === null) {
      job.lost(new LinesideError("link_lost", `${this.name} is not connected`));
      return;
    }
    this.#queue.push(job);
    if (this.#job === null && !this.#finishing) this.#next();
  }

  withdraw(job: Job): void {
    job.withdrawn = true;
    const at = this.#queue.indexOf(job);
    if (at >= 0) this.#queue.splice(at, 1);
  }

  async close(): Promise<void> {
    this.#claims.clear();
    this.#members.clear();
    this.#opening?.abort.abort(aborted(this.name));
    this.#end();
    await this.#closing;
  }

  #open(): { done: Promise<void>; abort: AbortController } {
    const abort = new AbortController();
    const run = async (): Promise<void> => {
      await this.#closing;
      abort.signal.throwIfAborted();
      const link: Link = await this.#options.link({
        answered: (quality, view, base) => this.#answered(quality, view, base),
        heard: () => this.#hear(),
        again: () => this.#again(),
        lost: (error) => this.#lose(link, error),
      });
      await link.open(abort.signal);
      if (abort.signal.aborted) {
        await link.close();
        throw aborted(`connecting to ${this.name}`, abort.signal.reason);
      }
      this.#link = link;
      this.#silent = 0;
      this.#heard = false;
      for (const unit of this.#units.values()) {
        unit.timeouts = 0;
        unit.not_before_ms = 0;
        unit.rest_until_ms = 0;
      }
    };
    const opening = {
      abort,
      done: run().finally(() => {
        if (this.#opening === opening) this.#opening = null;
      }),
    };
    // Those who wait for it get the failure; where nobody waits any more it is no news.
    opening.done.catch(() => undefined);
    return opening;
  }

  /** Forgets the link and all that is under way on it. */
  #end(): void {
    const link = this.#link;
    const opening = this.#opening;
    this.#link = null;
    this.#opening = null;
    this.#job = null;
    this.#queue.length = 0;
    this.#alarm.close();
    const before = this.#closing;
    this.#closing = Promise.allSettled([before, opening?.done, link?.close()]).then(() => undefined);
  }

  #lose(link: Link, error: LinesideError): void {
    if (this.#link !== link) return;
    const members = [...this.#members];
    const jobs = [...(this.#job === null ? [] : [this.#job]), ...this.#queue];
    this.#members.clear();
    this.#end();
    this.#log.debug({ bus: this.name, code: error.code }, error.message);
    for (const job of jobs) if (!job.withdrawn) job.lost(error);
    for (const member of members) member.lost(error);
  }

  /** Sends the first request that may be sent now, or waits for the earliest that may. */
  #next(): void {
    const link = this.#link;
    if (link === null || this.#queue.length === 0) return;
    const now_ms = this.#clock.monotonic_ms();
    const line_ms = link.ready_ms();
    let earliest_ms = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#queue.length; i += 1) {
      const job = this.#queue[i];
      if (job === undefined) continue;
      const ready_ms = Math.max(line_ms, job.unit.not_before_ms, link.unit_ready_ms(job.unit.id));
      if (ready_ms <= now_ms) {
        if (i === 0) this.#queue.shift();
        else this.#queue.splice(i, 1);
        this.#start(link, job, now_ms);
        return;
      }
      earliest_ms = Math.min(earliest_ms, ready_ms);
    }
    this.#alarm.at(earliest_ms, now_ms);
  }

  #start(link: Link, job: Job, now_ms: number): void {
    this.#job = job;
    this.#sent_ms = now_ms;
    this.#alarm.at(now_ms + job.timeout_ms, now_ms);
    link.send(job.request);
  }

  #again(): void {
    const job = this.#job;
    if (job === null) return;
    this.#job = null;
    this.#alarm.off();
    this.#hear();
    if (!job.withdrawn) this.#queue.unshift(job);
    this.#next();
  }

  #answered(quality: Quality, view: DataView | null, base: number): void {
    const job = this.#job;
    if (job === null) return;
    if (isUnreached(quality)) this.#missed(job.unit);
    else job.unit.timeouts = 0;
    this.#hear();
    this.#finish(job, quality, view, base);
  }

  #missed(unit: Unit): void {
    unit.timeouts += 1;
    if (unit.timeouts < TIRED_AFTER) return;
    const units = new Set(Array.from(this.#members, (member) => member.unit));
    const tired = [...units].filter(({ timeouts }) => timeouts >= TIRED_AFTER).length;
    if (tired === units.size) return;
    const now_ms = this.#clock.monotonic_ms();
    const rest_ms = (now_ms - this.#sent_ms) * (LINE_SHARE - 1) * tired;
    unit.rest_until_ms = now_ms + Math.min(rest_ms, REST_MS_MAX);
  }

  #hear(): void {
    this.#silent = 0;
    this.#heard = true;
  }

  #finish(job: Job, quality: Quality, view: DataView | null, base: number): void {
    this.#job = null;
    this.#alarm.off();
    if (job.pause_ms > 0) job.unit.not_before_ms = this.#clock.monotonic_ms() + job.pause_ms;
    // What `done` submits is looked at below, after all that waited before it.
    this.#finishing = true;
    if (!job.withdrawn) job.done(quality, view, base);
    this.#finishing = false;
    if (this.#job === null) this.#next();
  }

  #onAlarm(): void {
    const job = this.#job;
    const link = this.#link;
    if (link === null) return;
    if (job === null) return this.#next();
    const quality = link.giveUp();
    this.#missed(job.unit);
    this.#silent += 1;
    if (this.#isGone()) {
      const many = `${this.#silent} requests in a row`;
      this.#lose(
        link,
        new LinesideError("link_lost", `${this.name} has left ${many} without an answer; connecting anew`),
      );
      return;
    }
    this.#finish(job, quality, null, 0);
  }

  #isGone(): boolean {
    if (!this.#options.has_peer || this.#silent < (this.#heard ? SILENT_MAX : NEVER_HEARD_MAX)) return false;
    for (const { unit } of this.#members) if (unit.timeouts === 0) return false;
    return true;
  }
}
