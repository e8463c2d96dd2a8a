/**
 * Mode poll: one Read per chunk of a group, straight into that group's frame.
 *
 * What happens to a node is its own quality; what happens to a chunk (no answer, refused) is that of
 * its points; only a lost link rejects. A session without polls for long is kept alive by a small read.
 */
import { AttributeIds, type NodeId, ReadRequest, type ReadResponse, TimestampsToReturn } from "node-opcua-client";
import type { Clock, LinesideError } from "../../contract.ts";
import { createFrame, type Frame, resetFrame } from "../../frame.ts";
import { bad, type Quality } from "../../quality.ts";
import { ChunkSize } from "./chunks.ts";
import { refuse, writeDataValue } from "./decode.ts";
import { errorOf, fail, type Peer } from "./errors.ts";
import { type Link, RequestTimeout, ServiceRefused } from "./link.ts";
import type { Plan } from "./plan.ts";
import { aborted } from "./race.ts";
import { touchServer } from "./server.ts";
import { snake } from "./status.ts";

const UNANSWERED_MAX = 2;
const TIMEOUT = bad("timeout");
const UNKNOWN_NAMESPACE = bad("unknown_namespace");
const NO_RESULT = bad("no_result");
/** Refusals after which no call of this session will succeed again. */
const FATAL = /^Bad(?:Session|SecureChannel|Connection|Shutdown|ServerHalted|NotConnected|CommunicationError)/;

export interface PollingSettings {
  readonly plan: Plan;
  readonly peer: Peer;
  readonly clock: Clock;
  readonly sink: (frame: Frame) => void;
  readonly lost: (error: LinesideError) => void;
}

/** The rows of one group that can be read in this session. */
interface Reads {
  readonly frame: Frame;
  readonly rows: readonly number[];
  readonly nodes: readonly NodeId[];
  readonly unknown: readonly number[];
}

export class Polling {
  readonly #settings: PollingSettings;
  readonly #link: Link;
  readonly #groups: readonly Reads[];
  readonly #chunk: ChunkSize;
  /** Requests in a row that nobody answered. */
  #unanswered = 0;
  #cancelTouch: () => void = () => {};
  #ended = false;

  constructor(settings: PollingSettings, link: Link, nodes: readonly (NodeId | null)[], nodesPerRead_max: number) {
    this.#settings = settings;
    this.#link = link;
    this.#chunk = new ChunkSize(nodesPerRead_max);
    this.#groups = settings.plan.groups.map(({ points }) => readsOf(points, nodes, settings.plan.hasText));
    this.#touchLater();
  }

  async poll(group: number, signal: AbortSignal): Promise<void> {
    const { clock, peer, sink } = this.#settings;
    const reads = this.#groups[group];
    if (!reads) throw new RangeError(`device ${peer.device} has no poll group ${group}`);
    const { frame } = reads;
    // Frames are lent: whoever had it last may have changed it.
    resetFrame(frame);
    for (const row of reads.unknown) refuse(frame, row, UNKNOWN_NAMESPACE);
    let silent = false;
    for (let from = 0; from < reads.rows.length;) {
      const to = Math.min(from + this.#chunk.size, reads.rows.length);
      if (silent) {
        // Nobody answered the chunk before: the rest is not kept waiting for the same.
        this.#spoil(reads, from, to, TIMEOUT);
        from = to;
        continue;
      }
      try {
        await this.#read(reads, from, to, signal);
        this.#unanswered = 0;
      } catch (error) {
        if (this.#chunk.shrink(error)) continue;
        if (signal.aborted) throw aborted();
        if (error instanceof RequestTimeout) {
          const dead = this.#missed();
          if (dead) throw dead;
          silent = true;
        } else if (!(error instanceof ServiceRefused) || FATAL.test(error.status)) throw this.#lose(error);
        this.#spoil(reads, from, to, error instanceof ServiceRefused ? bad(snake(error.status)) : TIMEOUT);
      }
      from = to;
    }
    frame.time_us = clock.now_us();
    sink(frame);
  }

  end(): void {
    this.#ended = true;
    this.#cancelTouch();
  }

  async #read(reads: Reads, from: number, to: number, signal: AbortSignal): Promise<void> {
    const { plan, clock } = this.#settings;
    const request = new ReadRequest({
      maxAge: 0,
      timestampsToReturn: TimestampsToReturn.Both,
      nodesToRead: reads.nodes.slice(from, to).map((nodeId) => ({ nodeId, attributeId: AttributeIds.Value })),
    });
    const { results } = await this.#link.request<ReadResponse>(request, signal);
    const now_us = clock.now_us();
    for (let i = from; i < to; i++) {
      const row = reads.rows[i] ?? 0;
      const writer = plan.writers[reads.frame.points[row] ?? 0];
      const value = results?.[i - from];
      if (value === undefined || writer === undefined) this.#spoil(reads, i, i + 1, NO_RESULT);
      else writeDataValue(reads.frame, row, writer, value, now_us);
    }
  }

  #spoil(reads: Reads, from: number, to: number, quality: Quality): void {
    const now_us = this.#settings.clock.now_us();
    for (let i = from; i < to; i++) {
      const row = reads.rows[i] ?? 0;
      if (reads.frame.times_us) reads.frame.times_us[row] = now_us;
      refuse(reads.frame, row, quality);
    }
  }

  /** One answer may be late; a link that misses them in a row is dead, whatever its socket says. */
  #missed(): LinesideError | null {
    if (++this.#unanswered < UNANSWERED_MAX) return null;
    return this.#lose(fail("no_answer", this.#settings.peer, `no answer to ${UNANSWERED_MAX} requests in a row`));
  }

  #lose(cause: unknown): LinesideError {
    const error = errorOf(cause, this.#settings.peer);
    this.#settings.lost(error);
    return error;
  }

  #touchLater(): void {
    this.#cancelTouch = this.#settings.clock.after(this.#link.sessionTimeout_ms / 3, () => void this.#touch());
  }

  async #touch(): Promise<void> {
    try {
      await touchServer(this.#link);
      this.#unanswered = 0;
    } catch (error) {
      if (this.#ended) return;
      if (!(error instanceof RequestTimeout)) this.#lose(error);
      else this.#missed();
    }
    if (!this.#ended) this.#touchLater();
  }
}

function readsOf(points: Uint32Array, nodes: readonly (NodeId | null)[], hasText: boolean): Reads {
  const frame = createFrame(points.slice());
  frame.times_us = new Float64Array(points.length);
  if (hasText) frame.texts = Array.from(points, () => null);
  const rows: number[] = [];
  const known: NodeId[] = [];
  const unknown: number[] = [];
  points.forEach((point, row) => {
    const node = nodes[point] ?? null;
    if (node === null) unknown.push(row);
    else {
      rows.push(row);
      known.push(node);
    }
  });
  return { frame, rows, nodes: known, unknown };
}
