/**
 * The way to one OPC UA server.
 *
 *   plan (once) ─▶ connect: Link ─▶ server facts ─▶ NodeIds of this session ─▶ Subscription or Polling
 *
 * Whatever ends the link says so once through `lost`; the agent then closes and connects anew.
 */
import type { OpcuaPoint } from "#profiles/schema.ts";
import type { Attributes, Device, LinesideError, Session, SessionContext } from "../../contract.ts";
import { resolve } from "./address.ts";
import { errorOf, fail, type Peer } from "./errors.ts";
import { Link } from "./link.ts";
import type { OpcuaOptions } from "./options.ts";
import { compilePlan, type Plan } from "./plan.ts";
import { Polling } from "./polling.ts";
import { aborted } from "./race.ts";
import { Rows } from "./rows.ts";
import { readServerFacts, type ServerFacts } from "./server.ts";
import { Subscription } from "./subscription.ts";
import type { TrustStore } from "./trust.ts";

export class OpcuaSession implements Session {
  readonly groups: Plan["groups"];
  readonly pushed: Uint32Array;
  readonly #plan: Plan;
  readonly #options: OpcuaOptions;
  readonly #peer: Peer;
  readonly #context: SessionContext;
  readonly #trust: TrustStore;
  readonly #live: Set<Session>;
  readonly #rows: Rows;
  #link: Link | null = null;
  #flow: Subscription | Polling | null = null;
  #abort: AbortController | null = null;
  #connecting: Promise<unknown> | null = null;
  /** Links on their way out. */
  readonly #farewells = new Set<Promise<void>>();
  #saidLost = false;

  /** `live` is where a session stands from connect to close, for the source to close what is left. */
  constructor(
    device: Device<OpcuaPoint, OpcuaOptions>,
    context: SessionContext,
    trust: TrustStore,
    live: Set<Session>,
  ) {
    this.#plan = compilePlan(device);
    this.#options = device.options;
    this.#peer = { device: device.id, endpoint: device.options.endpoint };
    this.#context = context;
    this.#trust = trust;
    this.#live = live;
    this.#rows = new Rows(context.sink, this.#plan.hasText);
    this.groups = this.#plan.groups;
    this.pushed = this.#plan.pushed;
    if (device.options.user !== undefined && device.options.security === "None") {
      context.log.warn({ device: device.id }, "user and password travel over an unsecured channel: set security");
    }
  }

  async connect(signal: AbortSignal): Promise<Attributes> {
    const abort = new AbortController();
    const before = this.close();
    this.#abort = abort;
    this.#live.add(this);
    const work = before.then(() => this.#connect(AbortSignal.any([signal, abort.signal])));
    this.#connecting = work.catch(() => undefined);
    try {
      return await work;
    } catch (cause) {
      const ended = this.#end();
      // An abort waits for nobody; the next connect or close does.
      if (signal.aborted || abort.signal.aborted) throw aborted();
      await ended;
      throw errorOf(cause, this.#peer);
    } finally {
      this.#connecting = null;
    }
  }

  async #connect(signal: AbortSignal): Promise<Attributes> {
    const { clock, log, sink } = this.#context;
    const plan = this.#plan;
    const peer = this.#peer;
    const lost = (error: LinesideError): void => this.#lose(error);
    if (signal.aborted) throw aborted();
    this.#saidLost = false;
    const link = await Link.open(
      {
        peer,
        options: this.#options,
        timeout_ms: plan.timeout_ms,
        session_ms: plan.session_ms,
        trust: this.#trust,
        clock,
        leave: (farewell) => this.#leave(farewell),
      },
      signal,
    );
    this.#link = link;
    link.onLost = (cause) => lost(errorOf(cause, peer));
    const facts = await readServerFacts(link, signal);
    const nodes = plan.addresses.map((address) => resolve(address, facts.namespaces));
    this.#warnUnknown(facts);
    if (plan.mode === "poll") {
      this.#flow = new Polling({ plan, peer, clock, sink, lost }, link, nodes, facts.nodesPerRead_max);
    } else {
      const subscription = new Subscription(
        { plan, peer, clock, log, rows: this.#rows, lost },
        link,
        nodes,
        facts.itemsPerCall_max,
      );
      this.#flow = subscription;
      await subscription.start(signal);
    }
    if (this.#saidLost) throw fail("link_lost", peer, "the connection broke while it was being set up");
    return facts.attributes;
  }

  async poll(group: number, signal: AbortSignal): Promise<void> {
    if (!(this.#flow instanceof Polling)) throw fail("not_connected", this.#peer, "there is no session to poll");
    await this.#flow.poll(group, signal);
  }

  async close(): Promise<void> {
    this.#abort?.abort();
    await this.#connecting;
    await this.#end();
  }

  async #end(): Promise<void> {
    this.#live.delete(this);
    this.#flow?.end();
    this.#flow = null;
    const link = this.#link;
    this.#link = null;
    if (link) this.#leave(link.close());
    await Promise.all(this.#farewells);
  }

  #leave(farewell: Promise<void>): void {
    this.#farewells.add(farewell);
    void farewell.finally(() => this.#farewells.delete(farewell));
  }

  #lose(error: LinesideError): void {
    if (this.#saidLost || this.#link === null) return;
    this.#saidLost = true;
    this.#flow?.end();
    // While connecting, the rejected connect says it.
    if (this.#connecting === null) this.#context.lost(error);
  }

  #warnUnknown({ namespaces }: ServerFacts): void {
    const wanted = new Set(this.#plan.addresses.map((address) => address.namespace));
    const missing = [...wanted].filter(
      (uri) => typeof uri === "string" && !namespaces.includes(uri) && !uri.startsWith("http://opcfoundation.org/UA/"),
    );
    if (missing.length === 0) return;
    this.#context.log.warn(
      { device: this.#peer.device, missing, namespaces },
      "the server does not know these namespaces",
    );
  }
}
