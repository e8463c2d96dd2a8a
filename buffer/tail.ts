/** The newest records, in memory: a cursor at the end of the log never asks LevelDB. */
import type { JournalRecord } from "./contract.ts";

export interface TailRecord {
  readonly record: JournalRecord;
  /** Weight of the log up to and including it. */
  readonly weight_after: number;
}

/** What a record costs besides its payload. */
const OVERHEAD_BYTES = 200;

export class Tail {
  readonly #bytes_max: number;
  #records: TailRecord[] = [];
  #start = 0;
  #bytes = 0;
  /** Every record after this position is here. */
  after_seq: number;

  constructor(bytes_max: number, head_seq: number) {
    this.#bytes_max = bytes_max;
    this.after_seq = head_seq;
  }

  push(added: readonly TailRecord[]): void {
    for (const item of added) {
      this.#records.push(item);
      this.#bytes += item.record.payload.length + OVERHEAD_BYTES;
    }
    while (this.#bytes > this.#bytes_max) {
      const oldest = this.#records[this.#start];
      if (oldest === undefined) break;
      this.#start += 1;
      this.#bytes -= oldest.record.payload.length + OVERHEAD_BYTES;
      this.after_seq = oldest.record.seq;
    }
    // Moves the array together once half of it is spent: constant work a record.
    if (this.#start > 32 && this.#start * 2 > this.#records.length) {
      this.#records = this.#records.slice(this.#start);
      this.#start = 0;
    }
  }

  /** Records after `seq`, oldest first; `seq` is not before `after_seq`. */
  *after(seq: number): Generator<TailRecord> {
    let low = this.#start;
    let high = this.#records.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#records[middle]?.record.seq ?? 0) <= seq) low = middle + 1;
      else high = middle;
    }
    for (; low < this.#records.length; low++) {
      const item = this.#records[low];
      if (item !== undefined) yield item;
    }
  }
}
