/**
 * What a poll asks for, and what is known of the device since it was connected: reads that it refused
 * are parted until the refused points stand alone, and those are left out, but tried again now and then.
 *
 *   planned read (root) ─▶ whole
 *                       └▶ refused ─▶ parts, good ones asked for as they are
 *                                       ├▶ single points that are refused: parked ─▶ tried ─▶ good: whole again
 *                                       └▶ nothing but those: the whole is tried in each poll
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
  /** Answered since the device was connected, by itself or within a larger ask. */
  isProven: boolean;
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
  quality: Quality;
  trials: number;
  /** Polls, or monotonic time, until it is tried again: whichever comes first. */
  polls: number;
  retry_ms: number;
}

/** A planned read and what became of it. */
interface Root {
  readonly whole: Ask;
  /** In place of `whole`, once the device has refused that. */
  parts: Ask[] | null;
  parked: Parked[];
  /** What this poll tries again: a parked ask, or the whole. */
  trial: Ask | null;
  /** How often the whole was tried while nothing of it was given. */
  trials: number;
}

/** A register that was never there is asked for ever more seldom: after 1, 2, 4 ... polls. */
const TRIAL_POLLS_MAX = 64;
/** One that was there before is asked for in each poll, so many times. */
const TRIALS_IN_A_ROW = 32;
const TRIAL_MS_MAX = 600_000;
/** Where nothing of a read is given, its parts are looked at again after so many polls, then twice as many ... */
const PARTING_POLLS_MIN = 4;

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
      root.whole.isProven = false;
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

  /** An ask for each planned read, of which none is to be sent. */
  get wholes(): Ask[] {
    return this.#roots.map(({ whole }) => whole);
  }

  answered(ask: Ask): void {
    const { root } = ask;
    ask.isProven = true;
    if (root.trial !== ask) return;
    // The device gives again what it refused: from the next poll on all of it is asked for at once.
    restore(root);
    this.#changed();
  }

  /** Smaller asks in place of one that was refused, the first one last; none where it cannot be parted. */
  split(ask: Ask): Ask[] {
    const { root } = ask;
    if (root.trial === ask && !(ask === root.whole && isPartedAgain(root))) return [];
    const halves = splitRead(this.#plan.points, ask.read);
    if (halves === null) return [];
    const [first, second] = [this.#ask(halves[0], root), this.#ask(halves[1], root)];
    first.isProven = second.isProven = ask.isProven;
    const parts = root.parts ?? [ask];
    root.parts = parts.flatMap((part) => (part === ask ? [first, second] : [part]));
    return [second, first];
  }

  /** Leaves a refused ask out of the polls to come. */
  park(ask: Ask, quality: Quality, now_ms: number): void {
    const { root } = ask;
    const isTrial = root.trial === ask;
    if (isTrial) root.trial = null;
    if (isTrial && ask === root.whole) for (const parked of root.parked) parked.quality = quality;
    else {
      const known = root.parked.find((parked) => parked.ask === ask);
      const trials = known === undefined ? 0 : known.trials + 1;
      const isOften = ask.isProven && trials < TRIALS_IN_A_ROW;
      const polls = isOften ? 1 : Math.min(TRIAL_POLLS_MAX, 2 ** Math.min(trials, 16));
      root.parts = (root.parts ?? [ask]).filter((part) => part !== ask);
      // At the end: the next trial is another's turn.
      const others = root.parked.filter((parked) => parked !== known);
      root.parked = [...others, { ask, quality, trials, polls, retry_ms: now_ms + TRIAL_MS_MAX }];
    }
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
    for (const { parked, trial, whole } of this.#roots) {
      if (trial === whole) continue;
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
      trials: 0,
    };
    root.whole = this.#ask(read, root);
    return root;
  }

  #ask(read: Read, root: Root): Ask {
    const { points, series, order, unit } = this.#plan;
    const decoder = compileDecoder(read, points, series, order);
    const request = requestOf(unit, read);
    return { read, request, decoder, frame: this.#frame(decoder.points), root, isProven: false };
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
  root.trials = 0;
}

function nextTrial(root: Root, now_ms: number): Ask | null {
  // One that was not reached last time is still due.
  if (root.trial !== null) return root.trial;
  // A device that gives none of it is not talking of a register: it may be starting up.
  if (root.parts?.length === 0) return root.whole;
  for (const parked of root.parked) parked.polls -= 1;
  return root.parked.find(({ polls, retry_ms }) => polls <= 0 || now_ms >= retry_ms)?.ask ?? null;
}

/** Now and then a whole that goes on being refused is parted again: some of it may be there by now. */
function isPartedAgain(root: Root): boolean {
  root.trials += 1;
  const { trials } = root;
  const isDue = (trials >= PARTING_POLLS_MIN && (trials & (trials - 1)) === 0) || trials % TRIAL_POLLS_MAX === 0;
  if (!isDue) return false;
  restore(root);
  root.trials = trials;
  return true;
}
