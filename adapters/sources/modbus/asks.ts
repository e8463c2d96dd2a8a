/**
 * What a poll asks for, and what is known of the device since it was connected: reads that it refused
 * are parted until the refused points stand alone, and those are left out, but tried again now and then.
 *
 *   planned read (root) ─▶ whole
 *                       └▶ refused ─▶ parts, good ones asked for as they are
 *                                       └▶ single points that are refused: parked ─▶ tried ─▶ good: whole again
 */
import type { ModbusPoint } from "#profiles/schema.ts";
import type { Series } from "../../contract.ts";
import { createFrame, type Frame } from "../../frame.ts";
import type { Quality } from "../../quality.ts";
import { compileDecoder, type Decoder } from "./decode.ts";
import { type Request, requestOf } from "./link.ts";
import { type Limits, planReads, type Read, splitRead } from "./plan.ts";
import type { WordOrder } from "./types.ts";

/** A read, ready to be sent and to be decoded. */
export interface Ask {
  readonly read: Read;
  readonly request: Request;
  readonly decoder: Decoder;
  readonly frame: Frame;
  readonly root: Root;
}

/** What all reads of a device have in common. */
export interface DevicePlan {
  readonly points: readonly ModbusPoint[];
  readonly series: readonly Series[];
  readonly order: WordOrder;
  readonly unit: number;
}

interface Parked {
  readonly ask: Ask;
  readonly quality: Quality;
}

/** A planned read and what became of it. */
interface Root {
  readonly whole: Ask;
  /** In place of `whole`, once the device has refused that. */
  parts: Ask[] | null;
  parked: Parked[];
  /** The parked ask that this poll tries. */
  trial: Ask | null;
  /** Answered at least once since the device was connected: what it refuses now it may give again. */
  wasGood: boolean;
  trials: number;
  /** Polls, or monotonic time, until a parked ask is tried again: whichever comes first. */
  polls: number;
  retry_ms: number;
}

/** A register that was never there is asked for ever more seldom: after 1, 2, 4 ... polls. */
const TRIAL_POLLS_MAX = 64;
/** One that was there before is asked for in each poll, so many times. */
const TRIALS_IN_A_ROW = 32;
const TRIAL_MS_MAX = 600_000;

export class Group {
  readonly #plan: DevicePlan;
  readonly #roots: Root[];
  #refused: { readonly frame: Frame; readonly qualities: Uint16Array } | null = null;

  constructor(plan: DevicePlan, indexes: readonly number[], limits: Limits) {
    this.#plan = plan;
    this.#roots = planReads(plan.points, indexes, limits).map((read) => this.#root(read));
  }

  /** A new connection: nothing is known of the device. */
  forget(): void {
    for (const root of this.#roots) {
      restore(root);
      root.wasGood = false;
      root.trials = 0;
    }
    this.#refused = null;
  }

  /** The asks of one poll, the first one last. */
  begin(now_ms: number): Ask[] {
    const asks: Ask[] = [];
    let changed = false;
    for (let i = this.#roots.length - 1; i >= 0; i -= 1) {
      const root = this.#roots[i];
      if (root === undefined) continue;
      const before = root.trial;
      root.trial = nextTrial(root, now_ms);
      changed ||= root.trial !== before;
      if (root.trial !== null) asks.push(root.trial);
      if (root.parts === null) asks.push(root.whole);
      else for (const part of root.parts.toReversed()) asks.push(part);
    }
    if (changed) this.#changed();
    return asks;
  }

  answered(ask: Ask): void {
    const { root } = ask;
    root.wasGood = true;
    if (root.trial !== ask) return;
    // The device gives again what it refused: from the next poll on it is asked for the whole.
    restore(root);
    this.#changed();
  }

  /** Smaller asks in place of one that was refused, the first one last; none where it cannot be parted. */
  split(ask: Ask): Ask[] {
    const { root } = ask;
    if (root.trial === ask) return [];
    const halves = splitRead(this.#plan.points, ask.read);
    if (halves === null) return [];
    const [first, second] = [this.#ask(halves[0], root), this.#ask(halves[1], root)];
    const parts = root.parts ?? [ask];
    root.parts = parts.flatMap((part) => (part === ask ? [first, second] : [part]));
    return [second, first];
  }

  /** Leaves a refused ask out of the polls to come. */
  park(ask: Ask, quality: Quality, now_ms: number): void {
    const { root } = ask;
    if (root.trial === ask) {
      root.trial = null;
      root.trials += 1;
      // The next trial is another's turn.
      root.parked = [...root.parked.filter((parked) => parked.ask !== ask), { ask, quality }];
    } else {
      root.parts = (root.parts ?? [ask]).filter((part) => part !== ask);
      root.parked.push({ ask, quality });
    }
    const often = root.wasGood && root.trials < TRIALS_IN_A_ROW;
    root.polls = often ? 1 : Math.min(TRIAL_POLLS_MAX, 2 ** Math.min(root.trials, 16));
    root.retry_ms = now_ms + TRIAL_MS_MAX;
    this.#changed();
  }

  /** A timeout ends a poll; the read that caused it goes last in the next one, so that others get their turn. */
  timedOut({ root }: Ask): void {
    const at = this.#roots.indexOf(root);
    if (at < 0 || this.#roots.length < 2) return;
    this.#roots.splice(at, 1);
    this.#roots.push(root);
  }

  /** The parked points that this poll does not try, with the reason of each; null where there are none. */
  refusedFrame(): Frame | null {
    if (this.#refused === null) return null;
    const { frame, qualities } = this.#refused;
    frame.count = qualities.length;
    frame.doubles.fill(0);
    frame.quality.set(qualities);
    frame.texts?.fill(null);
    return frame;
  }

  #changed(): void {
    const rows: number[] = [];
    const qualities: number[] = [];
    for (const { parked, trial } of this.#roots) {
      for (const { ask, quality } of parked) {
        if (ask === trial) continue;
        rows.push(...ask.read.points);
        qualities.push(...ask.read.points.map(() => quality));
      }
    }
    const frame = this.#frame(Uint32Array.from(rows));
    this.#refused = rows.length === 0 ? null : { frame, qualities: Uint16Array.from(qualities) };
  }

  #root(read: Read): Root {
    const root: { -readonly [Key in keyof Root]: Root[Key] } = {
      // Set below: an ask and its root know one another.
      whole: null as unknown as Ask,
      parts: null,
      parked: [],
      trial: null,
      wasGood: false,
      trials: 0,
      polls: 0,
      retry_ms: 0,
    };
    root.whole = this.#ask(read, root);
    return root;
  }

  #ask(read: Read, root: Root): Ask {
    const { points, series, order, unit } = this.#plan;
    const decoder = compileDecoder(read, points, series, order);
    return { read, request: requestOf(unit, read), decoder, frame: this.#frame(decoder.points), root };
  }

  #frame(rows: Uint32Array): Frame {
    const frame = createFrame(rows);
    const { series } = this.#plan;
    if (rows.some((row) => series[row]?.value === "text"))
      frame.texts = Array.from({ length: rows.length }, () => null);
    return frame;
  }
}

function restore(root: Root): void {
  root.parts = null;
  root.parked = [];
  root.trial = null;
  root.polls = 0;
}

function nextTrial(root: Root, now_ms: number): Ask | null {
  const [first] = root.parked;
  if (first === undefined) return null;
  // One that was not reached last time is still due.
  if (root.trial !== null) return root.trial;
  root.polls -= 1;
  return root.polls <= 0 || now_ms >= root.retry_ms ? first.ask : null;
}
