/**
 * Modbus RTU, over a serial line or a socket: modbus-serial speaks the protocol (encodes requests,
 * checks and decodes answers), and the port beneath it is ours, for RTU answers carry no id.
 *
 *   send ─▶ in doubt? ─▶ probe ─┐
 *           └───────────────────┴▶ modbus-serial ─▶ RtuPort.write ─▶ line
 *   line ─▶ bytes ─▶ RtuPort: an answer to this request? ─▶ modbus-serial ─▶ answered
 *                       └ another unit's, another length, noise: skipped, the wait goes on
 *
 * After a timeout the answer may still come, and looks like the answer to whatever is asked next: the
 * unit is in doubt (doubt.ts) until something that only a fresh answer can look like has come back.
 */
import modbus from "modbus-serial";
import type { Clock, LinesideError } from "../../contract.ts";
import { GOOD, type Quality } from "../../quality.ts";
import type { Doubt } from "./doubt.ts";
import type { Link, LinkEvents, Request } from "./link.ts";
import type { OpenLine } from "./lines.ts";
import { CHECKSUM, exceptionQuality, GARBAGE, TIMEOUT } from "./reasons.ts";
import { RtuPort } from "./rtu-port.ts";

/** A line that never falls silent (another master, a broken transceiver) is spoken to after so long. */
const NOISE_MS_MAX = 500;

export interface RtuTiming {
  /** Silence between two frames: 3.5 characters on a serial line, none on a socket. */
  readonly gap_ms: number;
}

type Answer = { readonly buffer: Buffer } | undefined;

export class RtuLink implements Link {
  readonly #clock: Clock;
  readonly #events: LinkEvents;
  readonly #timing: RtuTiming;
  readonly #port: RtuPort;
  readonly #client: InstanceType<typeof modbus.default>;
  /** Outlives the link: a late answer may come through the next one. */
  readonly #doubt: Doubt;
  /** Answers are handed on from here, for a view of their own would be garbage after each. */
  readonly #data = Buffer.allocUnsafeSlow(256);
  readonly #view = new DataView(this.#data.buffer);
  #request: Request | null = null;
  /** What is on the line: the request, or a probe that goes before it. */
  #sent: Request | null = null;
  #sent_ms = 0;
  #ready_ms = 0;
  #noisy_since_ms = 0;
  #isOpen = false;

  constructor(openLine: OpenLine, timing: RtuTiming, doubt: Doubt, clock: Clock, events: LinkEvents) {
    this.#clock = clock;
    this.#events = events;
    this.#timing = timing;
    this.#doubt = doubt;
    this.#port = new RtuPort(openLine, {
      stray: () => {
        this.#noise();
        this.#events.heard();
      },
      lost: (error) => this.#lose(error),
    });
    this.#client = new modbus.default(this.#port);
    // What ends the line comes through `lost`; without a listener an "error" event would be thrown.
    this.#client.on("error", () => undefined);
  }

  async open(signal: AbortSignal): Promise<void> {
    this.#port.signal = signal;
    await new Promise<void>((resolve, reject) => {
      this.#client.open((error: Error | null | undefined) => (error ? reject(error) : resolve()));
    });
    this.#isOpen = true;
    this.#quiet();
  }

  send(request: Request): void {
    this.#request = request;
    this.#write(this.#doubt.probeFor(request) ?? request);
  }

  giveUp(): Quality {
    const sent = this.#sent;
    this.#request = null;
    this.#sent = null;
    if (sent !== null) this.#doubt.unanswered(sent, this.#clock.monotonic_ms() - this.#sent_ms);
    this.#quiet();
    return this.#port.giveUp() ? GARBAGE : TIMEOUT;
  }

  ready_ms(): number {
    return this.#ready_ms;
  }

  unit_ready_ms(unit: number): number {
    return this.#doubt.holdUntil_ms(unit);
  }

  async close(): Promise<void> {
    this.#isOpen = false;
    this.#request = null;
    this.#sent = null;
    await new Promise<void>((resolve) => this.#client.close(() => resolve()));
  }

  #write(request: Request): void {
    this.#sent = request;
    this.#noisy_since_ms = 0;
    this.#sent_ms = this.#clock.monotonic_ms();
    this.#port.expect(request);
    const { unit, function_code, address, count } = request;
    const next = (error: NodeJS.ErrnoException | null, answer: Answer): void => this.#answer(error, answer);
    // modbus-serial keeps one transaction on a line: this one takes the place of one that timed out.
    switch (function_code) {
      case 1:
        return this.#client.writeFC1(unit, address, count, next);
      case 2:
        return this.#client.writeFC2(unit, address, count, next);
      case 3:
        return this.#client.writeFC3(unit, address, count, next);
      case 4:
        return this.#client.writeFC4(unit, address, count, next);
    }
  }

  #answer(error: NodeJS.ErrnoException | null, answer: Answer): void {
    const sent = this.#sent;
    const request = this.#request;
    if (sent === null || request === null) return;
    this.#sent = null;
    this.#quiet();
    const quality = qualityOf(error);
    if (quality === CHECKSUM || quality === GARBAGE) return this.#end(quality);
    // Only an answer that no earlier request can have asked for is believed.
    if (!this.#doubt.answered(sent, quality !== GOOD)) return this.#end(TIMEOUT);
    if (sent !== request) {
      this.#request = null;
      this.#events.again();
      return;
    }
    if (quality === GOOD && answer !== undefined) answer.buffer.copy(this.#data, 0);
    this.#end(quality);
  }

  #end(quality: Quality): void {
    this.#request = null;
    this.#events.answered(quality, quality === GOOD ? this.#view : null, 0);
  }

  /** The line has to be silent from now on for as long as ends a frame. */
  #quiet(): void {
    this.#ready_ms = this.#clock.monotonic_ms() + this.#timing.gap_ms;
  }

  /** Bytes unasked: the line is left to them until it is silent, but not for ever. */
  #noise(): void {
    const now_ms = this.#clock.monotonic_ms();
    if (this.#noisy_since_ms === 0) this.#noisy_since_ms = now_ms;
    this.#ready_ms = Math.min(now_ms + this.#timing.gap_ms, this.#noisy_since_ms + NOISE_MS_MAX);
  }

  #lose(error: LinesideError): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#request = null;
    this.#sent = null;
    this.#events.lost(error);
  }
}

function qualityOf(error: (NodeJS.ErrnoException & { modbusCode?: number }) | null): Quality {
  if (error === null) return GOOD;
  if (error.modbusCode !== undefined) return exceptionQuality(error.modbusCode);
  return error.message === "CRC error" ? CHECKSUM : GARBAGE;
}
