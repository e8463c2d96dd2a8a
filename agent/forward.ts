/**
 * One loop a target: read at its cursor, deliver, acknowledge. Timeouts of a request are the target's;
 * retry, backoff, batching and order are here and nowhere else.
 *
 *   journal ──cursor.read──▶ records ─▶ decode ─▶ batch ─▶ target.deliver ─▶ Outcome
 *      ▲                                                                      │ delivered ─▶ advance
 *      └──── dead letter, gap event, dropped counted ◀──────── refused ────────┤
 *                                                              too large ─────┤ ─▶ smaller batches
 *                                                              retry ─────────┘ ─▶ wait, the same batch again
 *
 * Nothing overtakes: a target gets every series in the order in which it was read. There is no offline
 * mode; while a target cannot be reached its cursor stands still and the journal holds what comes.
 */
import type { Batch, Clock, Descriptor, Event, Log, Outcome, Target } from "#adapters/contract.ts";
import type { Cursor, JournalRecord } from "#buffer/contract.ts";
import { decodePayload, type DecodedPayload } from "./batch/reader.ts";
import { split } from "./batch/split.ts";
import type { DeadLetters } from "./dead-letter.ts";
import type { Descriptors } from "./descriptors.ts";
import { ended } from "./ended.ts";
import { type Gap, gapEvent } from "./gap.ts";
import { LossSummary } from "./loss.ts";
import { messageOf } from "./message.ts";

/** Readings in one request: about 1.5 MB of OTLP, under the 4 MiB that gRPC receivers take by default. */
const READINGS_MAX = 20_000;
/** Journal bytes read at once; compressed, so a few times as much in memory. */
const READ_BYTES_MAX = 256 * 1024;
const READ_ENTRIES_MAX = 256;
const RETRY_MS_FIRST = 250;
/** So that the first export after a receiver's return comes within 3 s. A receiver may ask for longer waits. */
const RETRY_MS_MAX = 2_500;
const RETRY_MS_MAX_ASKED = 300_000;
/**
 * A single reading is never too large: a receiver that says so is short of memory, and most mean it for a
 * while only. After so many tries (about a minute) it is taken at its word.
 */
const TOO_LARGE_TRIES = 24;
/** A target that does not end in so long is left behind. */
const STOP_MS_MAX = 5_000;
/** After so many deliveries in a row a reduced batch size is raised again. */
const GROW_AFTER = 50;

export interface ForwardStatus {
  readonly target: string;
  readonly state: "idle" | "delivering" | "retrying" | "stopped";
  /** Why the last attempt failed; empty where it did not. */
  readonly reason: string;
  readonly since_us: number;
  readonly batches: number;
  readonly retries: number;
  /** Milliseconds that the last delivery took. */
  readonly deliver_ms: number;
  /** Since when batches and retries are counted. */
  readonly started_us: number;
}

export interface ForwardOptions {
  readonly name: string;
  readonly target: Target;
  readonly cursor: Cursor;
  readonly descriptors: Descriptors;
  readonly clock: Clock;
  readonly log: Log;
  readonly event: (event: Event) => void;
  /** Makes the events told so far durable. */
  readonly commit: () => Promise<void>;
  /** Where what the target refuses is kept. */
  readonly letters: Pick<DeadLetters, "keep">;
  /** Whom a loss is told of that belongs to no device any more. */
  readonly gateway: Descriptor;
}

export class Forwarder {
  readonly #options: ForwardOptions;
  readonly #stop = new AbortController();
  #readings_max = READINGS_MAX;
  #successes = 0;
  #state: ForwardStatus["state"] = "idle";
  #reason = "";
  #since_us: number;
  readonly #started_us: number;
  #batches = 0;
  #retries = 0;
  #deliver_ms = 0;
  /** A gap was told of readings that are not acknowledged yet. */
  #told = false;
  /** For records: everything that was read is settled. */
  #waiting = false;
  #loop: Promise<void> | null = null;

  constructor(options: ForwardOptions) {
    this.#options = options;
    this.#started_us = this.#since_us = options.clock.now_us();
  }

  start(): void {
    // The cursor may have served a target that was replaced: what that one did not acknowledge comes again.
    this.#options.cursor.rewind();
    this.#loop = this.#run();
  }

  /** Lets the target catch up for at most `drain_ms`, then ends the loop and closes the target. */
  async stop(drain_ms: number): Promise<void> {
    const { clock, cursor, name } = this.#options;
    const until_ms = clock.monotonic_ms() + drain_ms;
    const busy = (): boolean => cursor.stats().queued > 0 || !this.#waiting;
    // Events weigh nothing, so an empty queue may still hold some: it is quiet once it is quiet twice.
    for (let quiet = 0; quiet < 2 && clock.monotonic_ms() < until_ms && this.#state !== "retrying";) {
      await clock.sleep(20);
      quiet = busy() ? 0 : quiet + 1;
    }
    this.#stop.abort();
    await ended(this.#options, name, STOP_MS_MAX, this.#end());
    this.#enter("stopped", "");
  }

  async #end(): Promise<void> {
    await this.#loop;
    await this.#options.target.close();
  }

  status(): ForwardStatus {
    return {
      target: this.#options.name,
      state: this.#state,
      reason: this.#reason,
      since_us: this.#since_us,
      batches: this.#batches,
      retries: this.#retries,
      deliver_ms: this.#deliver_ms,
      started_us: this.#started_us,
    };
  }

  async #run(): Promise<void> {
    const { cursor, descriptors, log, name } = this.#options;
    const { signal } = this.#stop;
    const limits = { bytes_max: READ_BYTES_MAX, entries_max: READ_ENTRIES_MAX };
    while (!signal.aborted) {
      try {
        this.#waiting = true;
        const records = await cursor.read(limits, signal).finally(() => (this.#waiting = false));
        for (const record of records) await descriptors.load(record.references);
        await this.#forward(records);
      } catch (error) {
        if (signal.aborted) return;
        // Nothing is acknowledged: the same records come again.
        const message = messageOf(error);
        log.error({ err: error, target: name }, `${name}: ${message}`);
        this.#enter("retrying", message);
        cursor.rewind();
        await this.#options.clock.sleep(RETRY_MS_MAX, signal);
      }
    }
  }

  /** Delivers records in order, as many in one batch as fit; acknowledges each once all of it is through. */
  async #forward(records: readonly JournalRecord[]): Promise<void> {
    let group: JournalRecord[] = [];
    let weight = 0;
    for (const record of records) {
      if (group.length > 0 && weight + record.weight > this.#readings_max) {
        await this.#deliverGroup(group);
        group = [];
        weight = 0;
      }
      group.push(record);
      weight += record.weight;
    }
    if (group.length > 0) await this.#deliverGroup(group);
  }

  async #deliverGroup(group: readonly JournalRecord[]): Promise<void> {
    const { cursor, name, commit, letters } = this.#options;
    const decoded = group.map((record) => this.#decode(record));
    const frames = decoded.flatMap((payload) => payload.frames);
    const events = decoded.flatMap((payload) => payload.events).filter((event) => (event.target ?? name) === name);
    let dropped = decoded.reduce((sum, payload) => sum + payload.lost, 0);
    let queue = split(frames, events, this.#readings_max);
    for (let batch = queue.shift(); batch !== undefined; batch = queue.shift()) {
      const outcome = await this.#deliver(batch);
      if (outcome === null) return;
      if (outcome.kind === "delivered") {
        // A receiver counts data points and log records: a state is several of them, an event is no reading.
        const rejected = Math.min(outcome.rejected, batch.readings);
        dropped += rejected;
        if (rejected > 0) this.#tellRejected(batch, rejected, outcome.reason ?? "");
      } else if (outcome.kind === "too_large" && batch.readings + batch.events.length > 1) {
        if (batch.readings > 1) this.#readings_max = Math.floor(batch.readings / 2);
        queue = [...halve(batch), ...queue];
      } else {
        dropped += batch.readings;
        const path = await letters.keep(name, outcome.reason, batch);
        this.#tellRefused(batch, path === null ? outcome.reason : `${outcome.reason}; kept in ${path}`);
      }
    }
    const last = group.at(-1);
    const weight = group.reduce((sum, record) => sum + record.weight, 0);
    // A drop is never on disk before the gap that tells of it: killed in between, the gap comes twice, not never.
    if (this.#told) await commit();
    this.#told = false;
    if (last !== undefined) cursor.advance(last.seq, { delivered: weight - dropped, dropped });
  }

  /** A record that cannot be decoded is a loss like any other: counted, told, and passed over. */
  #decode(record: JournalRecord): DecodedPayload {
    try {
      return decodePayload(record.payload, this.#options.descriptors.get);
    } catch (error) {
      const { name, log, clock, gateway } = this.#options;
      const detail = `record ${record.seq}: ${messageOf(error)}`;
      log.error({ target: name, seq: record.seq }, `${name}: ${detail}`);
      const now_us = clock.now_us();
      const gap = { descriptor: gateway, points: [], from_us: now_us, to_us: now_us, reason: "corrupt", detail };
      this.#tell({ ...gap, readings: record.weight, estimated: false, target: name });
      return { frames: [], events: [], readings: 0, lost: record.weight };
    }
  }

  /** Tries one batch until it is settled; null when the agent stops before that. */
  async #deliver(batch: Batch): Promise<Exclude<Outcome, { kind: "retry" }> | null> {
    const { clock, log, name, target } = this.#options;
    const { signal } = this.#stop;
    const single = batch.readings + batch.events.length <= 1;
    for (let attempt = 0; ; attempt++) {
      if (signal.aborted) return null;
      if (attempt === 0) this.#enter("delivering", "");
      const started_ms = clock.monotonic_ms();
      const outcome = asRetry(await target.deliver(batch, signal), single && attempt < TOO_LARGE_TRIES);
      this.#deliver_ms = clock.monotonic_ms() - started_ms;
      if (signal.aborted && outcome.kind !== "delivered") return null;
      if (outcome.kind !== "retry") {
        if (this.#retrying) log.info({ target: name, attempts: attempt + 1 }, `${name} takes data again`);
        this.#settle(outcome.kind);
        return outcome;
      }
      this.#retries++;
      if (!this.#retrying || outcome.reason !== this.#reason) {
        log.warn({ target: name }, `${name} does not take data, it is kept: ${outcome.reason}`);
      }
      this.#enter("retrying", outcome.reason);
      const backoff_ms =
        Math.min(RETRY_MS_FIRST * 2 ** Math.min(attempt, 20), RETRY_MS_MAX) * (0.7 + 0.3 * Math.random());
      // Never sooner than asked, and never as fast as a receiver that asks for no wait at all would have it.
      const wait_ms = Math.max(backoff_ms, Math.min(outcome.wait_ms ?? 0, RETRY_MS_MAX_ASKED));
      await clock.sleep(wait_ms, signal);
    }
  }

  get #retrying(): boolean {
    return this.#state === "retrying";
  }

  #settle(kind: "delivered" | "refused" | "too_large"): void {
    this.#enter("idle", "");
    if (kind !== "delivered") {
      this.#successes = 0;
      return;
    }
    this.#batches++;
    if (++this.#successes >= GROW_AFTER && this.#readings_max < READINGS_MAX) {
      this.#readings_max = Math.min(READINGS_MAX, this.#readings_max * 2);
      this.#successes = 0;
    }
  }

  #tellRefused(batch: Batch, detail: string): void {
    const { name, log } = this.#options;
    log.error({ target: name, readings: batch.readings }, `${name} refused ${batch.readings} readings: ${detail}`);
    const losses = new LossSummary("refused");
    losses.add(batch.frames);
    // Not of a batch of events alone: whoever refuses the gap would be told of it for ever.
    if (batch.readings > 0) losses.addGaps(batch.events, name);
    for (const gap of losses.gaps({ detail, target: name })) this.#tell(gap);
  }

  /** The receiver says how many it rejected, not which: the gap names what the batch held. */
  #tellRejected(batch: Batch, rejected: number, detail: string): void {
    const { name, log } = this.#options;
    log.warn({ target: name, rejected }, `${name} rejected ${rejected} of ${batch.readings} readings: ${detail}`);
    const losses = new LossSummary("rejected");
    losses.add(batch.frames);
    for (const gap of losses.gaps({ detail, target: name })) {
      const readings = Math.min(gap.readings, rejected);
      this.#tell({ ...gap, readings, estimated: true });
    }
  }

  #tell(gap: Gap): void {
    const { event, clock } = this.#options;
    this.#told = true;
    event(gapEvent(gap, clock.now_us()));
  }

  #enter(state: ForwardStatus["state"], reason: string): void {
    this.#state = state;
    this.#reason = reason;
    this.#since_us = this.#options.clock.now_us();
  }
}

function asRetry(outcome: Outcome, again: boolean): Outcome {
  return outcome.kind === "too_large" && again ? { kind: "retry", reason: outcome.reason } : outcome;
}

/** Two batches with the same content: readings are cut in two, then told apart from events, then those are cut. */
function halve(batch: Batch): Batch[] {
  const { frames, events, readings } = batch;
  if (readings > 1) return split(frames, events, Math.ceil(readings / 2));
  const middle = readings === 1 ? 0 : Math.ceil(events.length / 2);
  return [
    { frames, events: events.slice(0, middle), readings },
    { frames: [], events: events.slice(middle), readings: 0 },
  ];
}
