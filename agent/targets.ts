/** The targets of the site that run: each with its cursor in the journal and its forwarder. */
import type { Clock, Descriptor, Event } from "#adapters/contract.ts";
import { targets } from "#adapters/registry.ts";
import type { CursorStats, Journal } from "#buffer/contract.ts";
import type { Logger } from "pino";
import type { Collector } from "./collect.ts";
import type { DeadLetters } from "./dead-letter.ts";
import type { Descriptors } from "./descriptors.ts";
import { Forwarder } from "./forward.ts";
import { LateTarget } from "./late-target.ts";
import { messageOf } from "./message.ts";
import type { SiteTarget } from "./site/contract.ts";
import type { AgentState } from "./state.ts";
import type { Changed, TargetStatus } from "./status.ts";

export interface TargetsContext {
  readonly clock: Clock;
  readonly log: Logger;
  readonly data_dir: string;
  readonly journal: Journal;
  readonly descriptors: Descriptors;
  readonly collector: Collector;
  readonly state: AgentState;
  readonly letters: DeadLetters;
  readonly gateway: Descriptor;
  readonly event: (event: Event) => void;
}

interface Running {
  readonly target: SiteTarget;
  readonly forwarder: Forwarder;
  readonly stats: () => CursorStats;
}

export class Targets {
  readonly #context: TargetsContext;
  readonly #running = new Map<string, Running>();

  constructor(context: TargetsContext) {
    this.#context = context;
  }

  /** Starts them, and forgets the cursors of targets that the site file no longer has. */
  async start(wanted: readonly SiteTarget[]): Promise<void> {
    for (const target of wanted) await this.#start(target);
    for (const { name } of this.#context.journal.stats().cursors) {
      if (!this.#running.has(name)) await this.#forget(name);
    }
  }

  /** Brings them to a new site file: what did not change is not touched. */
  async apply(wanted: readonly SiteTarget[], changed: Changed): Promise<void> {
    const { log } = this.#context;
    const byName = new Map(wanted.map((target) => [target.name, target]));
    const attempt = async (name: string, list: string[], change: () => Promise<void>): Promise<void> => {
      try {
        await change();
        list.push(name);
      } catch (error) {
        this.#running.delete(name);
        log.error({ target: name, err: error }, `${name}: the journal does not take the change: ${messageOf(error)}`);
      }
    };
    for (const [name, { target, forwarder }] of [...this.#running]) {
      const next = byName.get(name);
      if (next?.fingerprint === target.fingerprint) continue;
      await forwarder.stop(0);
      // It stays in the books until the new one stands in its place.
      if (next === undefined) await attempt(name, changed.stopped, async () => await this.#forget(name));
      else await attempt(name, changed.replaced, async () => await this.#start(next));
    }
    for (const target of wanted) {
      if (this.#running.has(target.name) || changed.replaced.includes(target.name)) continue;
      await attempt(target.name, changed.started, async () => await this.#start(target));
    }
  }

  /** Lets them catch up for at most `drain_ms`, then ends them. */
  async stop(drain_ms: number): Promise<void> {
    await Promise.all([...this.#running.values()].map(async ({ forwarder }) => await forwarder.stop(drain_ms)));
  }

  status(): TargetStatus[] {
    const { collector, state } = this.#context;
    // What is on its way to the journal is read, and queued; what was lost before it is dropped.
    const { waiting, untold } = collector;
    return [...this.#running.values()].map(({ target, forwarder, stats }) => {
      const { target: name, ...forwarding } = forwarder.status();
      const { committed, delivered, queued, dropped } = stats();
      const counts = {
        read: committed + waiting + untold,
        delivered,
        queued: queued + waiting,
        dropped: dropped + untold,
      };
      const imbalance = counts.read - counts.delivered - counts.queued - counts.dropped;
      const counted_since_us = state.targetSince(name);
      return { name, type: target.type, ...forwarding, ...counts, imbalance, counted_since_us };
    });
  }

  async #start(target: SiteTarget): Promise<void> {
    const { clock, log, data_dir, journal, descriptors, collector, state, letters, gateway, event } = this.#context;
    const cursor = await journal.cursor(target.name, { from: target.from });
    if (state.meetTarget(target.name, clock.now_us())) collector.renewCheckpoint();
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
      descriptors,
      clock,
      log,
      event,
      commit: async () => await collector.commit(),
      letters,
      gateway,
    });
    this.#running.set(target.name, { target, forwarder, stats: () => cursor.stats() });
    forwarder.start();
  }

  /** A target that is no longer in the site file: nothing is kept for it any more. */
  async #forget(name: string): Promise<void> {
    const queued = this.#context.journal.stats().cursors.find((cursor) => cursor.name === name)?.queued ?? 0;
    await this.#context.journal.removeCursor(name);
    this.#running.delete(name);
    this.#context.state.forgetTarget(name);
    const told = `${name} is no longer in the site file: ${queued} readings that it had not taken are given up`;
    this.#context.log[queued > 0 ? "warn" : "info"]({ target: name, readings: queued }, told);
  }
}
