/**
 * The agent: everything wired together for one site, and taken apart again in reverse order.
 *
 *   devices ─▶ Pipeline ─▶ Collector ─▶ Journal ─▶ Forwarder ─▶ targets
 *      ▲                       ▲ events, own figures      └ losses ─▶ gap events ─▶ Collector
 *   Schedule
 *
 * A reload starts, stops and replaces only the devices and targets whose fingerprint changed.
 */
import type { Clock, Descriptor, Event } from "#adapters/contract.ts";
import type { Journal } from "#buffer/contract.ts";
import { openJournal } from "#buffer/journal.ts";
import { join } from "node:path";
import type { Logger } from "pino";
import { BatchWriter } from "./batch/writer.ts";
import { Collector } from "./collect.ts";
import { DeadLetters } from "./dead-letter.ts";
import { Descriptors } from "./descriptors.ts";
import { Devices } from "./devices.ts";
import { type HttpServer, serveHttp } from "./http.ts";
import { lossEntry } from "./loss.ts";
import { figuresOf, OwnFrames } from "./own.ts";
import { ProcessFigures } from "./process-figures.ts";
import { Schedule } from "./schedule.ts";
import type { Site } from "./site/contract.ts";
import { AgentState } from "./state.ts";
import type { AgentStatus, Changed, DeviceReadings } from "./status.ts";
import { Targets } from "./targets.ts";
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

export class Agent {
  readonly #options: AgentOptions;
  readonly #journal: Journal;
  readonly #collector: Collector;
  readonly #schedule: Schedule;
  readonly #gateway: Descriptor;
  readonly #figures: ProcessFigures;
  readonly #devices: Devices;
  readonly #targets: Targets;
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
    this.#gateway = gateway;
    this.#started_us = clock.now_us();
    this.#schedule = new Schedule(clock);
    this.#figures = new ProcessFigures(clock);
    const { commit_interval_ms } = site.agent;
    const collector = new Collector({ journal, descriptors, clock, log, commit_interval_ms, state });
    this.#collector = collector;
    const common = { clock, log, data_dir: options.data_dir, state, event: this.#event };
    this.#devices = new Devices({
      ...common,
      schedule: this.#schedule,
      push: (descriptor, frame) => collector.push(descriptor, frame),
      renewCheckpoint: () => collector.renewCheckpoint(),
    });
    state.refresh = () => this.#devices.rememberCounters();
    const letters = new DeadLetters({ dir: join(options.data_dir, "dead-letter"), clock, log });
    this.#targets = new Targets({ ...common, journal, descriptors, collector, letters, gateway });
  }

  async #begin(): Promise<void> {
    const { clock, log } = this.#options;
    const site = this.#site;
    try {
      if (site.agent.http !== null) this.#http = await serveHttp(site.agent.http, this.#view(), log);
      await this.#targets.start(site.targets);
      this.#collector.start();
      await this.#devices.start(site.devices);
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
  async apply(site: Site): Promise<Changed> {
    const turn = this.#turn.then(() => this.#apply(site));
    this.#turn = turn.catch(() => undefined);
    return await turn;
  }

  async #apply(site: Site): Promise<Changed> {
    const { log } = this.#options;
    const summary: Changed = { started: [], stopped: [], replaced: [] };
    if (this.#end !== null) return summary;
    const changed = this.#settingsThatNeedRestart(site);
    if (changed.length > 0) log.warn({ changed }, `${changed.join(", ")} changed: takes effect at the next start`);
    this.#site = site;
    await this.#devices.apply(site.devices, summary);
    await this.#targets.apply(site.targets, summary);
    return summary;
  }

  /** Ends devices, writes what they read, lets targets catch up for a while, and closes the journal. Safe twice. */
  async stop(): Promise<void> {
    this.#notReady = "stopping";
    this.#end ??= this.#turn.then(() => this.#stop());
    await this.#end;
  }

  async #stop(): Promise<void> {
    this.#endOwn?.();
    await this.#devices.stop();
    this.#collector.renewCheckpoint();
    await this.#collector.stop();
    await this.#targets.stop(DRAIN_MS);
    // Gaps told while the targets caught up are written too.
    await this.#collector.commit();
    await this.#journal.close();
    await this.#http?.close();
  }

  status(): AgentStatus {
    const { clock } = this.#options;
    const journal = this.#journal.stats();
    return {
      gateway: this.#site.gateway.id,
      version: VERSION,
      started_us: this.#started_us,
      now_us: clock.now_us(),
      sources: Object.fromEntries(this.#collector.read),
      devices: this.#devices.status(),
      targets: this.#targets.status(),
      journal: {
        bytes_on_disk: journal.bytes_on_disk,
        limit_bytes: journal.limit_bytes,
        segments: journal.segments,
        commits: journal.commits,
        commit_bytes: journal.commit_bytes,
        write_errors: journal.write_errors,
        waiting: this.#collector.waiting,
      },
      process: this.#figures.take(),
    };
  }

  /** The newest readings of one device; null where there is no such device. */
  readings(id: string): DeviceReadings | null {
    return this.#devices.readings(id);
  }

  #view() {
    return {
      status: () => this.status(),
      readings: (id: string) => this.readings(id),
      notReady: () => this.#notReady,
      redact: (text: string) => this.#site.redact(text),
    };
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

  #settingsThatNeedRestart(site: Site): string[] {
    const before = { ...this.#site.agent, gateway: this.#site.gateway.id };
    const after = { ...site.agent, gateway: site.gateway.id };
    return Object.entries(after)
      .filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(before[key as keyof typeof before]))
      .map(([key]) => (key === "gateway" ? "gateway.id" : `agent.${key}`));
  }
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
