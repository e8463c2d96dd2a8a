/**
 * Mode poll: one Read per chunk of a group, straight into that group's frame.
 *
 * What happens to a node is its own quality; what happens to a chunk (no answer, refused) is that of
 * its points; only a lost link rejects. A session without polls for long is kept alive by a small read.
 */
import { AttributeIds, type NodeId, ReadRequest, type ReadResponse, TimestampsToReturn } from "node-opcua-client";
import type { Clock, LinesideError } from "../../contract.ts";
import { createFrame, type Frame } from "../../frame.ts";
import { bad, type Quality } from "../../quality.ts";
import { ChunkSize } from "./chunks.ts";
import { refuse, writeDataValue } from "./decode.ts";
import { errorOf, fail, type Peer } from "./errors.ts";
import { type Link, RequestTimeout, ServiceRefused } from "./link.ts";
import type { Plan } from "./plan.ts";
import { touchServer } from "./server.ts";
import { snake } from "./status.ts";
import { Watchdog } from "./watchdog.ts";

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
  readonly #watchdog: Watchdog;
  #cancelTouch: () => void = () => {};
  #ended = false;

  constructor(settings: PollingSettings, link: Link, nodes: readonly (NodeId | null)[], nodesPerRead_max: number) {
    this.#settings = settings;
    this.#link = link;
    this.#chunk = new ChunkSize(nodesPerRead_max);
    this.#groups = settings.plan.groups.map(({ points }) => readsOf(points, nodes, settings.plan.hasText));
    const { clock, peer, plan, lost } = settings;
    const limit_ms = Math.max(plan.watchdog_ms, link.sessionTimeout_ms);
    this.#watchdog = new Watchdog(clock, limit_ms, () => lost(fail("no_answer", peer, `no answer for ${limit_ms} ms`)));
    this.#touchLater();
  }

  async poll(group: number, signal: AbortSignal): Promise<void> {
    const { clock, peer, sink } = this.#settings;
    const reads = this.#groups[group];
    if (!reads) throw new RangeError(`device ${peer.device} has no poll group ${group}`);
    const { frame } = reads;
    for (const row of reads.unknown) refuse(frame, row, UNKNOWN_NAMESPACE);
    let silent = false;
    for (let from = 0; from < reads.rows.length; ) {
      const to = Math.min(from + this.#chunk.size, reads.rows.length);
      if (silent) {
        // Nobody answered the chunk before: the rest is not kept waiting for the same.
        this.#spoil(reads, from, to, TIMEOUT);
        from = to;
        continue;
      }
      try {
        await this.#read(reads, from, to, signal);
        this.#watchdog.feed();
      } catch (error) {
        if (this.#chunk.shrink(error)) continue;
        if (signal.aborted || this.#ended) throw error;
        if (error instanceof RequestTimeout) silent = true;
        else if (!(error instanceof ServiceRefused) || FATAL.test(error.status)) throw this.#lose(error);
        this.#spoil(reads, from, to, error instanceof ServiceRefused ? bad(snake(error.status)) : TIMEOUT);
      }
      from = to;
    }
    frame.time_us = clock.now_us();
    sink(frame);
  }

  end(): void {
    this.#ended = true;
    this.#watchdog.stop();
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

  #lose(cause: unknown): LinesideError {
    const error = errorOf(cause, this.#settings.peer);
    this.#settings.lost(error);
    return error;
  }

  #touchLater(): void {
    this.#cancelTouch = this.#settings.clock.after(this.#link.sessionTimeout_ms / 3, () => {
      touchServer(this.#link).then(
        () => this.#ended || this.#touchLater(),
        (error: unknown) => this.#ended || this.#lose(error),
      );
    });
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
