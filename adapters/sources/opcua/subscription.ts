/**
 * Mode subscribe: the server samples and sends what changed.
 *
 *   createSubscription ─▶ createMonitoredItems in chunks ─▶ PUBLISH_DEPTH Publish requests stay open
 *   PublishResponse ─▶ one row per notification ─▶ frame ─▶ sink;  acknowledged with the next Publish
 *
 * Notifications are read from their bytes (raw.ts): no object, listener or closure per monitored item.
 * A watchdog sees to it that data or keep-alives come; bad nodes are tried again, slowly, by themselves.
 */
import {
  AttributeIds,
  CreateMonitoredItemsRequest,
  type CreateMonitoredItemsResponse,
  CreateSubscriptionRequest,
  type CreateSubscriptionResponse,
  DataChangeNotification,
  MonitoringMode,
  type NodeId,
  PublishRequest,
  type PublishResponse,
  StatusChangeNotification,
  TimestampsToReturn,
} from "node-opcua-client";
import type { Clock, LinesideError, Log } from "../../contract.ts";
import { bad, type Quality } from "../../quality.ts";
import { ChunkSize } from "./chunks.ts";
import { refuse } from "./decode.ts";
import { errorOf, fail, type Peer } from "./errors.ts";
import { type Link, ServiceRefused } from "./link.ts";
import type { Plan } from "./plan.ts";
import { itemsOf, rawOf, readNotification, type RowTaker } from "./raw.ts";
import { type Rows, ROWS_MAX } from "./rows.ts";
import { nameOf, overflowed, qualityOfStatus } from "./status.ts";
import { Watchdog } from "./watchdog.ts";

/** Publish requests kept open at the server: one being answered, one waiting, one on its way. */
const PUBLISH_DEPTH = 3;
/** Keep-alives within one watchdog period. */
const BEATS = 3;
const RETRY_BAD_NODES_MS = 60_000;
/** A server closes a subscription that nobody asks for so long. */
const LIFETIME_MIN_MS = 60_000;
/** First values come with the first publishing; a point silent for so many is reported. */
const FIRST_VALUE_PUBLISHINGS = 3;
const FIRST_VALUE_MIN_MS = 5_000;

const UNKNOWN_NAMESPACE = bad("unknown_namespace");
const WAITING = bad("waiting");

export interface SubscriptionSettings {
  readonly plan: Plan;
  readonly peer: Peer;
  readonly clock: Clock;
  readonly log: Log;
  readonly rows: Rows;
  readonly lost: (error: LinesideError) => void;
}

export class Subscription {
  readonly #settings: SubscriptionSettings;
  readonly #link: Link;
  readonly #nodes: readonly (NodeId | null)[];
  readonly #chunk: ChunkSize;
  /** Points that the server would not monitor, and why. */
  readonly #refused = new Map<number, Quality>();
  readonly #heard: Uint8Array;
  readonly #timers = new Set<() => void>();
  #watchdog: Watchdog | null = null;
  #id = 0;
  #publishTimeout_ms = 0;
  #depth = PUBLISH_DEPTH;
  #open = 0;
  #acknowledge: number[] = [];
  #sequence = 0;
  #overflows = 0;
  #ended = false;
  readonly #taker: RowTaker;

  constructor(settings: SubscriptionSettings, link: Link, nodes: readonly (NodeId | null)[], itemsPerCall_max: number) {
    this.#settings = settings;
    this.#link = link;
    this.#nodes = nodes;
    this.#chunk = new ChunkSize(itemsPerCall_max);
    this.#heard = new Uint8Array(nodes.length);
    const { plan, rows } = settings;
    this.#taker = {
      // Client handles are indexes of points.
      writer: (point) => plan.writers[point],
      row: (point) => {
        this.#heard[point] = 1;
        return rows.next(point);
      },
      get frame() {
        return rows.frame;
      },
      status: (code) => {
        if (overflowed(code)) this.#overflow();
      },
    };
  }

  /** Resolves once every point is monitored or known to be bad; the bad ones are given to the sink. */
  async start(signal: AbortSignal): Promise<void> {
    const { plan, clock, rows } = this.#settings;
    // Keep-alives feed the watchdog, and the Publish requests that follow them keep the session.
    const quiet_ms = Math.min(plan.watchdog_ms, this.#link.sessionTimeout_ms) / BEATS;
    const keepAlive = Math.max(1, Math.floor(quiet_ms / plan.publishing_ms));
    const response = await this.#link.request<CreateSubscriptionResponse>(
      new CreateSubscriptionRequest({
        requestedPublishingInterval: plan.publishing_ms,
        requestedMaxKeepAliveCount: keepAlive,
        requestedLifetimeCount: Math.max(BEATS * keepAlive, Math.ceil(LIFETIME_MIN_MS / plan.publishing_ms)),
        maxNotificationsPerPublish: ROWS_MAX,
        publishingEnabled: true,
        priority: 0,
      }),
      signal,
    );
    this.#id = response.subscriptionId;
    const publishing_ms = response.revisedPublishingInterval;
    // The server may beat more slowly than it was asked to: then it is not silent before two beats are missing.
    const beat_ms = publishing_ms * response.revisedMaxKeepAliveCount;
    const watchdog_ms = Math.max(plan.watchdog_ms, 2 * beat_ms + publishing_ms);
    this.#publishTimeout_ms = PUBLISH_DEPTH * beat_ms + 2 * watchdog_ms;

    const known = Array.from(this.#nodes.keys()).filter((point) => this.#nodes[point] !== null);
    await this.#monitor(known, signal);
    rows.begin(clock.now_us(), this.#refused.size);
    this.#nodes.forEach((node, point) => {
      const quality = node === null ? UNKNOWN_NAMESPACE : this.#refused.get(point);
      if (quality !== undefined) refuse(rows.frame, rows.next(point), quality);
    });
    rows.flush();

    this.#watchdog = new Watchdog(clock, watchdog_ms, () =>
      this.#lose("subscription_silent", `no word from the subscription for ${watchdog_ms} ms`),
    );
    for (let i = 0; i < this.#depth; i++) this.#publish();
    this.#after(Math.max(FIRST_VALUE_PUBLISHINGS * publishing_ms, FIRST_VALUE_MIN_MS), () => this.#reportSilent());
    if (this.#refused.size > 0) this.#after(RETRY_BAD_NODES_MS, () => void this.#retry());
  }

  /** Stops by itself; the server's side ends with the session. */
  end(): void {
    this.#ended = true;
    this.#watchdog?.stop();
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
  }

  // --- Monitored items --------------------------------------------------------------------------

  async #monitor(points: readonly number[], signal?: AbortSignal): Promise<void> {
    for (let from = 0; from < points.length;) {
      const chunk = points.slice(from, from + this.#chunk.size);
      let response: CreateMonitoredItemsResponse;
      try {
        response = await this.#link.request<CreateMonitoredItemsResponse>(this.#createItems(chunk), signal);
      } catch (error) {
        if (this.#chunk.shrink(error)) continue;
        if (!(error instanceof ServiceRefused) || chunk.length > 1) throw error;
        // Even alone it is refused as a call: the node spoils only itself.
        this.#refused.set(chunk[0] ?? 0, bad(error.status));
        from += 1;
        continue;
      }
      chunk.forEach((point, i) => {
        const status = response.results?.[i]?.statusCode.value ?? 0x8000_0000;
        if (status < 0x8000_0000) this.#refused.delete(point);
        else this.#refused.set(point, qualityOfStatus(status));
      });
      from += chunk.length;
    }
  }

  #createItems(points: readonly number[]): CreateMonitoredItemsRequest {
    const { plan } = this.#settings;
    return new CreateMonitoredItemsRequest({
      subscriptionId: this.#id,
      timestampsToReturn: TimestampsToReturn.Both,
      itemsToCreate: points.map((point) => ({
        itemToMonitor: { nodeId: this.#nodes[point] ?? null, attributeId: AttributeIds.Value },
        monitoringMode: MonitoringMode.Reporting,
        requestedParameters: {
          clientHandle: point,
          samplingInterval: plan.every_ms[point] ?? plan.publishing_ms,
          queueSize: plan.queue,
          discardOldest: true,
          filter: null,
        },
      })),
    });
  }

  /** Bad nodes only: a program download or a module plugged in may have brought them. */
  async #retry(): Promise<void> {
    const { clock, rows, log, peer } = this.#settings;
    const before = new Map(this.#refused);
    try {
      await this.#monitor([...before.keys()]);
    } catch (error) {
      if (this.#ended) return;
      log.debug({ device: peer.device, error: String(error) }, "trying bad nodes again failed");
    }
    if (this.#ended) return;
    rows.begin(clock.now_us(), before.size);
    for (const [point, quality] of this.#refused) {
      if (before.get(point) !== quality) refuse(rows.frame, rows.next(point), quality);
    }
    rows.flush();
    if (this.#refused.size > 0) this.#after(RETRY_BAD_NODES_MS, () => void this.#retry());
  }

  /** A server sends a first value of every item; points without one are said to be waiting, once. */
  #reportSilent(): void {
    const { clock, rows } = this.#settings;
    rows.begin(clock.now_us(), ROWS_MAX);
    this.#nodes.forEach((node, point) => {
      if (node === null || this.#refused.has(point) || this.#heard[point] === 1) return;
      refuse(rows.frame, rows.next(point), WAITING);
    });
    rows.flush();
  }

  // --- Publishing -------------------------------------------------------------------------------

  #publish(): void {
    if (this.#ended || this.#open >= this.#depth) return;
    const acknowledged = this.#acknowledge;
    this.#acknowledge = [];
    this.#open++;
    const request = new PublishRequest({
      subscriptionAcknowledgements: acknowledged.map((sequenceNumber) => ({
        subscriptionId: this.#id,
        sequenceNumber,
      })),
    });
    this.#link.send(request, this.#publishTimeout_ms, (error, response) => {
      this.#open--;
      if (this.#ended) return;
      if (error) return this.#publishFailed(error);
      // A response to Publish is a PublishResponse; the channel's types do not say so.
      this.#published(response as unknown as PublishResponse);
      this.#publish();
    });
  }

  #published(response: PublishResponse): void {
    this.#watchdog?.feed();
    const message = response.notificationMessage;
    const notifications = message.notificationData ?? [];
    if (notifications.length === 0) return;
    if (response.subscriptionId !== this.#id) return;
    this.#follow(message.sequenceNumber);
    for (const notification of notifications) {
      if (notification instanceof DataChangeNotification) this.#take(notification);
      else if (notification instanceof StatusChangeNotification) this.#statusChanged(notification.status.value);
    }
  }

  #take(notification: DataChangeNotification): void {
    const { clock, rows, peer } = this.#settings;
    const body = rawOf(notification);
    if (body === null) throw new TypeError("a notification without its bytes");
    try {
      rows.begin(clock.now_us(), itemsOf(body));
      readNotification(body, this.#taker);
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
      this.#settings.lost(
        fail("decoding_error", peer, `a notification that cannot be decoded: ${cause.message}`, cause),
      );
    }
    rows.flush();
  }

  /** Sequence numbers run from 1 and skip nothing (Part 4, 5.13.1.1); they wrap to 1. */
  #follow(sequence: number): void {
    const { log, peer } = this.#settings;
    const expected = this.#sequence === 0xffff_ffff ? 1 : this.#sequence + 1;
    if (this.#sequence !== 0 && sequence !== expected) {
      log.warn({ device: peer.device, expected, sequence }, "the server skipped notifications: values are missing");
    }
    this.#sequence = sequence;
    this.#acknowledge.push(sequence);
  }

  #overflow(): void {
    const { log, peer } = this.#settings;
    if (this.#overflows++ > 0) return;
    this.#after(RETRY_BAD_NODES_MS, () => {
      log.warn(
        { device: peer.device, values: this.#overflows },
        "values were lost in the server's queues: raise queue or lower publishing",
      );
      this.#overflows = 0;
    });
  }

  #statusChanged(status: number): void {
    if (status >= 0x8000_0000)
      this.#lose("subscription_terminated", `the server ended the subscription: ${nameOf(status)}`);
  }

  #publishFailed(error: Error): void {
    const { peer } = this.#settings;
    if (!(error instanceof ServiceRefused)) return this.#loseFor(error);
    switch (error.status) {
      case "BadTooManyPublishRequests":
        // It takes fewer at a time; those that are open are enough.
        this.#depth = Math.max(1, this.#open);
        if (this.#open === 0) this.#after(this.#settings.plan.publishing_ms, () => this.#publish());
        return;
      case "BadTimeout":
        return this.#publish();
      case "BadNoSubscription":
      case "BadSubscriptionIdInvalid":
        return this.#lose("subscription_terminated", "the server knows the subscription no more");
      default:
        return this.#settings.lost(errorOf(error, peer));
    }
  }

  #loseFor(error: Error): void {
    this.#settings.lost(errorOf(error, this.#settings.peer));
  }

  #lose(code: string, what: string): void {
    this.#settings.lost(fail(code, this.#settings.peer, what));
  }

  #after(delay_ms: number, run: () => void): void {
    const cancel = this.#settings.clock.after(delay_ms, () => {
      this.#timers.delete(cancel);
      if (!this.#ended) run();
    });
    this.#timers.add(cancel);
  }
}
