/**
 * The agent: everything wired together for one site, and taken apart again in reverse order.
 *
 *   devices ─▶ Pipeline ─▶ Collector ─▶ Journal ─▶ Forwarder ─▶ targets
 *      ▲                       ▲ events, own figures      └ losses ─▶ gap events ─▶ Collector
 *   Schedule
 *
 * A reload starts, stops and replaces only the devices and targets whose fingerprint changed.
 */
import { type Clock, type Descriptor, type Event, LinesideError, type Source } from "#adapters/contract.ts";
import { sources, targets } from "#adapters/registry.ts";
import type { Journal } from "#buffer/contract.ts";
import { openJournal } from "#buffer/journal.ts";
import { join } from "node:path";
import type { Logger } from "pino";
import { BatchWriter } from "./batch/writer.ts";
import { Collector } from "./collect.ts";
import { Descriptors } from "./descriptors.ts";
import { DeviceRunner, type DeviceStatus } from "./device.ts";
import { Forwarder } from "./forward.ts";
import { gapEvent } from "./gap.ts";
import { type HttpServer, serveHttp } from "./http.ts";
import { lossEntry } from "./loss.ts";
import { figuresOf, OwnFrames } from "./own.ts";
import { Pipeline } from "./process/pipeline.ts";
import { ProcessFigures } from "./process-figures.ts";
import { Schedule } from "./schedule.ts";
import type { Site, SiteDevice, SiteTarget, SourceName } from "./site/contract.ts";
import { AgentState } from "./state.ts";
import type { AgentStatus, DeviceReadings } from "./status.ts";
import { VERSION } from "./version.ts";

/** How long a graceful stop lets targets catch up. */
const DRAIN_MS = 5_000;

export interface AgentOptions {
  readonly site: Site;
  /** The journal, and files of adapters, are kept here. */
  readonly data_dir: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What a reload did. */
export interface ReloadSummary {
  readonly started: readonly string[];
  readonly stopped: readonly string[];
  readonly replaced: readonly string[];
}

interface RunningDevice {
  readonly runner: DeviceRunner;
  readonly pipeline: Pipeline;
}

interface RunningTarget {
  readonly target: SiteTarget;
  readonly forwarder: Forwarder;
  readonly stats: () => ReturnType<Awaited<ReturnType<Journal["cursor"]>>["stats"]>;
}

export class Agent {
  readonly #options: AgentOptions;
  readonly #journal: Journal;
  readonly #state: AgentState;
  readonly #descriptors: Descriptors;
  readonly #collector: Collector;
  readonly #schedule: Schedule;
  readonly #gateway: Descriptor;
  readonly #figures: ProcessFigures;
  readonly #sources = new Map<SourceName, Source<never, never>>();
  readonly #devices = new Map<string, RunningDevice>();
  readonly #unopened = new Map<string, { device: SiteDevice; reason: string; since_us: number }>();
  readonly #targets = new Map<string, RunningTarget>();
  readonly #started_us: number;
  #site: Site;
  #http: HttpServer | null = null;
  #endOwn: (() => void) | null = null;
  #stopping = false;

  /** Opens the journal and starts everything. Throws where the journal or the status port cannot be had. */
  static async start(options: AgentOptions): Promise<Agent> {
    const { site, clock, log, data_dir } = options;
    const gateway = gatewayDescriptor(site);
    let descriptors: Descriptors | null = null;
    let state: AgentState | null = null;
    const journal = await openJournal({
      dir: join(data_dir, "journal"),
      limit_bytes: site.agent.buffer.limit_bytes,
      checkpoint: () => state?.encode() ?? null,
      onFault: (fault) => log.warn({ code: fault.code, err: fault.cause }, `journal: ${fault.message}`),
      onLoss: async (loss) => {
        log.warn(
          { target: loss.target, readings: loss.weight },
          `${loss.target} loses ${loss.weight} readings: ${loss.reason}`,
        );
        return descriptors === null ? null : await lossEntry(loss, descriptors, gateway, clock, new BatchWriter());
      },
    });
    try {
      descriptors = new Descriptors(journal);
      state = AgentState.decode(journal.checkpoint);
      for await (const record of journal.replay()) {
        await descriptors.load(record.references);
        state.replay(record.payload, descriptors.get);
      }
      const agent = new Agent(options, journal, state, descriptors, gateway);
      await agent.#begin();
      return agent;
    } catch (error) {
      await journal.close();
      throw error;
    }
  }

  private constructor(
    options: AgentOptions,
    journal: Journal,
    state: AgentState,
    descriptors: Descriptors,
    gateway: Descriptor,
  ) {
    const { site, clock, log } = options;
    this.#options = options;
    this.#site = site;
    this.#journal = journal;
    this.#state = state;
    this.#descriptors = descriptors;
    this.#gateway = gateway;
    this.#started_us = clock.now_us();
    this.#schedule = new Schedule(clock);
    state.refresh = () => {
      for (const id of this.#devices.keys()) this.#rememberCounters(id);
    };
    this.#figures = new ProcessFigures(clock);
    const { commit_interval_ms } = site.agent;
    this.#collector = new Collector({ journal, descriptors, clock, log, commit_interval_ms, state });
  }

  async #begin(): Promise<void> {
    const { clock, log } = this.#options;
    const site = this.#site;
    if (site.agent.http !== null) this.#http = await serveHttp(site.agent.http, this.#view(), log);
    try {
      for (const target of site.targets) await this.#startTarget(target);
      this.#tellSilence(site.devices);
      this.#collector.start();
      for (const device of site.devices) await this.#startDevice(device);
    } catch (error) {
      await this.stop();
      throw error;
    }
    const own = new OwnFrames(this.#gateway, this.#started_us);
    const { metrics_interval_ms } = site.agent;
    if (metrics_interval_ms !== null) {
      this.#endOwn = this.#schedule.add(metrics_interval_ms, () => {
        const { descriptor, frame } = own.take(figuresOf(this.status()), clock.now_us());
        this.#collector.push(descriptor, frame);
      });
    }
  }

  /** Where the status page is served; null where it is switched off. */
  get url(): string | null {
    return this.#http?.url ?? null;
  }

  /** Brings the agent to a new site file: what did not change is not touched, the journal stays. */
  async apply(site: Site): Promise<ReloadSummary> {
    const { log } = this.#options;
    const summary = { started: [] as string[], stopped: [] as string[], replaced: [] as string[] };
    const changed = this.#settingsThatNeedRestart(site);
    if (changed.length > 0) log.warn({ changed }, `${changed.join(", ")} changed: takes effect at the next start`);
    this.#site = site;
    const devices = new Map(site.devices.map((device) => [device.id, device]));
    // What could not be opened is tried again: the mistake may be mended.
    this.#unopened.clear();
    for (const [id, { runner }] of [...this.#devices]) {
      const wanted = devices.get(id);
      if (wanted?.fingerprint === runner.device.fingerprint) continue;
      await this.#stopDevice(id);
      if (wanted === undefined) {
        summary.stopped.push(id);
        continue;
      }
      await this.#startDevice(wanted);
      summary.replaced.push(id);
    }
    for (const device of site.devices) {
      if (this.#devices.has(device.id)) continue;
      await this.#startDevice(device);
      summary.started.push(device.id);
    }
    await this.#applyTargets(site, summary);
    return summary;
  }

  async #applyTargets(
    site: Site,
    summary: { started: string[]; stopped: string[]; replaced: string[] },
  ): Promise<void> {
    const wanted = new Map(site.targets.map((target) => [target.name, target]));
    for (const [name, { target, forwarder }] of [...this.#targets]) {
      const next = wanted.get(name);
      if (next?.fingerprint === target.fingerprint) continue;
      await forwarder.stop(0);
      this.#targets.delete(name);
      if (next === undefined) {
        await this.#journal.removeCursor(name);
        summary.stopped.push(name);
        continue;
      }
      await this.#startTarget(next);
      summary.replaced.push(name);
    }
    for (const target of site.targets) {
      if (this.#targets.has(target.name)) continue;
      await this.#startTarget(target);
      summary.started.push(target.name);
    }
  }

  /** Ends devices, writes what they read, lets targets catch up for a while, and closes the journal. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#endOwn?.();
    await Promise.all([...this.#devices.keys()].map(async (id) => await this.#stopDevice(id)));
    for (const source of this.#sources.values()) await source.close();
    this.#collector.renewCheckpoint();
    await this.#collector.stop();
    await Promise.all([...this.#targets.values()].map(async ({ forwarder }) => await forwarder.stop(DRAIN_MS)));
    // Gaps told while the targets caught up are written too.
    await this.#collector.commit();
    await this.#journal.close();
    await this.#http?.close();
    this.#figures.close();
  }

  status(): AgentStatus {
    const { clock } = this.#options;
    const journal = this.#journal.stats();
    const { waiting, untold } = this.#collector;
    return {
      gateway: this.#site.gateway.id,
      version: VERSION,
      started_us: this.#started_us,
      now_us: clock.now_us(),
      sources: Object.fromEntries(this.#collector.read),
      devices: [
        ...[...this.#devices.values()].map(({ runner }) => runner.status()),
        ...[...this.#unopened.values()].map(({ device, reason, since_us }) => neverOpened(device, reason, since_us)),
      ],
      targets: [...this.#targets.values()].map(({ target, forwarder, stats }) => {
        const { target: name, ...state } = forwarder.status();
        const { committed, delivered, queued, dropped } = stats();
        const counts = {
          read: committed + waiting + untold,
          delivered,
          queued: queued + waiting,
          dropped: dropped + untold,
        };
        const imbalance = counts.read - counts.delivered - counts.queued - counts.dropped;
        return { name, type: target.type, ...state, ...counts, imbalance };
      }),
      journal: {
        bytes_on_disk: journal.bytes_on_disk,
        limit_bytes: journal.limit_bytes,
        segments: journal.segments,
        commits: journal.commits,
        commit_bytes: journal.commit_bytes,
        write_errors: journal.write_errors,
        waiting,
      },
      process: this.#figures.take(),
    };
  }

  /** The newest readings of one device; null where there is no such device. */
  readings(id: string): DeviceReadings | null {
    const pipeline = this.#devices.get(id)?.pipeline;
    return pipeline === undefined ? null : { device: id, readings: pipeline.latest.read(pipeline.descriptor) };
  }

  #view() {
    return {
      status: () => this.status(),
      readings: (id: string) => this.readings(id),
      notReady: () => (this.#stopping ? "stopping" : ""),
      redact: (text: string) => this.#site.redact(text),
    };
  }

  /** A device that cannot even be opened spoils only itself: it is down until the site file changes. */
  async #startDevice(device: SiteDevice): Promise<void> {
    try {
      await this.#openDevice(device);
    } catch (error) {
      if (!(error instanceof LinesideError)) throw error;
      this.#options.log.error({ device: device.id, code: error.code }, `${device.id} is not read: ${error.message}`);
      this.#unopened.set(device.id, { device, reason: error.code, since_us: this.#options.clock.now_us() });
    }
  }

  async #openDevice(device: SiteDevice): Promise<void> {
    const { clock } = this.#options;
    const source = await this.#source(device.protocol);
    const memory = this.#state.device(device.id);
    const pipeline = new Pipeline(device, memory.counters, {
      push: (descriptor, frame) => this.#collector.push(descriptor, frame),
      counterChanged: () => this.#collector.renewCheckpoint(),
    });
    const runner = new DeviceRunner(device, source, {
      clock,
      log: this.#options.log,
      schedule: this.#schedule,
      pipeline,
      event: this.#event,
    });
    this.#devices.set(device.id, { runner, pipeline });
    runner.start();
  }

  async #stopDevice(id: string): Promise<void> {
    const running = this.#devices.get(id);
    if (running === undefined) return;
    await running.runner.stop();
    this.#rememberCounters(id);
    this.#devices.delete(id);
  }

  #rememberCounters(id: string): void {
    const counters = this.#devices.get(id)?.pipeline.counters;
    if (counters === undefined) return;
    const memory = this.#state.device(id);
    for (const [name, counter] of counters.states()) memory.counters.set(name, counter);
  }

  async #startTarget(target: SiteTarget): Promise<void> {
    const { clock, log, data_dir } = this.#options;
    const { createTarget } = await targets[target.type].load();
    // The registry pairs each type with its own options, which its own schema made.
    const made = await createTarget(target.options as never, { clock, log, data_dir });
    const cursor = await this.#journal.cursor(target.name, { from: target.from });
    const forwarder = new Forwarder({
      name: target.name,
      target: made,
      cursor,
      descriptors: this.#descriptors,
      clock,
      log,
      event: this.#event,
      commit: async () => await this.#collector.commit(),
      gateway: this.#gateway,
    });
    this.#targets.set(target.name, { target, forwarder, stats: () => cursor.stats() });
    forwarder.start();
  }

  async #source(name: SourceName): Promise<Source<never, never>> {
    let source = this.#sources.get(name);
    if (source === undefined) {
      const { clock, log, data_dir } = this.#options;
      const { createSource } = await sources[name].load();
      source = createSource({ clock, log, data_dir });
      this.#sources.set(name, source);
    }
    return source;
  }

  readonly #event = (event: Event): void => this.#collector.event(event);

  /** The time in which the agent did not run is a gap of every device that it knew before. */
  #tellSilence(devices: readonly SiteDevice[]): void {
    const now_us = this.#options.clock.now_us();
    for (const { id, descriptor, points } of devices) {
      const from_us = this.#state.devices.get(id)?.last_us ?? 0;
      if (from_us === 0) continue;
      const readings = points.reduce(
        (sum, point) => sum + Math.max(0, Math.floor((now_us - from_us) / (point.every * 1000))),
        0,
      );
      const gap = {
        descriptor,
        points: [],
        from_us,
        to_us: now_us,
        reason: "agent_stopped",
        readings,
        estimated: true,
      };
      this.#event(gapEvent(gap, now_us));
    }
  }

  #settingsThatNeedRestart(site: Site): string[] {
    const before = { ...this.#site.agent, gateway: this.#site.gateway.id };
    const after = { ...site.agent, gateway: site.gateway.id };
    return Object.entries(after)
      .filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(before[key as keyof typeof before]))
      .map(([key]) => (key === "gateway" ? "gateway.id" : `agent.${key}`));
  }
}

function neverOpened(device: SiteDevice, reason: string, since_us: number): DeviceStatus {
  const none = { readings: 0, uncertain: 0, bad: 0, connects: 0, overruns: 0, poll_ms: 0 };
  return { id: device.id, source: device.protocol, state: "down", reason, since_us, ...none };
}

function gatewayDescriptor(site: Site): Descriptor {
  return {
    device: site.gateway.id,
    source: "agent",
    resource: { ...site.gateway.resource, "service.name": "lineside", "service.version": VERSION },
    scope: { name: "lineside", version: VERSION },
    series: [],
  };
}
