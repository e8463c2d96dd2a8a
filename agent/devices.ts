/**
 * The devices of the site that run: each with its runner and pipeline, and the sources that they share.
 * What cannot even be opened spoils only itself.
 */
import { type Clock, type Descriptor, type Event, LinesideError, type Source } from "#adapters/contract.ts";
import type { Frame } from "#adapters/frame.ts";
import { sources } from "#adapters/registry.ts";
import type { Logger } from "pino";
import { DeviceRunner, type DeviceStatus } from "./device.ts";
import { ended } from "./ended.ts";
import { gapEvent, missed } from "./gap.ts";
import { messageOf } from "./message.ts";
import { Pipeline } from "./process/pipeline.ts";
import type { Schedule } from "./schedule.ts";
import type { SiteDevice, SourceName } from "./site/contract.ts";
import type { AgentState } from "./state.ts";
import type { Changed, DeviceReadings } from "./status.ts";

/** What devices shared (a bus, a certificate store) is left behind if it does not close in so long. */
const CLOSE_MS_MAX = 5_000;

export interface DevicesContext {
  readonly clock: Clock;
  readonly log: Logger;
  readonly data_dir: string;
  readonly schedule: Schedule;
  readonly state: AgentState;
  readonly push: (descriptor: Descriptor, frame: Frame) => void;
  readonly event: (event: Event) => void;
  /** A counter's start or offset changed. */
  readonly renewCheckpoint: () => void;
}

interface Running {
  readonly runner: DeviceRunner;
  readonly pipeline: Pipeline;
}

export class Devices {
  readonly #context: DevicesContext;
  readonly #sources = new Map<SourceName, Source<never, never>>();
  readonly #running = new Map<string, Running>();
  readonly #unopened = new Map<string, { device: SiteDevice; reason: string; since_us: number }>();

  constructor(context: DevicesContext) {
    this.#context = context;
  }

  async start(devices: readonly SiteDevice[]): Promise<void> {
    this.#tellSilence(devices);
    this.#context.state.keep(devices.map(({ id }) => id));
    for (const device of devices) await this.#start(device);
  }

  /** Brings them to a new site file: what did not change is not touched. */
  async apply(devices: readonly SiteDevice[], changed: Changed): Promise<void> {
    const wanted = new Map(devices.map((device) => [device.id, device]));
    // What could not be opened is tried again: the mistake may be mended.
    this.#unopened.clear();
    for (const [id, { runner }] of [...this.#running]) {
      const next = wanted.get(id);
      if (next?.fingerprint === runner.device.fingerprint) continue;
      await this.#stop(id);
      if (next === undefined) {
        this.#context.state.forget(id);
        changed.stopped.push(id);
        continue;
      }
      await this.#start(next);
      changed.replaced.push(id);
    }
    for (const device of devices) {
      if (this.#running.has(device.id) || this.#unopened.has(device.id)) continue;
      await this.#start(device);
      changed.started.push(device.id);
    }
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#running.keys()].map(async (id) => await this.#stop(id)));
    for (const [name, source] of this.#sources) await ended(this.#context, name, CLOSE_MS_MAX, source.close());
  }

  status(): DeviceStatus[] {
    return [
      ...[...this.#running.values()].map(({ runner }) => runner.status()),
      ...[...this.#unopened.values()].map(({ device, reason, since_us }) => neverOpened(device, reason, since_us)),
    ];
  }

  /** The newest readings of one device; null where there is no such device. */
  readings(id: string): DeviceReadings | null {
    const pipeline = this.#running.get(id)?.pipeline;
    return pipeline === undefined ? null : { device: id, readings: pipeline.latest.read(pipeline.descriptor) };
  }

  /** Brings the sums of running counters into the state that survives a restart. */
  rememberCounters(): void {
    for (const id of this.#running.keys()) this.#rememberCounters(id);
  }

  /** A device that cannot even be opened spoils only itself: it is down until the site file changes. */
  async #start(device: SiteDevice): Promise<void> {
    const { log, clock } = this.#context;
    try {
      await this.#open(device);
    } catch (error) {
      // Also what is no LinesideError: a library of one protocol that does not load on this machine.
      const expected = error instanceof LinesideError;
      const code = expected ? error.code : "open_failed";
      log.error(
        { device: device.id, code, ...(expected ? {} : { err: error }) },
        `${device.id} is not read: ${messageOf(error)}`,
      );
      this.#unopened.set(device.id, { device, reason: code, since_us: clock.now_us() });
    }
  }

  async #open(device: SiteDevice): Promise<void> {
    const { clock, log, schedule, state, push, event, renewCheckpoint } = this.#context;
    const source = await this.#source(device.protocol);
    const { counters } = state.device(device.id);
    const pipeline = new Pipeline(device, counters, { push, counterChanged: renewCheckpoint });
    const runner = new DeviceRunner(device, source, { clock, log, schedule, pipeline, event });
    this.#running.set(device.id, { runner, pipeline });
    runner.start();
  }

  async #stop(id: string): Promise<void> {
    const running = this.#running.get(id);
    if (running === undefined) return;
    await running.runner.stop();
    this.#rememberCounters(id);
    this.#running.delete(id);
  }

  #rememberCounters(id: string): void {
    const counters = this.#running.get(id)?.pipeline.counters;
    if (counters === undefined) return;
    this.#context.state.device(id).counters = new Map(counters.states());
  }

  async #source(name: SourceName): Promise<Source<never, never>> {
    let source = this.#sources.get(name);
    if (source === undefined) {
      const { clock, log, data_dir } = this.#context;
      const { createSource } = await sources[name].load();
      source = createSource({ clock, log, data_dir });
      this.#sources.set(name, source);
    }
    return source;
  }

  /** The time in which the agent did not run is a gap of every device that it knew before. */
  #tellSilence(devices: readonly SiteDevice[]): void {
    const now_us = this.#context.clock.now_us();
    for (const { id, descriptor, points } of devices) {
      const from_us = this.#context.state.devices.get(id)?.last_us ?? 0;
      if (from_us === 0) continue;
      const readings = missed(points, (now_us - from_us) / 1000);
      const gap = {
        descriptor,
        points: [],
        from_us,
        to_us: now_us,
        reason: "agent_stopped",
        readings,
        estimated: true,
      };
      this.#context.event(gapEvent(gap, now_us));
    }
  }
}

function neverOpened(device: SiteDevice, reason: string, since_us: number): DeviceStatus {
  const none = { readings: 0, uncertain: 0, bad: 0, connects: 0, overruns: 0, poll_ms: 0, started_us: since_us };
  return { id: device.id, source: device.protocol, state: "down", reason, since_us, ...none };
}
