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
  readonly counters: Map<string, CounterState>;
}

interface Stored {
  readonly version: 1;
  readonly devices: Readonly<Record<string, { last_us: number; counters: Readonly<Record<string, CounterState>> }>>;
}

export class AgentState {
  readonly devices = new Map<string, DeviceMemory>();
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
    return state;
  }

  /** Brings the counters of running devices in here; set by whoever runs them. */
  refresh: () => void = () => undefined;

  encode(): Uint8Array {
    this.refresh();
    const devices = Object.fromEntries(
      [...this.devices].map(([id, { last_us, counters }]) => [id, { last_us, counters: Object.fromEntries(counters) }]),
    );
    return new TextEncoder().encode(JSON.stringify({ version: 1, devices } satisfies Stored));
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
      memory.last_us = Math.max(memory.last_us, frame.time_us);
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
