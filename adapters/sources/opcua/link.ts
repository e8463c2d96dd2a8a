/**
 * One secure channel with one activated session on it; the library's own reconnect stays off, for
 * the agent connects anew.
 *
 *   discover (only where secured) ─▶ channel ─▶ session ─▶ Link.request(...) ─▶ ... ─▶ close
 *
 * Services are called on the channel itself, not through the library's ClientSession, which would
 * repair a lost session behind our back with namespace indexes of yesterday.
 */
import {
  type ClientSecureChannelLayer,
  type ClientSession,
  MessageSecurityMode,
  type NodeId,
  OPCUAClient,
  type OPCUAClientOptions,
  SecurityPolicy,
  type UserIdentityInfo,
  UserTokenType,
} from "node-opcua-client";
import type { Clock } from "../../contract.ts";
import { errorOf, fail, type Peer } from "./errors.ts";
import type { OpcuaOptions } from "./options.ts";
import { aborted, settled, within } from "./race.ts";
import { APPLICATION_NAME, type CertificateFiles, leafOf, type TrustStore } from "./trust.ts";

/** A goodbye that is not answered by then is none. */
const FAREWELL_MS = 1_000;

type Request = Parameters<ClientSecureChannelLayer["performMessageTransaction"]>[0];
/** Every response of the library; `serviceResult` is the service's own verdict. */
interface ServiceResponse {
  readonly responseHeader: { readonly serviceResult: { readonly value: number; readonly name: string } };
}

/** A service refused as a whole, by the server; `status` is the name of its StatusCode. */
export class ServiceRefused extends Error {
  readonly status: string;
  constructor(status: string) {
    super(`service refused: ${status}`);
    this.name = "ServiceRefused";
    this.status = status;
  }
}

/** No answer in time; the link may still be there. */
export class RequestTimeout extends Error {}

export interface LinkSettings {
  readonly peer: Peer;
  readonly options: OpcuaOptions;
  readonly timeout_ms: number;
  /** Without traffic for so long the server may end the session. */
  readonly session_ms: number;
  readonly trust: TrustStore;
  readonly clock: Clock;
  /** Takes what is still being put away when an attempt has failed or was aborted. */
  readonly leave: (farewell: Promise<void>) => void;
}

export class Link {
  /** Called once when the connection breaks by itself. */
  onLost: (cause: unknown) => void = () => {};
  /** How long the session lives without traffic, as the server revised it. */
  sessionTimeout_ms: number;
  readonly #settings: LinkSettings;
  readonly #client: OPCUAClient;
  #channel: ClientSecureChannelLayer | null = null;
  #creating: Promise<void> | null = null;
  #session: ClientSession | null = null;
  #token: NodeId | null = null;
  #closing: Promise<void> | null = null;

  private constructor(settings: LinkSettings, security: OPCUAClientOptions) {
    this.#settings = settings;
    this.sessionTimeout_ms = settings.session_ms;
    this.#client = OPCUAClient.create(security);
    this.#client.on("secure_channel_created", (channel) => (this.#channel = channel));
    this.#client.on("close", (cause) => {
      if (this.#session !== null && this.#closing === null) this.onLost(cause ?? new Error("connection closed"));
    });
  }

  /** Resolves with an activated session. What fails or is aborted rejects at once and is put away behind that. */
  static async open(settings: LinkSettings, signal: AbortSignal): Promise<Link> {
    const { options, peer, trust } = settings;
    const common = await clientOptions(settings);
    if (options.security === "None") return Link.#openWith(settings, common, signal);
    const certificate = await discover(settings, common, signal);
    const isNew = await trust.check(certificate, peer);
    const policy = SecurityPolicy[options.security];
    const secured = {
      securityMode: MessageSecurityMode.SignAndEncrypt,
      securityPolicy: policy,
      serverCertificate: certificate,
    };
    const link = await Link.#openWith(settings, { ...common, ...secured }, signal);
    try {
      if (isNew) await trust.pin(certificate, peer);
    } catch (cause) {
      // The session must not stay at the server, one more with each attempt.
      settings.leave(link.close());
      throw fail("certificate_not_kept", peer, `cannot keep the server's certificate: ${String(cause)}`, cause);
    }
    return link;
  }

  static async #openWith(settings: LinkSettings, security: OPCUAClientOptions, signal: AbortSignal): Promise<Link> {
    const { peer, options, timeout_ms, clock } = settings;
    const link = new Link(settings, security);
    const late = (): Error => fail("connect_timeout", peer, `no answer within ${timeout_ms} ms while connecting`);
    try {
      await within(link.#client.connect(options.endpoint), timeout_ms, clock, late, signal);
      link.#creating = link.#createSession();
      await within(link.#creating, timeout_ms, clock, late, signal);
      return link;
    } catch (cause) {
      settings.leave(link.close());
      throw signal.aborted ? aborted() : errorOf(cause, peer);
    }
  }

  async #createSession(): Promise<void> {
    const session = await this.#client.createSession(identityOf(this.#settings.options));
    this.#session = session;
    this.#token = session.authenticationToken ?? null;
    this.sessionTimeout_ms = session.timeout;
  }

  /** One service call. Rejects with ServiceRefused, RequestTimeout, or what broke the connection. */
  request<R extends ServiceResponse>(request: Request, signal?: AbortSignal): Promise<R> {
    const { timeout_ms, clock } = this.#settings;
    const answer = new Promise<R>((resolve, reject) => {
      // The caller knows which response belongs to its request; the channel's types do not.
      this.send(request, timeout_ms, (error, response) => (error ? reject(error) : resolve(response as R)));
    });
    return within(answer, timeout_ms, clock, () => new RequestTimeout(`no answer within ${timeout_ms} ms`), signal);
  }

  /** The same with a callback, for calls that stay open long (Publish). */
  send(
    request: Request,
    timeout_ms: number,
    done: (error: Error | null, response: ServiceResponse | null) => void,
  ): void {
    const channel = this.#channel;
    if (channel === null || this.#token === null || !channel.isOpened()) {
      done(new Error("connection closed"), null);
      return;
    }
    request.requestHeader.authenticationToken = this.#token;
    request.requestHeader.timeoutHint = timeout_ms;
    channel.performMessageTransaction(request, (error, response) => {
      // A ServiceFault comes as an error that carries the fault.
      const answered = response ?? (error as { response?: ServiceResponse } | null)?.response ?? null;
      const result = answered?.responseHeader.serviceResult;
      if (result !== undefined && result.value >= 0x8000_0000) done(new ServiceRefused(result.name), null);
      else if (error) done(error, null);
      else done(null, answered);
    });
  }

  /** Ends session (with its subscriptions), channel and socket; within seconds even where nobody answers. */
  close(): Promise<void> {
    return (this.#closing ??= this.#end());
  }

  async #end(): Promise<void> {
    const { clock } = this.#settings;
    let answers = true;
    // A session that the server has made must be ended there too, also one that nobody waits for any more.
    if (this.#creating !== null && this.#channel?.isOpened())
      answers = await settled(this.#creating, FAREWELL_MS, clock);
    if (answers && this.#session !== null && this.#channel?.isOpened()) {
      answers = await settled(this.#session.close(true), FAREWELL_MS, clock);
    }
    await hangUp(this.#client, this.#channel, answers, clock);
  }
}

async function clientOptions(settings: LinkSettings): Promise<OPCUAClientOptions> {
  const { options, peer, timeout_ms, session_ms, trust } = settings;
  return {
    applicationName: APPLICATION_NAME,
    clientName: `${APPLICATION_NAME} ${peer.device}`,
    certificateKeyPairProvider: await trust.own(filesOf(options)),
    connectionStrategy: { initialDelay: 100, maxDelay: 100, maxRetry: 0 },
    // The library means an idle socket by it, not a connection that takes long.
    transportTimeout: 2 * session_ms,
    defaultTransactionTimeout: timeout_ms,
    requestedSessionTimeout: session_ms,
    keepSessionAlive: false,
    // Servers behind NAT or with several names announce another URL than the one that leads to them.
    endpointMustExist: false,
    securityMode: MessageSecurityMode.None,
    securityPolicy: SecurityPolicy.None,
  };
}

function filesOf(options: OpcuaOptions): CertificateFiles | null {
  const { certificate, private_key } = options;
  return certificate !== undefined && private_key !== undefined ? { certificate, private_key } : null;
}

function identityOf(options: OpcuaOptions): UserIdentityInfo {
  const { user, password } = options;
  if (user === undefined) return { type: UserTokenType.Anonymous };
  return { type: UserTokenType.UserName, userName: user, password: password ?? "" };
}

/** The certificate of the wanted endpoint, asked for on an unsecured channel (Part 4, 5.5.4). */
async function discover(settings: LinkSettings, common: OPCUAClientOptions, signal: AbortSignal): Promise<Buffer> {
  const { options, peer, timeout_ms, clock } = settings;
  const client = OPCUAClient.create(common);
  let channel: ClientSecureChannelLayer | null = null;
  client.on("secure_channel_created", (created) => (channel = created));
  const late = (): Error =>
    fail("connect_timeout", peer, `no answer within ${timeout_ms} ms while asking for its endpoints`);
  try {
    await within(client.connect(options.endpoint), timeout_ms, clock, late, signal);
    const policy = SecurityPolicy[options.security];
    const endpoint = client.findEndpointForSecurity(MessageSecurityMode.SignAndEncrypt, policy);
    const certificate = endpoint?.serverCertificate ? leafOf(endpoint.serverCertificate) : null;
    if (certificate === null) {
      throw fail(
        "security_not_offered",
        peer,
        `the server offers no endpoint with ${options.security}, sign and encrypt`,
      );
    }
    return certificate;
  } catch (cause) {
    throw signal.aborted ? aborted() : errorOf(cause, peer);
  } finally {
    const farewell = hangUp(client, channel, true, clock);
    if (signal.aborted) settings.leave(farewell);
    else await farewell;
  }
}

/** Where nobody answers any more, the socket goes first: the library would wait for a goodbye. */
async function hangUp(
  client: OPCUAClient,
  channel: ClientSecureChannelLayer | null,
  answers: boolean,
  clock: Clock,
): Promise<void> {
  if (answers && (await settled(client.disconnect(), FAREWELL_MS, clock))) return;
  channel?.forceConnectionBreak();
  channel?.dispose();
  await settled(client.disconnect(), FAREWELL_MS, clock);
}
