/**
 * One device on one line: requests one after the other, what it sends by itself in between, and the
 * silence of both.
 *
 *   poll ─▶ wait until the line is free ─▶ request ─▶ line ══▶ device
 *                                                              │
 *   sink ◀─ frame ◀─ message.read ◀─ whose is it? ◀─ framer ◀══╝
 *                        pending request · owed (late) · unsolicited · nobody's
 *
 * A line protocol has no transaction ids. After a timeout the answer may still come; until it has, or
 * until as much time again has passed, the line is not free, and what matches is dropped as late.
 */
import type { SerialPoint } from "#profiles/schema.ts";
import { type Attributes, type Device, LinesideError, type Session, type SessionContext } from "../../contract.ts";
import { bad, type Quality } from "../../quality.ts";
import { createFramer } from "./framer.ts";
import { type Line, lineName, openLine } from "./line.ts";
import type { SerialOptions } from "./options.ts";
import { compilePlan, type Message, type Plan } from "./plan.ts";

const TIMEOUT = bad("timeout");
/** A frame came in time, and its checksum was wrong. */
const CHECKSUM = bad("checksum");
/** Frames came in time, and none of them was the answer. */
const GARBAGE = bad("garbage");
/** The other side takes no bytes any more (flow control, a hung device server). */
const BLOCKED = bad("line_blocked");
const SILENT = bad("silent");

interface Pending {
  readonly message: Message;
  readonly answered: () => void;
  readonly failed: (error: LinesideError) => void;
  readonly frames_before: number;
  readonly checksum_errors_before: number;
}

/** The answer of a request that has timed out, which may still come. */
interface Owed {
  readonly message: Message;
  readonly until_ms: number;
  /** Aborted when it has come: the line is free. */
  readonly came: AbortController;
}

/** Who has which line, over all devices of the source. */
export interface Lines {
  /** Throws LinesideError `port_in_use` where another session has the line. */
  claim(line: string, session: SerialSession): void;
  release(line: string, session: SerialSession): void;
}

export class SerialSession implements Session {
  readonly groups: Session["groups"];
  readonly pushed: Session["pushed"];
  readonly #device: Device<SerialPoint, SerialOptions>;
  readonly #context: SessionContext;
  readonly #lines: Lines;
  readonly #plan: Plan;
  readonly #framer: ReturnType<typeof createFramer>;
  #line: Line | null = null;
  /** Why the line is no more, until the next connect. */
  #loss: LinesideError | null = null;
  /** Counts connects and closes: a connect that was overtaken by a close leaves nothing open. */
  #attempt = 0;
  #pending: Pending | null = null;
  #owed: Owed | null = null;
  #quiet_since_ms = 0;
  #cancelGap: (() => void) | null = null;
  /** By unsolicited message: cancels the timer of its silence. */
  readonly #cancelSilence = new Map<Message, () => void>();
  /** Answers that came after their timeout, and frames that were nobody's. */
  #late = 0;
  #unknown = 0;

  constructor(device: Device<SerialPoint, SerialOptions>, context: SessionContext, lines: Lines) {
    this.#device = device;
    this.#context = context;
    this.#lines = lines;
    this.#plan = compilePlan(device);
    this.groups = this.#plan.groups;
    this.pushed = this.#plan.pushed;
    this.#framer = createFramer(this.#plan.framing, (body) => this.#take(body));
  }

  get device(): string {
    return this.#device.id;
  }

  async connect(signal: AbortSignal): Promise<Attributes> {
    await this.close();
    const attempt = ++this.#attempt;
    const { options } = this.#device;
    this.#lines.claim(lineName(options), this);
    this.#loss = null;
    this.#framer.reset();
    let line: Line;
    try {
      line = await openLine(
        options,
        { data: (bytes) => this.#received(bytes), lost: (error) => this.#lose(error) },
        this.#context.clock,
        signal,
      );
    } catch (error) {
      this.#lines.release(lineName(options), this);
      throw error;
    }
    if (attempt !== this.#attempt) {
      await line.close();
      throw this.#aborted();
    }
    this.#line = line;
    for (const message of this.#plan.unsolicited) this.#expect(message);
    return {};
  }

  async poll(group: number, signal: AbortSignal): Promise<void> {
    const message = this.#plan.requests[group];
    if (message === undefined) throw new RangeError(`there is no poll group ${group}`);
    await this.#free(signal);
    if (this.#loss !== null) throw this.#loss;
    const line = this.#line;
    if (line === null) throw this.#notConnected();
    if (signal.aborted) throw this.#aborted();
    // Nothing may be left of an earlier frame, unless the device also speaks by itself.
    if (this.#plan.unsolicited.length === 0) this.#framer.reset();
    if (message.request === null || !line.write(message.request)) {
      this.#context.sink(this.#stamp(message.spoil(BLOCKED)));
      return;
    }
    await this.#answer(message, signal);
  }

  async close(): Promise<void> {
    // A connect that is still under way finds out.
    this.#attempt += 1;
    this.#stop(this.#notConnected());
    const line = this.#line;
    this.#line = null;
    await line?.close();
    this.#lines.release(lineName(this.#device.options), this);
  }

  // --- Requests --------------------------------------------------------------------------------------

  /** Waits for a late answer, and for the pause that the device wants. */
  async #free(signal: AbortSignal): Promise<void> {
    const { clock } = this.#context;
    const owed = this.#owed;
    if (owed !== null) {
      const wait_ms = owed.until_ms - clock.monotonic_ms();
      if (wait_ms > 0) await clock.sleep(wait_ms, AbortSignal.any([signal, owed.came.signal]));
      if (this.#owed === owed && !signal.aborted) this.#owed = null;
    }
    const pause_ms = this.#quiet_since_ms + this.#plan.pause_ms - clock.monotonic_ms();
    if (pause_ms > 0) await clock.sleep(pause_ms, signal);
  }

  #answer(message: Message, signal: AbortSignal): Promise<void> {
    const { clock, sink } = this.#context;
    return new Promise((resolve, reject) => {
      /** From here on what comes in is not taken for the answer. */
      const over = () => {
        cancel();
        signal.removeEventListener("abort", onAbort);
        this.#pending = null;
        this.#quiet_since_ms = clock.monotonic_ms();
      };
      const onAbort = () => {
        over();
        this.#owe(message);
        reject(this.#aborted());
      };
      const cancel = clock.after(this.#plan.timeout_ms, () => {
        over();
        this.#owe(message);
        sink(this.#stamp(message.spoil(this.#reason(pending))));
        resolve();
      });
      const pending: Pending = {
        message,
        answered: () => {
          over();
          resolve();
        },
        failed: (error) => {
          over();
          reject(error);
        },
        frames_before: this.#framer.counts.frames,
        checksum_errors_before: this.#framer.counts.checksum_errors,
      };
      this.#pending = pending;
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  #owe(message: Message): void {
    const until_ms = this.#context.clock.monotonic_ms() + this.#plan.timeout_ms;
    this.#owed = { message, until_ms, came: new AbortController() };
  }

  #reason({ frames_before, checksum_errors_before }: Pending): Quality {
    const { frames, checksum_errors } = this.#framer.counts;
    if (checksum_errors > checksum_errors_before) return CHECKSUM;
    return frames > frames_before ? GARBAGE : TIMEOUT;
  }

  // --- What comes in ---------------------------------------------------------------------------------

  #received(bytes: Uint8Array): void {
    const { gap } = this.#plan.framing;
    this.#cancelGap?.();
    this.#cancelGap = null;
    this.#framer.push(bytes);
    if (gap !== undefined && this.#line !== null) {
      this.#cancelGap = this.#context.clock.after(gap, () => {
        this.#cancelGap = null;
        this.#framer.flush();
      });
    }
  }

  #take(body: Buffer): void {
    const text = body.toString(this.#plan.encoding);
    const pending = this.#pending;
    const answer = pending?.message.read(text) ?? null;
    if (pending !== null && answer !== null) {
      this.#context.sink(this.#stamp(answer));
      pending.answered();
      return;
    }
    if (this.#owed !== null && this.#owed.message.read(text) !== null) {
      this.#late += 1;
      this.#owed.came.abort();
      this.#owed = null;
      return;
    }
    for (const message of this.#plan.unsolicited) {
      const frame = message.read(text);
      if (frame === null) continue;
      this.#expect(message);
      if (frame.points.length > 0) this.#context.sink(this.#stamp(frame));
      return;
    }
    this.#unknown += 1;
    this.#context.log.debug(
      {
        device: this.#device.id,
        text: text.slice(0, 80),
        unknown: this.#unknown,
        late: this.#late,
        ...this.#framer.counts,
      },
      "a serial frame matches no message",
    );
  }

  #stamp<T extends { time_us: number }>(frame: T): T {
    frame.time_us = this.#context.clock.now_us();
    return frame;
  }

  // --- Silence and loss ------------------------------------------------------------------------------

  /** Starts the silence of a message anew. It is said again as long as it lasts. */
  #expect(message: Message): void {
    const { silent_after_ms } = this.#plan;
    if (silent_after_ms === null || message.points.length === 0) return;
    this.#cancelSilence.get(message)?.();
    const cancel = this.#context.clock.after(silent_after_ms, () => {
      this.#context.sink(this.#stamp(message.spoil(SILENT)));
      this.#expect(message);
    });
    this.#cancelSilence.set(message, cancel);
  }

  #lose(error: LinesideError): void {
    // Lost while connect was still under way: connect tells.
    if (this.#line === null) return;
    this.#loss = error;
    this.#stop(error);
    this.#context.lost(error);
  }

  /** Ends timers and the pending request. */
  #stop(error: LinesideError): void {
    this.#cancelGap?.();
    this.#cancelGap = null;
    for (const cancel of this.#cancelSilence.values()) cancel();
    this.#cancelSilence.clear();
    this.#owed?.came.abort();
    this.#owed = null;
    this.#pending?.failed(error);
  }

  #notConnected(): LinesideError {
    return new LinesideError(
      "not_connected",
      `device ${this.#device.id}: ${lineName(this.#device.options)} is not open`,
    );
  }

  #aborted(): LinesideError {
    return new LinesideError("aborted", `device ${this.#device.id}: the poll was given up`);
  }
}
