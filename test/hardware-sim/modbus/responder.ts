/**
 * When answers go out. A unit on a line answers in the order in which it was asked, so a late answer
 * holds up those behind it; over Modbus TCP, where answers carry ids, a later one may overtake.
 */
import type { RequestFrame } from "./frames.ts";
import type { SimulatedUnit } from "./unit.ts";

/** A gateway says so of a unit that it cannot reach. */
const GATEWAY_TARGET_FAILED = 0x0b;

export class Responder {
  readonly #units: ReadonlyMap<number, SimulatedUnit>;
  readonly #framing: "tcp" | "rtu";
  readonly #timers = new Set<NodeJS.Timeout>();
  /** RTU: what each unit still has to say, and until when that lasts. */
  readonly #late = new Map<number, { readonly answers: Uint8Array[]; until_ms: number }>();

  constructor(units: ReadonlyMap<number, SimulatedUnit>, framing: "tcp" | "rtu") {
    this.#units = units;
    this.#framing = framing;
  }

  /** Answers each request when it is due. */
  take(requests: readonly RequestFrame[], write: (bytes: Uint8Array) => void): void {
    const ready: Uint8Array[] = [];
    for (const { unit: id, pdu, frame } of requests) {
      const unit = this.#units.get(id);
      if (unit === undefined) {
        const refusal = Uint8Array.from([(pdu[0] ?? 0) | 0x80, GATEWAY_TARGET_FAILED]);
        // On a line nobody answers for another.
        if (this.#framing === "tcp") ready.push(frame(id, refusal));
        continue;
      }
      const answer = unit.answer(pdu);
      if (answer === null) continue;
      const one = answer.isGarbage ? answer.pdu : frame(answer.unit, answer.pdu);
      const bytes = answer.copies === 1 ? one : Buffer.concat([one, one]);
      if (this.#framing === "rtu") this.#inTurn(id, bytes, answer.delay_ms, ready, write);
      else if (answer.delay_ms > 0) this.#after(answer.delay_ms, () => write(bytes));
      else ready.push(bytes);
    }
    if (ready.length > 0) write(Buffer.concat(ready));
  }

  /** Drops what has not gone out. */
  forget(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#late.clear();
  }

  #inTurn(
    id: number,
    bytes: Uint8Array,
    delay_ms: number,
    ready: Uint8Array[],
    write: (bytes: Uint8Array) => void,
  ): void {
    const late = this.#late.get(id) ?? { answers: [], until_ms: 0 };
    if (late.answers.length === 0 && delay_ms === 0) {
      ready.push(bytes);
      return;
    }
    this.#late.set(id, late);
    const now_ms = performance.now();
    const first_ms = late.answers.length === 0 ? now_ms : late.until_ms;
    late.until_ms = Math.max(first_ms, now_ms + delay_ms);
    late.answers.push(bytes);
    this.#after(late.until_ms - now_ms, () => {
      const next = late.answers.shift();
      if (next !== undefined) write(next);
    });
  }

  #after(delay_ms: number, run: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, delay_ms);
    this.#timers.add(timer);
  }
}
