/**
 * What the agent must remember of devices when it is killed: until when it has readings (so that the
 * silence before the next start is a gap with two ends) and the sums of counters (so that a rollover
 * is carried on and a start time stays).
 *
 *   checkpoint (in the journal, when a segment begins or an offset changes) + replay of the records since
 */
import type { Descriptor } from "#adapters/contract.ts";
import { isBad } from "#adapters/quality.ts";
import { decodePayload } from "./batch/reader.ts";
import type { CounterState } from "./process/counters.ts";

interface DeviceMemory {
  /** Time of the newest reading that the journal has, microseconds since 1970. */
  last_us: number;
  counters: Map<string, CounterState>;
}

interface Stored {
  readonly version: 1;
  readonly devices: Readonly<Record<string, { last_us: number; counters: Readonly<Record<string, CounterState>> }>>;
  /** Since when the figures of each target are counted. */
  readonly targets?: Readonly<Record<string, number>>;
}

export class AgentState {
  readonly devices = new Map<string, DeviceMemory>();
  readonly #targets = new Map<string, number>();
  /** Times of what was pushed since the last `seal`: not in the journal yet. */
  readonly #pushed_us = new Map<string, number>();

  /** Reads a checkpoint; one that this version does not understand is as good as none. */
  static decode(checkpoint: Uint8Array | null): AgentState {
    const state = new AgentState();
    if (checkpoint === null) return state;
    const stored = JSON.parse(new TextDecoder().decode(checkpoint)) as Stored;
    if (stored.version !== 1) return state;
    for (const [id, { last_us, counters }] of Object.entries(stored.devices)) {
      state.devices.set(id, { last_us, counters: new Map(Object.entries(counters)) });
    }
    for (const [name, since_us] of Object.entries(stored.targets ?? {})) state.#targets.set(name, since_us);
    return state;
  }

  /** Brings the counters of running devices in here; set by whoever runs them. */
  refresh: () => void = () => undefined;

  encode(): Uint8Array {
    this.refresh();
    const devices = Object.fromEntries(
      [...this.devices].map(([id, { last_us, counters }]) => [id, { last_us, counters: Object.fromEntries(counters) }]),
    );
    const targets = Object.fromEntries(this.#targets);
    return new TextEncoder().encode(JSON.stringify({ version: 1, devices, targets } satisfies Stored));
  }

  /** A reading was handed to the collector. */
  pushed(id: string, time_us: number): void {
    this.#pushed_us.set(id, time_us);
  }

  /** What was pushed so far is in the payloads of the commit that begins now. */
  seal(): void {
    for (const [id, time_us] of this.#pushed_us) this.device(id).last_us = time_us;
    this.#pushed_us.clear();
  }

  /** Forgets a device that was removed: should it come back, its counters start anew. */
  forget(id: string): void {
    this.devices.delete(id);
    this.#pushed_us.delete(id);
  }

  /** Forgets all other devices. */
  keep(ids: readonly string[]): void {
    const kept = new Set(ids);
    for (const id of [...this.devices.keys()]) if (!kept.has(id)) this.forget(id);
  }

  /** True where the target was not known: its figures are counted from now on. */
  meetTarget(name: string, now_us: number): boolean {
    if (this.#targets.has(name)) return false;
    this.#targets.set(name, now_us);
    return true;
  }

  /** Since when a target's figures are counted; 0 for a stranger. */
  targetSince(name: string): number {
    return this.#targets.get(name) ?? 0;
  }

  forgetTarget(name: string): void {
    this.#targets.delete(name);
  }

  device(id: string): DeviceMemory {
    let memory = this.devices.get(id);
    if (memory === undefined) {
      memory = { last_us: 0, counters: new Map() };
      this.devices.set(id, memory);
    }
    return memory;
  }

  /**
   * Takes one payload written after the checkpoint. A changed start or offset always comes with a
   * checkpoint of its own, so only the newest sum has to be learned here.
   */
  replay(payload: Uint8Array, descriptorOf: (id: number) => Descriptor): void {
    for (const { descriptor, frame } of decodePayload(payload, descriptorOf).frames) {
      const memory = this.device(descriptor.device);
      // In the order of the log: the newest counts, not the latest, for the clock may have been set back.
      memory.last_us = frame.time_us;
      if (frame.starts_us === null) continue;
      for (let row = 0; row < frame.count; row++) {
        const series = descriptor.series[frame.points[row] ?? 0];
        if (series?.kind !== "counter" || isBad(frame.quality[row] ?? 0)) continue;
        const known = memory.counters.get(series.name);
        if (known === undefined) continue;
        const last = series.value === "int" ? Number(frame.ints[row] ?? 0n) : (frame.doubles[row] ?? 0);
        memory.counters.set(series.name, { ...known, last });
      }
    }
  }
}
