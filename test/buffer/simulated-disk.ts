/**
 * A disk in memory that does what the worst of disks do, by seed: crashes at any operation and forgets what was
 * not synced, refuses writes (with or without having kept them), fills up, undoes unsynced removals, and damages
 * what it holds. Time passes in microtasks, so that a seed replays to the last step.
 */
import { decodeKey } from "#buffer/layout.ts";
import { type Pair, type Scan, type SegmentStore, type Store, StoreError } from "#buffer/store.ts";

/** mulberry32: small, fast, and good enough to choose with. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  /** A whole number from 0 up to, not including, `below`. */
  below(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below);
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
  pick<Item>(items: readonly Item[]): Item | undefined {
    return items[this.below(items.length)];
  }
}

interface Image {
  pairs: Map<number, Pair>;
  /** Written and synced at least once; else a crash may take the whole segment. */
  synced: boolean;
  /** It was opened since it was written: LevelDB's conversion is behind it. */
  converted: boolean;
  /** It does not open. `repairable`: a repair brings back what is not lost. */
  broken: "no" | "repairable" | "hopeless";
}

const BLOCK_BYTES = 4096;
/** No schedule of ours takes so many: more of them is a loop. */
const OPERATIONS_MAX = 200_000;
const OVERHEAD_BYTES = 6 * BLOCK_BYTES;

export interface Faults {
  /** Percent of writes that fail having kept nothing, and that fail having kept all. */
  write_lost: number;
  write_kept: number;
}

export class SimulatedDisk implements Store {
  readonly random: Random;
  readonly faults: Faults = { write_lost: 0, write_kept: 0 };
  capacity_bytes = Number.POSITIVE_INFINITY;
  peak_bytes = 0;
  operations = 0;
  /** Called with what has become durable by a write that said so, or by a crash that kept it. */
  onDurable: (pairs: readonly Pair[]) => void = () => undefined;
  /** Operations until the power goes; null: it stays. */
  crash_in: number | null = null;
  crashed: Promise<void>;
  #crash: () => void = () => undefined;
  #images = new Map<string, Image>();
  #removed = new Map<string, Image>();
  #marks: Uint8Array[] = [];
  #mark_synced: Uint8Array[] = [];
  #reserve_bytes = 0;
  #life = 0;
  #down = false;

  constructor(seed: number) {
    this.random = new Random(seed);
    this.crashed = new Promise((resolve) => (this.#crash = resolve));
  }

  /** After a crash: what is found when the power comes back. */
  restart(): void {
    this.#life += 1;
    this.#down = false;
    this.crash_in = null;
    this.crashed = new Promise((resolve) => (this.#crash = resolve));
    for (const [name, image] of this.#images) if (!image.synced && this.random.chance(50)) this.#images.delete(name);
    for (const [name, image] of this.#removed) if (this.random.chance(50)) this.#images.set(name, image);
    this.#removed.clear();
    for (const image of this.#images.values()) image.converted = false;
    if (this.random.chance(50)) this.#marks = this.#mark_synced;
  }

  /** Time passes; the power may go. An operation of a machine without power never ends. */
  async #operate(): Promise<void> {
    const life = this.#life;
    if (++this.operations > OPERATIONS_MAX) throw new Error("the schedule does not end");
    for (let ticks = this.random.below(4); ticks > 0; ticks--) await Promise.resolve();
    if (this.crash_in !== null && !this.#down && --this.crash_in <= 0) this.#fall();
    if (this.#down || life !== this.#life) await new Promise(() => undefined);
    this.peak_bytes = Math.max(this.peak_bytes, this.used_bytes());
  }

  #fall(): void {
    this.#down = true;
    this.#crash();
  }

  used_bytes(): number {
    let total = this.#reserve_bytes;
    for (const image of this.#images.values()) total += this.#bytesOf(image);
    return total;
  }

  #bytesOf(image: Image): number {
    let total = 0;
    for (const [key, value] of image.pairs.values()) total += key.length + value.length + 16;
    return OVERHEAD_BYTES + Math.ceil(total / BLOCK_BYTES) * BLOCK_BYTES;
  }

  /** Whether so much more fits. */
  #take(bytes: number): void {
    if (this.used_bytes() + bytes > this.capacity_bytes) throw new StoreError("io", "No space left on device");
  }

  names(): string[] {
    return [...this.#images.keys()].toSorted();
  }

  /** Those that a crash leaves as they are. */
  syncedNames(): string[] {
    return this.names().filter((name) => this.#images.get(name)?.synced === true);
  }

  pairsOf(name: string): ReadonlyMap<number, Pair> {
    return this.#images.get(name)?.pairs ?? new Map();
  }

  /** Flips a bit of the value, or loses the pair altogether. */
  spoil(name: string, seq: number): void {
    const image = this.#images.get(name);
    const pair = image?.pairs.get(seq);
    if (image === undefined || pair === undefined) return;
    if (this.random.chance(50)) {
      image.pairs.delete(seq);
      return;
    }
    const value = Uint8Array.from(pair[1]);
    const at = this.random.below(value.length);
    value[at] = (value[at] ?? 0) ^ (1 << this.random.below(8));
    image.pairs.set(seq, [pair[0], value]);
  }

  spoilSegment(name: string): void {
    const image = this.#images.get(name);
    if (image !== undefined) image.broken = this.random.chance(50) ? "repairable" : "hopeless";
  }

  async open(): Promise<void> {
    await this.#operate();
  }

  async close(): Promise<void> {
    this.#mark_synced = this.#marks;
    await this.#operate();
  }

  async list(): Promise<readonly string[]> {
    await this.#operate();
    return [...this.#images.keys()];
  }

  async openSegment(name: string, { create }: { readonly create: boolean }): Promise<SegmentStore> {
    await this.#operate();
    let image = this.#images.get(name);
    if (image === undefined) {
      if (!create) throw new StoreError("damaged", `${name} does not exist`);
      this.#take(OVERHEAD_BYTES);
      image = { pairs: new Map(), synced: false, converted: true, broken: "no" };
      this.#images.set(name, image);
    }
    if (image.broken !== "no") throw new StoreError("damaged", `${name} is broken`);
    if (!image.converted) this.#take(this.#bytesOf(image));
    image.converted = true;
    return this.#handle(image);
  }

  #handle(image: Image): SegmentStore {
    const life = this.#life;
    let closed = false;
    let sticky = false;
    const check = (): void => {
      if (closed) throw new StoreError("closed", "closed");
    };
    return {
      write: async (pairs) => {
        const keep = (): void => {
          for (const pair of pairs) image.pairs.set(decodeKey(pair[0]) ?? 0, pair);
          image.synced = true;
          // A synced write orders what came before it, on a journaling file system.
          this.#removed.clear();
        };
        // The power may go right at the write: all of it is there, or nothing.
        if (life === this.#life && this.crash_in === 1 && !this.#down && this.random.chance(50)) {
          keep();
          this.onDurable(pairs);
        }
        await this.#operate();
        check();
        if (sticky) throw new StoreError("io", "a write failed before");
        try {
          this.#take(pairs.reduce((sum, [key, value]) => sum + key.length + value.length + 16, 0));
        } catch (error) {
          sticky = true;
          throw error;
        }
        const lost = this.random.chance(this.faults.write_lost);
        const kept = this.random.chance(this.faults.write_kept);
        if (!lost) keep();
        if (lost || kept) {
          sticky = true;
          throw new StoreError("io", "Input/output error");
        }
        this.onDurable(pairs);
      },
      get: async (key) => {
        await this.#operate();
        check();
        return image.pairs.get(decodeKey(key) ?? 0)?.[1];
      },
      scan: (after, to): Scan => {
        const low = decodeKey(after) ?? 0;
        const high = decodeKey(to) ?? 0;
        // As it stood when the scan was made.
        const found = [...image.pairs].filter(([seq]) => seq > low && seq <= high).toSorted((a, b) => a[0] - b[0]);
        let at = 0;
        return {
          next: async () => {
            await this.#operate();
            check();
            const pairs = found.slice(at, at + 1 + this.random.below(4)).map(([, pair]) => pair);
            at += pairs.length;
            return pairs;
          },
          close: async () => undefined,
        };
      },
      close: async () => {
        await this.#operate();
        closed = true;
      },
    };
  }

  async repairSegment(name: string): Promise<void> {
    await this.#operate();
    const image = this.#images.get(name);
    if (image === undefined || image.broken === "hopeless") throw new StoreError("damaged", `${name} is hopeless`);
    image.broken = "no";
  }

  async quarantineSegment(name: string): Promise<void> {
    await this.#operate();
    this.#images.delete(name);
  }

  async removeSegment(name: string): Promise<void> {
    await this.#operate();
    const image = this.#images.get(name);
    if (image !== undefined) this.#removed.set(name, image);
    this.#images.delete(name);
  }

  async segmentBytes(name: string): Promise<number> {
    await this.#operate();
    const image = this.#images.get(name);
    return image === undefined ? 0 : this.#bytesOf(image);
  }

  async otherBytes(): Promise<number> {
    await this.#operate();
    return this.#reserve_bytes;
  }

  async freeBytes(): Promise<number> {
    await this.#operate();
    return this.capacity_bytes - this.used_bytes();
  }

  async reserve(bytes: number): Promise<void> {
    await this.#operate();
    if (bytes > this.#reserve_bytes) this.#take(bytes - this.#reserve_bytes);
    this.#reserve_bytes = bytes;
  }

  async readMarks(): Promise<readonly Uint8Array[]> {
    await this.#operate();
    return this.#marks;
  }

  writeMark(mark: Uint8Array): void {
    this.#marks = [this.#marks.at(-1) ?? mark, mark];
    if (this.random.chance(20)) this.#mark_synced = this.#marks;
  }
}
