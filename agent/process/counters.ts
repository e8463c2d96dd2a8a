/**
 * Counters between device and journal: OTLP wants a sum that only goes up since a start time.
 *
 *   device       65000  65400    120    300      5
 *                           rollover            reset
 *   sum          65000  65400  65656  65836      5
 *   start        t0     t0     t0     t0        t4
 *
 * A step back is a rollover where the point declares one and both sides are near the edge; then the
 * sum is carried on. Any other step back (power loss, preset, new meter) is a reset: a new start time.
 * The first sum after the agent's first sight of a counter starts at that reading's time, for nobody
 * knows when the device began to count (OTLP data model, 'Cumulative streams: inserting unknown starts').
 */
import type { Device } from "#adapters/contract.ts";
import type { Frame } from "#adapters/frame.ts";
import { isBad } from "#adapters/quality.ts";

/** What of a counter must survive a restart. `last` is the sum, `offset` what was added to the device's value. */
export interface CounterState {
  readonly start_us: number;
  readonly last: number;
  readonly offset: number;
}

/** A rollover leaves the last tenth of the range and arrives in the first. */
const EDGE = 0.1;

export class Counters {
  /** Per point: is it a counter, does it go up only, and the device value at which it starts again (0: never). */
  readonly #counter: Uint8Array;
  readonly #int: Uint8Array;
  readonly #modulus: Float64Array;
  /** The modulus is that of the raw value and its decade is only known at run time (SunSpec scale factors). */
  readonly #decade: Uint8Array;
  readonly #names: readonly string[];
  readonly #start_us: Float64Array;
  readonly #last: Float64Array;
  readonly #offset: Float64Array;
  readonly any: boolean;

  readonly #changed: () => void;

  /** `changed` is called when a start or an offset changes: what a replay of the journal cannot learn. */
  constructor(device: Device, known: ReadonlyMap<string, CounterState>, changed: () => void) {
    this.#changed = changed;
    const { series } = device.descriptor;
    const points: readonly { scale: number; offset: number; rollover?: number | string | undefined }[] = device.points;
    const count = series.length;
    this.#counter = new Uint8Array(count);
    this.#int = new Uint8Array(count);
    this.#modulus = new Float64Array(count);
    this.#decade = new Uint8Array(count);
    this.#names = series.map((one) => one.name);
    this.#start_us = new Float64Array(count);
    this.#last = new Float64Array(count);
    this.#offset = new Float64Array(count);
    let any = false;
    for (const [index, one] of series.entries()) {
      const point = points[index];
      if (one.kind !== "counter" || point === undefined) continue;
      any = true;
      this.#counter[index] = one.monotonic ? 2 : 1;
      this.#int[index] = one.value === "int" ? 1 : 0;
      this.#modulus[index] = rolloverOf(point.rollover) * Math.abs(point.scale);
      this.#decade[index] = "scale_register" in point && point.scale_register !== undefined ? 1 : 0;
      const state = known.get(one.name);
      if (state !== undefined) {
        this.#start_us[index] = state.start_us;
        this.#last[index] = state.last;
        this.#offset[index] = state.offset;
      }
    }
    this.any = any;
  }

  /** Turns the counters of a frame into sums, in place, and gives the frame its start column. */
  apply(frame: Frame): void {
    frame.starts_us = null;
    if (!this.any) return;
    for (let row = 0; row < frame.count; row++) {
      const point = frame.points[row] ?? 0;
      const kind = this.#counter[point] ?? 0;
      if (kind === 0) continue;
      frame.starts_us ??= this.#column(frame.points.length);
      const time_us = frame.times_us?.[row] || frame.time_us;
      if (isBad(frame.quality[row] ?? 0)) {
        frame.starts_us[row] = Math.min(this.#start_us[point] || time_us, time_us);
        continue;
      }
      frame.starts_us[row] = this.#sum(frame, row, point, kind === 2, time_us);
    }
  }

  /** State of every counter that has been read, for the checkpoint. */
  *states(): Iterable<[name: string, state: CounterState]> {
    for (const [point, name] of this.#names.entries()) {
      const start_us = this.#start_us[point] ?? 0;
      if (start_us === 0) continue;
      yield [name, { start_us, last: this.#last[point] ?? 0, offset: this.#offset[point] ?? 0 }];
    }
  }

  #scratch = new Float64Array(0);
  /** A start column that lives as long as the frame is lent. */
  #column(rows: number): Float64Array {
    if (this.#scratch.length < rows) this.#scratch = new Float64Array(rows);
    this.#scratch.fill(0, 0, rows);
    return this.#scratch;
  }

  #sum(frame: Frame, row: number, point: number, monotonic: boolean, time_us: number): number {
    const int = this.#int[point] === 1;
    const raw = int ? Number(frame.ints[row] ?? 0n) : (frame.doubles[row] ?? 0);
    const known_us = this.#start_us[point] ?? 0;
    const last = this.#last[point] ?? 0;
    let offset = this.#offset[point] ?? 0;
    if (known_us !== 0 && time_us < known_us) {
      // The clock was set back behind it: no sum may start after its own time.
      this.#start_us[point] = time_us;
      this.#changed();
    }
    if (known_us === 0) {
      this.#start_us[point] = time_us;
      this.#changed();
    } else if (monotonic && raw + offset < last) {
      const modulus = this.#modulusAt(point, last - offset);
      const rolled = modulus > 0 && last - offset >= (1 - EDGE) * modulus && raw <= EDGE * modulus;
      if (rolled) {
        offset += modulus;
      } else {
        offset = 0;
        this.#start_us[point] = time_us;
      }
      this.#offset[point] = offset;
      this.#changed();
    }
    if (offset !== 0) {
      if (int) frame.ints[row] = (frame.ints[row] ?? 0n) + BigInt(Math.round(offset));
      else frame.doubles[row] = raw + offset;
    }
    this.#last[point] = raw + offset;
    return this.#start_us[point] ?? time_us;
  }

  /**
   * A counter whose scale is a register rolls over at modulus * 10^n. The value before the step is in
   * the last tenth of its range, so exactly one n fits.
   */
  #modulusAt(point: number, before: number): number {
    const modulus = this.#modulus[point] ?? 0;
    if (modulus === 0 || this.#decade[point] === 0 || before <= 0) return modulus;
    return modulus * 10 ** Math.ceil(Math.log10(before / modulus));
  }
}

/** `2^32`, `10^6` or a number; 0 for none. */
export function rolloverOf(text: number | string | undefined): number {
  if (text === undefined) return 0;
  if (typeof text === "number") return text;
  const [base = "0", exponent = "0"] = text.split("^");
  return Number(base) ** Number(exponent);
}
