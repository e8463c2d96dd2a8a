/**
 * What a unit on an RTU line may still answer. RTU answers carry no id and no address: the answer to
 * a read that timed out looks like the answer to any later read of the same function and length, and
 * once taken for it, all that follow are off by one, silently, for ever.
 *
 *   timeout ─▶ in doubt ─▶ a request that differs from all unanswered ones ─▶ its answer ─▶ certain again
 *                  │             (the wanted one, or a probe before it)
 *                  └ nothing differs, or an exception that an earlier request may have caused
 *                                └▶ hold: the unit is left alone until nothing late can come
 *
 * A unit answers in the order in which it was asked, so an answer that only the newest request can
 * have caused says that all older ones are answered or never will be. Other units go on meanwhile.
 */
import type { Clock } from "../../contract.ts";
import { type Request, requestOf } from "./link.ts";
import { isBitArea } from "./types.ts";
import type { Area } from "./types.ts";

interface Unanswered {
  readonly function_code: number;
  readonly data_bytes: number;
  readonly at_ms: number;
}

interface InDoubt {
  readonly unanswered: Unanswered[];
  /** The longest wait that ended without an answer. */
  waited_ms: number;
  hold_until_ms: number;
}

/** An answer later than so many waits, and than so many milliseconds, is not to be expected any more. */
const WAITS_MAX = 8;
const LATE_MS_MIN = 10_000;
/** Holding lasts so many waits. */
const HOLD_WAITS = 2;

const AREA_OF: Readonly<Record<number, Area>> = { 1: "coil", 2: "discrete", 3: "holding", 4: "input" };
/** The function that reads the other kind of register or bit. Both only read. */
const OTHER: Readonly<Record<number, 1 | 2 | 3 | 4>> = { 1: 2, 2: 1, 3: 4, 4: 3 };

export class Doubt {
  readonly #clock: Clock;
  readonly #units = new Map<number, InDoubt>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `sent` got no answer within `waited_ms`. */
  unanswered(sent: Request, waited_ms: number): void {
    let unit = this.#units.get(sent.unit);
    if (unit === undefined) this.#units.set(sent.unit, (unit = { unanswered: [], waited_ms: 0, hold_until_ms: 0 }));
    const { function_code, data_bytes } = sent;
    unit.unanswered.push({ function_code, data_bytes, at_ms: this.#clock.monotonic_ms() });
    unit.waited_ms = Math.max(unit.waited_ms, waited_ms);
  }

  /** What to send before `wanted`; null where that may be sent itself. */
  probeFor(wanted: Request): Request | null {
    const unit = this.#inDoubt(wanted.unit);
    if (unit === null || !isIn(unit, wanted)) return null;
    for (let count = wanted.count; count > 0; count -= 1) {
      for (const function_code of [OTHER[wanted.function_code] ?? 3, wanted.function_code]) {
        const area = AREA_OF[function_code] ?? "holding";
        const data_bytes = isBitArea(area) ? Math.ceil(count / 8) : count * 2;
        if (isIn(unit, { function_code, data_bytes })) continue;
        return requestOf(wanted.unit, { area, function_code, address: wanted.address, count });
      }
    }
    return null;
  }

  /** Whether the answer can only be that to `sent`; where it cannot, the unit is held. */
  answered(sent: Request, isException: boolean): boolean {
    const unit = this.#inDoubt(sent.unit);
    if (unit === null) return true;
    const isAmbiguous = isException
      ? unit.unanswered.some(({ function_code }) => function_code === sent.function_code)
      : isIn(unit, sent);
    if (isAmbiguous) unit.hold_until_ms = this.#clock.monotonic_ms() + unit.waited_ms * HOLD_WAITS;
    else this.#units.delete(sent.unit);
    return !isAmbiguous;
  }

  /** Monotonic time before which the unit is not asked. */
  holdUntil_ms(unit: number): number {
    return this.#units.get(unit)?.hold_until_ms ?? 0;
  }

  /** Null where there is none, or none any more. */
  #inDoubt(id: number): InDoubt | null {
    const unit = this.#units.get(id);
    if (unit === undefined) return null;
    const now_ms = this.#clock.monotonic_ms();
    const late_ms = Math.max(LATE_MS_MIN, unit.waited_ms * WAITS_MAX);
    const kept = unit.unanswered.findIndex(({ at_ms }) => now_ms - at_ms < late_ms);
    const isHeldLongEnough = unit.hold_until_ms > 0 && now_ms >= unit.hold_until_ms;
    if (kept < 0 || isHeldLongEnough) {
      this.#units.delete(id);
      return null;
    }
    unit.unanswered.splice(0, kept);
    return unit;
  }
}

const isIn = (unit: InDoubt, sent: { readonly function_code: number; readonly data_bytes: number }): boolean =>
  unit.unanswered.some(
    ({ function_code, data_bytes }) => function_code === sent.function_code && data_bytes === sent.data_bytes,
  );
