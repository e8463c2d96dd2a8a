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
import { ended } from "./ended.ts";
import { gapEvent, missed } from "./gap.ts";
import { type HttpServer, serveHttp } from "./http.ts";
import { LateTarget } from "./late-target.ts";
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
/** What devices shared (a bus, a certificate store) is left behind if it does not close in so long. */
const CLOSE_MS_MAX = 5_000;

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
  /** Why it is not ready; empty when it is. */
  #notReady = "starting";
  /** Reloads and the end take turns. */
  #turn: Promise<unknown> = Promise.resolve();
  #end: Promise<void> | null = null;

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
        try {
          await descriptors.load(record.references);
          state.replay(record.payload, descriptors.get);
        } catch (error) {
          // Each target counts it as lost when it comes to it; here it costs the memory of one commit interval.
          log.error({ seq: record.seq, err: error }, `journal: record ${record.seq} cannot be understood`);
        }
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
    try {
      if (site.agent.http !== null) this.#http = await serveHttp(site.agent.http, this.#view(), log);
      for (const target of site.targets) await this.#startTarget(target);
      const wanted = new Set(site.targets.map(({ name }) => name));
      for (const { name } of this.#journal.stats().cursors) if (!wanted.has(name)) await this.#forgetTarget(name);
      this.#tellSilence(site.devices);
      this.#state.keep(site.devices.map(({ id }) => id));
      this.#collector.start();
      for (const device of site.devices) await this.#startDevice(device);
    } catch (error) {
      await this.stop();
      throw error;
    }
    const own = new OwnFrames(this.#gateway);
    const { metrics_interval_ms } = site.agent;
    if (metrics_interval_ms !== null) {
      this.#endOwn = this.#schedule.add(metrics_interval_ms, () => {
        const { descriptor, frame } = own.take(figuresOf(this.status()), clock.now_us());
        this.#collector.push(descriptor, frame);
      });
    }
    this.#notReady = "";
  }

  /** Where the status page is served; null where it is switched off. */
  get url(): string | null {
    return this.#http?.url ?? null;
  }

  /**
   * Brings the agent to a new site file: what did not change is not touched, the journal stays. One thing
   * that fails is logged and spoils only itself. Two calls take turns; a stopped agent takes nothing.
   */
  async apply(site: Site): Promise<ReloadSummary> {
    const turn = this.#turn.then(() => this.#apply(site));
    this.#turn = turn.catch(() => undefined);
    return await turn;
  }

  async #apply(site: Site): Promise<ReloadSummary> {
    const { log } = this.#options;
    const summary = { started: [] as string[], stopped: [] as string[], replaced: [] as string[] };
    if (this.#end !== null) return summary;
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
        this.#state.forget(id);
        summary.stopped.push(id);
        continue;
      }
      await this.#startDevice(wanted);
      summary.replaced.push(id);
    }
    for (const device of site.devices) {
      if (this.#devices.has(device.id) || this.#unopened.has(device.id)) continue;
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
    const { log } = this.#options;
    const wanted = new Map(site.targets.map((target) => [target.name, target]));
    const attempt = async (name: string, list: string[], change: () => Promise<void>): Promise<void> => {
      try {
        await change();
        list.push(name);
      } catch (error) {
        log.error({ target: name, err: error }, `${name}: the journal does not take the change: ${messageOf(error)}`);
      }
    };
    for (const [name, { target, forwarder }] of [...this.#targets]) {
      const next = wanted.get(name);
      if (next?.fingerprint === target.fingerprint) continue;
      await forwarder.stop(0);
      this.#targets.delete(name);
      if (next === undefined) await attempt(name, summary.stopped, async () => await this.#forgetTarget(name));
      else await attempt(name, summary.replaced, async () => await this.#startTarget(next));
    }
    for (const target of site.targets) {
      if (this.#targets.has(target.name) || summary.replaced.includes(target.name)) continue;
      await attempt(target.name, summary.started, async () => await this.#startTarget(target));
    }
  }

  /** Ends devices, writes what they read, lets targets catch up for a while, and closes the journal. Safe twice. */
  async stop(): Promise<void> {
    this.#notReady = "stopping";
    this.#end ??= this.#turn.then(() => this.#stop());
    await this.#end;
  }

  async #stop(): Promise<void> {
    this.#endOwn?.();
    await Promise.all([...this.#devices.keys()].map(async (id) => await this.#stopDevice(id)));
    for (const [name, source] of this.#sources) await ended(this.#options, name, CLOSE_MS_MAX, source.close());
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
        return {
          name,
          type: target.type,
          ...state,
          ...counts,
          imbalance,
          counted_since_us: this.#state.targetSince(name),
        };
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
      notReady: () => this.#notReady,
      redact: (text: string) => this.#site.redact(text),
    };
  }

  /** A device that cannot even be opened spoils only itself: it is down until the site file changes. */
  async #startDevice(device: SiteDevice): Promise<void> {
    const { log, clock } = this.#options;
    try {
      await this.#openDevice(device);
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
    this.#state.device(id).counters = new Map(counters.states());
  }

  async #startTarget(target: SiteTarget): Promise<void> {
    const { clock, log, data_dir } = this.#options;
    const cursor = await this.#journal.cursor(target.name, { from: target.from });
    if (this.#state.meetTarget(target.name, clock.now_us())) this.#collector.renewCheckpoint();
    const made = new LateTarget(async () => {
      const { createTarget } = await targets[target.type].load();
      // The registry pairs each type with its own options, which its own schema made.
      return await createTarget(target.options as never, { clock, log, data_dir });
    });
    await made.open().catch((error: unknown) => {
      log.error({ target: target.name }, `${target.name} cannot be used yet, its data is kept: ${messageOf(error)}`);
    });
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

  /** A target that is no longer in the site file: nothing is kept for it any more. */
  async #forgetTarget(name: string): Promise<void> {
    const queued = this.#journal.stats().cursors.find((cursor) => cursor.name === name)?.queued ?? 0;
    await this.#journal.removeCursor(name);
    this.#state.forgetTarget(name);
    const told = `${name} is no longer in the site file: ${queued} readings that it had not taken are given up`;
    this.#options.log[queued > 0 ? "warn" : "info"]({ target: name, readings: queued }, told);
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

  /** An error's text may quote a secret: events leave this machine. */
  readonly #event = (event: Event): void => {
    const { redact } = this.#site;
    const clean = Object.entries(event.attributes).map(([key, value]) => [
      key,
      typeof value === "string" ? redact(value) : value,
    ]);
    const attributes = Object.fromEntries(clean) as Event["attributes"];
    this.#collector.event({ ...event, body: redact(event.body), attributes });
  };

  /** The time in which the agent did not run is a gap of every device that it knew before. */
  #tellSilence(devices: readonly SiteDevice[]): void {
    const now_us = this.#options.clock.now_us();
    for (const { id, descriptor, points } of devices) {
      const from_us = this.#state.devices.get(id)?.last_us ?? 0;
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
  const none = { readings: 0, uncertain: 0, bad: 0, connects: 0, overruns: 0, poll_ms: 0, started_us: since_us };
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

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
