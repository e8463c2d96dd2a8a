/**
 * OTLP/gRPC over grpc-js: one unary call a request, of bytes that are encoded already.
 *
 * The agent owns retries and their timing, so every attempt is a real one: the channel's own retries
 * are off, and after a failed call the channel is thrown away, for a channel that waits out its backoff
 * (up to 120 s by default) or sits on a dead connection would fail calls that could succeed.
 */
import grpc from "@grpc/grpc-js";
import type { Clock, Outcome } from "../../../contract.ts";
import type { Signal } from "../map/encode.ts";
import { deliveredOutcome, grpcOutcome } from "./outcome.ts";
import { partialSuccess, statusDetails } from "./response.ts";
import { REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, type Sent, type TlsFiles, type Transport } from "./transport.ts";

const PATHS: Readonly<Record<Signal, string>> = {
  metrics: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
  logs: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
};

export interface GrpcOptions {
  readonly clock: Clock;
  /** http or https. */
  readonly endpoint: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly gzip: boolean;
  readonly timeout_ms: number;
  readonly tls: TlsFiles | null;
}

const asIs = (bytes: Buffer): Buffer => bytes;

export class GrpcTransport implements Transport {
  readonly #options: GrpcOptions;
  readonly #credentials: grpc.ChannelCredentials;
  readonly #channel_options: grpc.ChannelOptions;
  readonly #metadata = new grpc.Metadata();
  #client: grpc.Client | null = null;
  /** Ends what the channel of `#client` may still connect. */
  #ended = new AbortController();

  constructor(options: GrpcOptions) {
    this.#options = options;
    const { tls, endpoint } = options;
    // Its own lines on the console would break the format of ours; every failure comes back as a status.
    grpc.setLogVerbosity(grpc.logVerbosity.NONE);
    this.#credentials =
      endpoint.protocol === "https:"
        ? grpc.credentials.createSsl(tls?.ca ?? null, tls?.private_key ?? null, tls?.certificate ?? null)
        : grpc.credentials.createInsecure();
    for (const [key, value] of Object.entries(options.headers)) this.#metadata.set(key, value);
    this.#channel_options = {
      "grpc.default_compression_algorithm": options.gzip
        ? grpc.compressionAlgorithms.gzip
        : grpc.compressionAlgorithms.identity,
      "grpc.max_send_message_length": REQUEST_BYTES_MAX,
      "grpc.max_receive_message_length": RESPONSE_BYTES_MAX,
      "grpc.initial_reconnect_backoff_ms": 500,
      "grpc.max_reconnect_backoff_ms": 5_000,
      "grpc.keepalive_time_ms": 30_000,
      "grpc.keepalive_timeout_ms": 10_000,
      "grpc.enable_retries": 0,
      "grpc.enable_http_proxy": 0,
      "grpc.service_config_disable_resolution": 1,
      // A new channel must not inherit the backoff of the one that it replaces.
      "grpc.use_local_subchannel_pool": 1,
      ...(tls?.server_name && {
        "grpc.ssl_target_name_override": tls.server_name,
        "grpc.default_authority": tls.server_name,
      }),
    };
  }

  send(signal: Signal, body: Buffer, abort: AbortSignal): Promise<Sent> {
    if (abort.aborted) return Promise.resolve({ outcome: { kind: "retry", reason: "aborted" }, whole: true });
    const { clock, endpoint, timeout_ms } = this.#options;
    const port = endpoint.port || (endpoint.protocol === "https:" ? "443" : "80");
    const client = (this.#client ??= new grpc.Client(
      `${endpoint.hostname}:${port}`,
      endingWith(this.#ended.signal, this.#credentials),
      this.#channel_options,
    ));
    return new Promise((resolve) => {
      let gave_up: string | null = null;
      const call = client.makeUnaryRequest(
        PATHS[signal],
        asIs,
        asIs,
        body,
        this.#metadata.clone(),
        (error, response) => {
          cancelTimer();
          abort.removeEventListener("abort", onAbort);
          if (error === null)
            return resolve({ outcome: deliveredOutcome(partialSuccess(response ?? Buffer.alloc(0))), whole: true });
          this.#drop(client);
          const outcome: Outcome = gave_up === null ? outcomeOf(signal, error) : { kind: "retry", reason: gave_up };
          resolve({ outcome, whole: false });
        },
      );
      const giveUp = (reason: string): void => {
        gave_up = reason;
        call.cancel();
      };
      const onAbort = (): void => giveUp("aborted");
      abort.addEventListener("abort", onAbort, { once: true });
      // Ours, not a gRPC deadline: that one is wall time, which may jump while the clock is being set.
      const cancelTimer = clock.after(timeout_ms, () => giveUp(`no answer within ${timeout_ms} ms`));
    });
  }

  close(): Promise<void> {
    if (this.#client !== null) this.#drop(this.#client);
    return Promise.resolve();
  }

  #drop(client: grpc.Client): void {
    client.close();
    if (this.#client !== client) return;
    this.#client = null;
    this.#ended.abort();
    this.#ended = new AbortController();
  }
}

/**
 * Credentials that let nothing be connected any more once `ended`. A channel that is closed in its pause
 * between two attempts goes on to the next one (grpc-js 1.14, Subchannel.continueConnecting), and where
 * that succeeds it holds a connection that nobody closes: one for each time that a receiver comes back.
 */
function endingWith(ended: AbortSignal, credentials: grpc.ChannelCredentials): grpc.ChannelCredentials {
  const guarded = Object.create(credentials) as grpc.ChannelCredentials; // All that it does not change is theirs.
  // oxlint-disable-next-line no-underscore-dangle -- its name in grpc-js, where it is public
  guarded._createSecureConnector = (...given) => {
    // oxlint-disable-next-line no-underscore-dangle -- the same
    const connector = credentials._createSecureConnector(...given);
    const connect = connector.connect.bind(connector);
    connector.connect = async (socket) => {
      // Whoever asked closes the socket where this rejects.
      if (ended.aborted) throw new Error("the channel is closed");
      return await connect(socket);
    };
    return connector;
  };
  return guarded;
}

function outcomeOf(signal: Signal, error: grpc.ServiceError): Outcome {
  const [packed] = error.metadata.get("grpc-status-details-bin");
  const details = Buffer.isBuffer(packed) ? statusDetails(packed) : null;
  return grpcOutcome(signal, error.code, plain(error.details) || (details?.message ?? ""), details);
}

/** Without what grpc-js wraps around the cause: "No connection established. Last error: Error: ... Resolution note: ". */
const plain = (text: string): string =>
  text.replace(/^No connection established\. Last error: (?:Error: )?/, "").replace(/\.?\s*Resolution note:\s*$/, "");
