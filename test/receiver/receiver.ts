/**
 * An OTLP receiver for the demo and the tests: gRPC and HTTP, protobuf and JSON, with and without TLS.
 *
 *   gRPC ─┐            ┌─▶ behaviour (outage, slow, throttled, ...) answers instead
 *   HTTP ─┴─▶ admit ───┴─▶ decode (protobufjs) ─▶ Book ─▶ success or partial success
 *
 * It shares nothing with the exporter: what it decodes is what a stranger would have decoded.
 */
import http from "node:http";
import https from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { promisify } from "node:util";
import zlib from "node:zlib";
import grpc from "@grpc/grpc-js";
import { Book, type BookOptions, type LogView, type SeriesView } from "./book.ts";
import { countLogs, countPoints } from "./count.ts";
import { decodeLogsRequest, decodeMetricsRequest, encodeMessage, type OtlpRequest } from "./proto.ts";

export type Signal = "metrics" | "logs";

/** What the receiver does instead of taking a request. */
export type Behaviour =
  /** HTTP 503, gRPC UNAVAILABLE. */
  | { readonly kind: "unavailable" }
  /** HTTP 429 with Retry-After (a number of seconds, or any text); gRPC RESOURCE_EXHAUSTED with RetryInfo. */
  | { readonly kind: "throttled"; readonly retry_after: number | string }
  /** HTTP 413; gRPC RESOURCE_EXHAUSTED without RetryInfo. */
  | { readonly kind: "too_large" }
  /** HTTP 400, gRPC INVALID_ARGUMENT. */
  | { readonly kind: "refused" }
  /** HTTP 401, gRPC UNAUTHENTICATED. */
  | { readonly kind: "unauthenticated" }
  /** Any other answer. */
  | {
      readonly kind: "status";
      readonly http: number;
      readonly grpc: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  /** Takes it, and answers with a partial success. */
  | { readonly kind: "partial"; readonly rejected: number; readonly message: string }
  /** Takes it, and answers so much later. */
  | { readonly kind: "slow"; readonly delay_ms: number }
  /** Takes nothing and never answers. */
  | { readonly kind: "silent" }
  /** Closes the connection without an answer (over gRPC: UNAVAILABLE). */
  | { readonly kind: "disconnect" };

export interface ReceiverOptions extends BookOptions {
  readonly host?: string;
  /** 0 takes a free port (the default), null serves no gRPC. */
  readonly grpc_port?: number | null;
  /** 0 takes a free port (the default), null serves no HTTP. */
  readonly http_port?: number | null;
  /** PEM texts; with `client_ca`, clients must show a certificate signed by it. */
  readonly tls?: { readonly key: string; readonly certificate: string; readonly client_ca?: string };
  /** count: only counts points and records, for benchmarks. */
  readonly mode?: "decode" | "count";
  /** Larger requests get 413 or RESOURCE_EXHAUSTED. Default: 64 MiB. */
  readonly bytes_max?: number;
  /** Requests kept for `requests()`, the oldest go first. Default: 0. */
  readonly requests_kept?: number;
}

export interface Totals {
  /** Requests that arrived, whatever became of them, and those that were taken. */
  readonly requests: number;
  readonly accepted: number;
  readonly metrics_requests: number;
  readonly logs_requests: number;
  /** Bytes of bodies after decompression. */
  readonly bytes: number;
  readonly points: number;
  readonly points_without_value: number;
  readonly logs: number;
  readonly series: number;
  readonly duplicates: number;
  readonly order_violations: number;
  readonly gaps: number;
}

export interface KeptRequest {
  readonly signal: Signal;
  readonly protocol: "grpc" | "http/protobuf" | "http/json";
  readonly headers: Readonly<Record<string, string>>;
  readonly body: OtlpRequest;
  readonly accepted: boolean;
}

export interface Receiver {
  readonly grpc_port: number;
  readonly http_port: number;
  /** Site file endpoints; empty where that protocol is not served. */
  readonly grpc_endpoint: string;
  readonly http_endpoint: string;
  totals(): Totals;
  series(): SeriesView[];
  logs(): readonly LogView[];
  requests(): readonly KeptRequest[];
  /** HTTP connections open now. */
  connections(): number;
  /** Does this with the next `times` requests (all, by default) of one signal or both; null ends it. */
  behave(behaviour: Behaviour | null, limits?: { readonly times?: number; readonly only?: Signal }): void;
  /** Closes the listeners and drops all connections, or opens them again on the same ports. */
  setOutage(on: boolean): Promise<void>;
  isOut(): boolean;
  /** Forgets what it got. */
  clear(): void;
  stop(): Promise<void>;
}

interface Reply {
  readonly grpc: number;
  readonly http: number;
  readonly message: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Seconds, where the client shall wait: RetryInfo. */
  readonly retry_s: number | null;
  readonly partial: { readonly rejected: number; readonly message: string } | null;
  readonly raw: string | null;
  readonly never: boolean;
  readonly disconnect: boolean;
  readonly delay_ms: number;
}

const GRPC_OK: number = grpc.status.OK;
const OK: Reply = {
  grpc: GRPC_OK,
  http: 200,
  message: "",
  headers: {},
  retry_s: null,
  partial: null,
  raw: null,
  never: false,
  disconnect: false,
  delay_ms: 0,
};
const PATHS: Readonly<Record<string, Signal>> = { "/v1/metrics": "metrics", "/v1/logs": "logs" };
const SERVICES: Readonly<Record<Signal, string>> = {
  metrics: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
  logs: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
};
const gunzip = promisify(zlib.gunzip);
const zstd = promisify(zlib.zstdDecompress);

export async function startReceiver(options: ReceiverOptions = {}): Promise<Receiver> {
  const receiver = new OtlpReceiver(options);
  await receiver.open();
  return receiver;
}

class OtlpReceiver implements Receiver {
  grpc_port: number;
  http_port: number;
  readonly #options: ReceiverOptions;
  readonly #host: string;
  readonly #bytes_max: number;
  readonly #book: Book;
  readonly #kept: KeptRequest[] = [];
  readonly #sockets = new Set<Socket>();
  #grpc: grpc.Server | null = null;
  #http: http.Server | null = null;
  #behaviour: Behaviour | null = null;
  #times = Infinity;
  #only: Signal | null = null;
  #out = false;
  #stopped = false;
  #requests = 0;
  #accepted = 0;
  #by_signal = { metrics: 0, logs: 0 };
  #bytes = 0;

  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.#host = options.host ?? "127.0.0.1";
    this.#bytes_max = options.bytes_max ?? 64 * 1024 * 1024;
    this.#book = new Book(options);
    this.grpc_port = options.grpc_port ?? 0;
    this.http_port = options.http_port ?? 0;
  }

  get grpc_endpoint(): string {
    return this.#options.grpc_port === null ? "" : `${this.#scheme()}://${this.#host}:${this.grpc_port}`;
  }

  get http_endpoint(): string {
    return this.#options.http_port === null ? "" : `${this.#scheme()}://${this.#host}:${this.http_port}`;
  }

  totals(): Totals {
    const { points, points_without_value, logs } = this.#book;
    return {
      requests: this.#requests,
      accepted: this.#accepted,
      metrics_requests: this.#by_signal.metrics,
      logs_requests: this.#by_signal.logs,
      bytes: this.#bytes,
      points,
      points_without_value,
      logs,
      ...this.#book.sums(),
    };
  }

  series(): SeriesView[] {
    return this.#book.series();
  }

  logs(): readonly LogView[] {
    return this.#book.kept();
  }

  requests(): readonly KeptRequest[] {
    return this.#kept;
  }

  connections(): number {
    return this.#sockets.size;
  }

  behave(behaviour: Behaviour | null, limits: { readonly times?: number; readonly only?: Signal } = {}): void {
    this.#behaviour = behaviour;
    this.#times = limits.times ?? Infinity;
    this.#only = limits.only ?? null;
  }

  isOut(): boolean {
    return this.#out;
  }

  async setOutage(on: boolean): Promise<void> {
    if (on === this.#out || this.#stopped) return;
    this.#out = on;
    if (on) await this.#close();
    else await this.open();
  }

  clear(): void {
    this.#book.clear();
    this.#kept.length = 0;
    this.#requests = this.#accepted = this.#bytes = 0;
    this.#by_signal = { metrics: 0, logs: 0 };
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#close();
  }

  async open(): Promise<void> {
    if (this.#options.grpc_port !== null) await this.#openGrpc();
    if (this.#options.http_port !== null) await this.#openHttp();
  }

  async #close(): Promise<void> {
    const server = this.#http;
    this.#grpc?.forceShutdown();
    this.#grpc = null;
    this.#http = null;
    for (const socket of this.#sockets) socket.destroy();
    if (server) await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  #scheme(): string {
    return this.#options.tls ? "https" : "http";
  }

  /** What to answer, decided before the body is looked at. */
  #replyTo(signal: Signal): Reply {
    const behaviour = this.#behaviour;
    if (behaviour === null || this.#times <= 0 || (this.#only !== null && this.#only !== signal)) return OK;
    this.#times--;
    switch (behaviour.kind) {
      case "unavailable":
        return { ...OK, grpc: grpc.status.UNAVAILABLE, http: 503, message: "down for maintenance" };
      case "throttled": {
        const { retry_after } = behaviour;
        return {
          ...OK,
          grpc: grpc.status.RESOURCE_EXHAUSTED,
          http: 429,
          message: "slow down",
          headers: { "retry-after": String(retry_after) },
          retry_s: typeof retry_after === "number" ? retry_after : null,
        };
      }
      case "too_large":
        return { ...OK, grpc: grpc.status.RESOURCE_EXHAUSTED, http: 413, message: "message too large" };
      case "refused":
        return { ...OK, grpc: grpc.status.INVALID_ARGUMENT, http: 400, message: "not acceptable" };
      case "unauthenticated":
        return { ...OK, grpc: grpc.status.UNAUTHENTICATED, http: 401, message: "who are you" };
      case "status":
        return {
          ...OK,
          grpc: behaviour.grpc,
          http: behaviour.http,
          message: `status ${behaviour.http}`,
          headers: behaviour.headers ?? {},
          raw: behaviour.body ?? null,
        };
      case "partial":
        return { ...OK, partial: { rejected: behaviour.rejected, message: behaviour.message } };
      case "slow":
        return { ...OK, delay_ms: behaviour.delay_ms };
      case "silent":
        return { ...OK, never: true };
      case "disconnect":
        return { ...OK, grpc: grpc.status.UNAVAILABLE, http: 0, message: "gone", disconnect: true };
    }
  }

  /** Decodes and remembers a request; throws where it is not OTLP. */
  #take(
    signal: Signal,
    protocol: KeptRequest["protocol"],
    headers: Readonly<Record<string, string>>,
    body: Buffer,
    accept: boolean,
  ): void {
    this.#by_signal[signal]++;
    this.#bytes += body.length;
    if (this.#options.mode === "count") {
      if (!accept) return;
      if (signal === "metrics") this.#book.points += countPoints(body);
      else this.#book.logs += countLogs(body);
      this.#accepted++;
      return;
    }
    const keep = this.#options.requests_kept ?? 0;
    if (!accept && keep === 0) return;
    const decode = signal === "metrics" ? decodeMetricsRequest : decodeLogsRequest;
    // JSON is taken for what it says it is: the Book reads every field as one that may be missing.
    const request = protocol === "http/json" ? (JSON.parse(body.toString()) as OtlpRequest) : decode(body);
    if (keep > 0) {
      this.#kept.push({ signal, protocol, headers, body: request, accepted: accept });
      if (this.#kept.length > keep) this.#kept.shift();
    }
    if (!accept) return;
    this.#accepted++;
    if (signal === "metrics") this.#book.takeMetrics(request);
    else this.#book.takeLogs(request);
  }

  async #openGrpc(): Promise<void> {
    const server = new grpc.Server({
      "grpc.max_receive_message_length": this.#bytes_max,
      "grpc.max_send_message_length": -1,
    });
    for (const signal of ["metrics", "logs"] as const) {
      const method: grpc.MethodDefinition<Buffer, Buffer> = {
        path: SERVICES[signal],
        requestStream: false,
        responseStream: false,
        requestSerialize: (bytes) => bytes,
        requestDeserialize: (bytes) => bytes,
        responseSerialize: (bytes) => bytes,
        responseDeserialize: (bytes) => bytes,
      };
      const handler: grpc.handleUnaryCall<Buffer, Buffer> = (call, callback) => this.#onCall(signal, call, callback);
      server.addService({ export: method }, { export: handler });
    }
    const { tls } = this.#options;
    const credentials = tls
      ? grpc.ServerCredentials.createSsl(
          tls.client_ca === undefined ? null : Buffer.from(tls.client_ca),
          [{ private_key: Buffer.from(tls.key), cert_chain: Buffer.from(tls.certificate) }],
          tls.client_ca !== undefined,
        )
      : grpc.ServerCredentials.createInsecure();
    this.grpc_port = await promisify(server.bindAsync.bind(server))(`${this.#host}:${this.grpc_port}`, credentials);
    this.#grpc = server;
  }

  #onCall(signal: Signal, call: grpc.ServerUnaryCall<Buffer, Buffer>, callback: grpc.sendUnaryData<Buffer>): void {
    this.#requests++;
    const reply = this.#replyTo(signal);
    if (reply.never) return;
    const headers = Object.fromEntries(
      Object.entries(call.metadata.getMap()).map(([key, value]) => [key, String(value)]),
    );
    try {
      this.#take(signal, "grpc", headers, call.request, reply.grpc === GRPC_OK);
    } catch (error) {
      callback({ code: grpc.status.INVALID_ARGUMENT, details: String(error) });
      return;
    }
    const answer = (): void => {
      if (reply.grpc === GRPC_OK) return callback(null, responseBytes(signal, reply));
      const metadata = new grpc.Metadata();
      if (reply.retry_s !== null) metadata.set("grpc-status-details-bin", statusBytes(reply));
      callback({ code: reply.grpc, details: reply.message, metadata });
    };
    if (reply.delay_ms > 0) setTimeout(answer, reply.delay_ms);
    else answer();
  }

  async #openHttp(): Promise<void> {
    const { tls } = this.#options;
    const listener: http.RequestListener = (request, response) => {
      void this.#onRequest(request, response).catch((error: unknown) => {
        if (!response.headersSent) response.writeHead(400, { "content-type": "text/plain" });
        response.end(String(error));
      });
    };
    const server = tls
      ? https.createServer(
          {
            key: tls.key,
            cert: tls.certificate,
            ca: tls.client_ca,
            requestCert: tls.client_ca !== undefined,
            rejectUnauthorized: true,
          },
          listener,
        )
      : http.createServer(listener);
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.http_port, this.#host, resolve);
    });
    // A TCP server's address has a port.
    this.http_port = (server.address() as AddressInfo).port;
    this.#http = server;
  }

  async #onRequest(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const signal = PATHS[request.url ?? ""];
    if (!signal || request.method !== "POST") {
      request.resume();
      response.writeHead(signal ? 405 : 404).end();
      return;
    }
    this.#requests++;
    const reply = this.#replyTo(signal);
    const body = await readBody(request, this.#bytes_max);
    if (reply.never) return;
    if (reply.disconnect) return void request.socket.destroy();
    if (body === null) return void response.writeHead(413, { connection: "close" }).end();
    const json = (request.headers["content-type"] ?? "").startsWith("application/json");
    const type = json ? "application/json" : "application/x-protobuf";
    const headers = Object.fromEntries(Object.entries(request.headers).map(([key, value]) => [key, String(value)]));
    this.#take(signal, json ? "http/json" : "http/protobuf", headers, body, reply.http >= 200 && reply.http < 300);
    if (reply.delay_ms > 0) await new Promise((resolve) => setTimeout(resolve, reply.delay_ms));
    const ok = reply.http === 200;
    const bytes =
      reply.raw !== null
        ? Buffer.from(reply.raw)
        : json
          ? Buffer.from(
              JSON.stringify(ok ? responseObject(signal, reply) : { code: reply.grpc, message: reply.message }),
            )
          : ok
            ? responseBytes(signal, reply)
            : statusBytes(reply);
    response.writeHead(reply.http, { "content-type": type, ...reply.headers }).end(bytes);
  }
}

/** The body, decompressed; null where it is larger than allowed. */
async function readBody(request: http.IncomingMessage, bytes_max: number): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size <= bytes_max) chunks.push(chunk);
  }
  if (size > bytes_max) return null;
  const body = chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks);
  const limits = { maxOutputLength: bytes_max };
  try {
    if (request.headers["content-encoding"] === "gzip") return await gunzip(body, limits);
    if (request.headers["content-encoding"] === "zstd") return await zstd(body, limits);
    return body;
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function responseObject(signal: Signal, { partial }: Reply): object {
  if (partial === null) return {};
  const rejected = signal === "metrics" ? "rejectedDataPoints" : "rejectedLogRecords";
  return { partialSuccess: { [rejected]: String(partial.rejected), errorMessage: partial.message } };
}

function responseBytes(signal: Signal, reply: Reply): Buffer {
  const name = signal === "metrics" ? "ExportMetricsServiceResponse" : "ExportLogsServiceResponse";
  return encodeMessage(name, responseObject(signal, reply));
}

/** google.rpc.Status, with RetryInfo where the client shall wait. */
function statusBytes(reply: Reply): Buffer {
  const details: object[] = [];
  if (reply.retry_s !== null) {
    const seconds = Math.floor(reply.retry_s);
    const value = encodeMessage("RetryInfo", {
      retryDelay: { seconds, nanos: Math.round((reply.retry_s - seconds) * 1e9) },
    });
    details.push({ type_url: "type.googleapis.com/google.rpc.RetryInfo", value });
  }
  return encodeMessage("Status", { code: reply.grpc, message: reply.message, details });
}
