/**
 * Gathers what all devices read in one commit interval and makes it durable with one synced write.
 *
 *   Pipeline ──Frame──▶ BatchWriter ──▶ sealed payloads ──each commit interval──▶ journal.commit
 *   Event ──────────────────┘                 └ while the disk fails: kept, up to a bound, then counted as lost
 *
 * Frames are encoded as they come, so nothing is held as objects. While the journal cannot be written
 * the sealed payloads wait in memory; beyond the bound the oldest are given up, and the loss is itself
 * written as soon as the journal works again: it counts as read, and as dropped by every target.
 */
import type { Clock, Descriptor, Event, Log } from "#adapters/contract.ts";
import type { Frame } from "#adapters/frame.ts";
import type { Journal } from "#buffer/contract.ts";
import { decodePayload } from "./batch/reader.ts";
import { slice } from "./batch/split.ts";
import { BatchWriter, type Payload } from "./batch/writer.ts";
import type { Descriptors } from "./descriptors.ts";
import { gapEvent } from "./gap.ts";
import { LossSummary } from "./loss.ts";
import { messageOf } from "./message.ts";
import type { AgentState } from "./state.ts";

/** A payload is sealed at this size, or a 64th of a small journal: read back and delivered in one piece. */
const PAYLOAD_BYTES_MAX = 256 * 1024;
/** One synced write holds no more than this, or a 32nd of a small journal. */
const COMMIT_BYTES_MAX = 4 * 1024 * 1024;
/** What a reading takes in a payload, at most (without texts). */
const ROW_BYTES_MAX = 31;
/** Why readings are lost that could never be written. */
const UNWRITABLE = "journal_unwritable";
/** What may wait in memory while the journal cannot be written. */
const WAITING_BYTES_MAX = 16 * 1024 * 1024;

export interface CollectorOptions {
  readonly journal: Journal;
  readonly descriptors: Descriptors;
  readonly clock: Clock;
  readonly log: Log;
  readonly commit_interval_ms: number;
  /** What must survive a restart, as it is with everything that was pushed. */
  readonly state: AgentState;
  readonly waiting_bytes_max?: number;
}

export class Collector {
  readonly #options: CollectorOptions;
  readonly #payload_bytes_max: number;
  readonly #commit_bytes_max: number;
  readonly #writer = new BatchWriter();
  readonly #sealed: Payload[] = [];
  #sealedBytes = 0;
  #checkpointDue = false;
  #given = new LossSummary(UNWRITABLE);
  #givenUp = 0;
  #failing = false;
  #committing: Promise<void> | null = null;
  #stopped = new AbortController();
  #loop: Promise<void> | null = null;
  /** Readings pushed since the start, by source. */
  readonly read = new Map<string, number>();
  /** Readings that are not in the journal yet. */
  waiting = 0;
  /** Readings given up before they reached the journal, since the start. */
  lost = 0;
  /** Those of them that the journal does not know of yet. */
  untold = 0;

  constructor(options: CollectorOptions) {
    this.#options = options;
    const { limit_bytes } = options.journal.stats();
    this.#payload_bytes_max = Math.min(PAYLOAD_BYTES_MAX, Math.floor(limit_bytes / 64));
    this.#commit_bytes_max = Math.min(COMMIT_BYTES_MAX, Math.floor(limit_bytes / 32));
  }

  push(descriptor: Descriptor, frame: Frame): void {
    const { descriptors, state } = this.#options;
    const id = descriptors.idOf(descriptor);
    // A frame of a large device may be more than a small journal takes in one piece.
    const rows_max = Math.max(1, Math.floor(this.#payload_bytes_max / ROW_BYTES_MAX));
    for (let from = 0; from < frame.count; from += rows_max) {
      const rows = Math.min(rows_max, frame.count - from);
      this.#writer.frame(id, rows === frame.count ? frame : slice(frame, from, rows));
      if (this.#writer.size >= this.#payload_bytes_max) this.#seal();
    }
    state.pushed(descriptor.device, frame.time_us);
    this.read.set(descriptor.source, (this.read.get(descriptor.source) ?? 0) + frame.count);
    this.waiting += frame.count;
  }

  event(event: Event): void {
    this.#writer.event(this.#options.descriptors.idOf(event.descriptor), event);
    if (this.#writer.size >= this.#payload_bytes_max) this.#seal();
  }

  /** The next commit carries a checkpoint: something changed that replay cannot learn. */
  renewCheckpoint(): void {
    this.#checkpointDue = true;
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** Writes what is left; what cannot be written now is lost with the process, and said so. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#loop;
    await this.commit();
    if (this.waiting > 0) {
      this.#options.log.error(
        { readings: this.waiting },
        `${this.waiting} readings could not be written to the journal`,
      );
    }
  }

  /** One group commit now. Never rejects: a failure is logged, and tried again with the next one. */
  async commit(): Promise<void> {
    while (this.#committing !== null) await this.#committing;
    this.#committing = this.#commit().finally(() => (this.#committing = null));
    await this.#committing;
  }

  async #run(): Promise<void> {
    const { clock, commit_interval_ms } = this.#options;
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      await clock.sleep(commit_interval_ms, signal);
      if (!signal.aborted) await this.commit();
    }
  }

  async #commit(): Promise<void> {
    const { journal, log, state } = this.#options;
    this.#tellLosses();
    this.#seal();
    state.seal();
    do {
      const entries = this.#firstSealed();
      const renew = this.#checkpointDue;
      try {
        await journal.commit(renew ? { entries, checkpoint: state.encode() } : { entries });
      } catch (error) {
        if (!this.#failing) {
          log.error({ err: error }, `the journal cannot be written; readings wait in memory: ${messageOf(error)}`);
        }
        this.#failing = true;
        this.#bound();
        return;
      }
      if (this.#failing) log.info({}, "the journal is written again");
      this.#failing = false;
      if (renew) this.#checkpointDue = false;
      for (const entry of this.#sealed.splice(0, entries.length)) {
        this.#sealedBytes -= entry.payload.length;
        this.waiting -= this.#fresh(entry);
        this.untold -= entry.weight - this.#fresh(entry);
      }
    } while (this.#sealed.length > 0);
  }

  /** As many sealed payloads as one write may hold. */
  #firstSealed(): Payload[] {
    let bytes = 0;
    const end = this.#sealed.findIndex((entry) => (bytes += entry.payload.length) > this.#commit_bytes_max);
    return end < 0 ? this.#sealed.slice() : this.#sealed.slice(0, Math.max(1, end));
  }

  /** Readings that a payload carries; its weight also counts losses that it tells of. */
  #fresh(entry: Payload): number {
    return entry.weight - (this.#lostIn.get(entry) ?? 0);
  }

  /** Losses told in a sealed payload that is not committed yet. */
  readonly #lostIn = new WeakMap<Payload, number>();
  #lostInWriter = 0;

  #seal(): void {
    if (this.#writer.empty) return;
    const payload = this.#writer.finish();
    this.#lostIn.set(payload, this.#lostInWriter);
    this.#lostInWriter = 0;
    this.#sealed.push(payload);
    this.#sealedBytes += payload.payload.length;
  }

  /** Gives up the oldest payloads beyond the bound. */
  #bound(): void {
    const { descriptors, waiting_bytes_max = WAITING_BYTES_MAX } = this.#options;
    while (this.#sealedBytes > waiting_bytes_max) {
      const oldest = this.#sealed.shift();
      if (oldest === undefined) return;
      this.#sealedBytes -= oldest.payload.length;
      const { frames, events } = decodePayload(oldest.payload, descriptors.get);
      this.#given.add(frames);
      this.#given.addGaps(events);
      this.#givenUp += oldest.weight;
      this.waiting -= this.#fresh(oldest);
      this.lost += this.#fresh(oldest);
      this.untold += this.#fresh(oldest);
    }
  }

  #tellLosses(): void {
    if (this.#givenUp === 0 || this.#failing) return;
    const now_us = this.#options.clock.now_us();
    this.#writer.lost(this.#givenUp);
    this.#lostInWriter += this.#givenUp;
    for (const gap of this.#given.gaps()) this.event(gapEvent(gap, now_us));
    this.#given = new LossSummary(UNWRITABLE);
    this.#givenUp = 0;
  }
}
