/**
 * OTLP target: a batch becomes at most two requests, metrics and then logs.
 *
 *   Batch ─▶ map/encode (pure) ─▶ bytes ─▶ transport (gRPC or HTTP) ─▶ Outcome of each ─▶ one Outcome
 *
 * Where one request was taken and the other has to be sent again, the batch remembers it: the same
 * Batch object, given again, sends only what is missing.
 */
import { type AdapterContext, type Batch, LinesideError, type Outcome, type Target } from "../../contract.ts";
import { type Encoder, jsonEncoder, protobufEncoder, type Signal } from "./map/encode.ts";
import { type OtlpOptions, protocolOf } from "./options.ts";
import { GrpcTransport } from "./transport/grpc.ts";
import { HttpTransport } from "./transport/http.ts";
import { readTls } from "./transport/tls.ts";
import { REQUEST_BYTES_MAX, type Transport } from "./transport/transport.ts";

/** The same warning of a receiver is logged once in so long. */
const WARN_EVERY_MS = 60_000;

type Delivered = Extract<Outcome, { kind: "delivered" }>;
/** What will not change by sending again. */
type Settled = Delivered | Extract<Outcome, { kind: "refused" }>;
/** `empty`: the batch has nothing for that signal. */
type Progress = Partial<Record<Signal, Settled | "empty">>;

/** Throws LinesideError `config` where endpoint, headers or the files that `options.tls` names cannot be used. */
export async function createTarget(options: OtlpOptions, context: AdapterContext): Promise<Target> {
  const endpoint = endpointOf(options.endpoint);
  const protocol = protocolOf(options.protocol, options.endpoint);
  checkHeaders(options.headers);
  const tls = await readTls(options.tls, options.endpoint);
  const encoding = { quality_attributes: options.quality_attributes, bytes_max: REQUEST_BYTES_MAX };
  const encoder = protocol === "http/json" ? jsonEncoder(encoding) : protobufEncoder(encoding);
  const common = { clock: context.clock, endpoint, headers: options.headers, timeout_ms: options.timeout, tls };
  if (protocol === "grpc") {
    return new OtlpTarget(encoder, new GrpcTransport({ ...common, gzip: options.compression === "gzip" }), context);
  }
  const { compression } = options;
  return new OtlpTarget(
    encoder,
    new HttpTransport({ ...common, compression, content_type: encoder.content_type }),
    context,
  );
}

function endpointOf(text: string): URL {
  if (!URL.canParse(text)) throw new LinesideError("config", `otlp: endpoint: ${text} is not a URL`);
  const endpoint = new URL(text);
  if (endpoint.username !== "" || endpoint.password !== "") {
    throw new LinesideError("config", "otlp: endpoint: user and password belong into headers.authorization");
  }
  return endpoint;
}

/** What both gRPC metadata and HTTP headers can carry. The value is a secret more often than not: it is not shown. */
function checkHeaders(headers: OtlpOptions["headers"]): void {
  for (const [name, value] of Object.entries(headers)) {
    if (/-bin$/i.test(name))
      throw new LinesideError("config", `otlp: headers.${name}: binary metadata (-bin) is not supported`);
    if (/^[\x20-\x7e]*$/.test(value)) continue;
    const what = /[\r\n]/.test(value) ? "a line break (a file that ends with a newline?)" : "a character beyond ASCII";
    throw new LinesideError("config", `otlp: headers.${name}: the value contains ${what}`);
  }
}

class OtlpTarget implements Target {
  readonly #encoder: Encoder;
  readonly #transport: Transport;
  readonly #context: AdapterContext;
  readonly #closing = new AbortController();
  readonly #progress = new WeakMap<Batch, Progress>();
  #last: Promise<unknown> = Promise.resolve();
  #warned = "";
  #warned_ms = 0;

  constructor(encoder: Encoder, transport: Transport, context: AdapterContext) {
    this.#encoder = encoder;
    this.#transport = transport;
    this.#context = context;
  }

  /** One at a time: a second call waits for the first, for they encode into the same memory. */
  deliver(batch: Batch, signal: AbortSignal): Promise<Outcome> {
    const outcome = this.#last.then(() => this.#deliver(batch, signal));
    this.#last = outcome.catch(() => {});
    return outcome;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#last;
    await this.#transport.close();
  }

  async #deliver(batch: Batch, signal: AbortSignal): Promise<Outcome> {
    const abort = AbortSignal.any([signal, this.#closing.signal]);
    let progress = this.#progress.get(batch);
    if (!progress) this.#progress.set(batch, (progress = {}));
    for (const name of ["metrics", "logs"] as const) {
      if (progress[name] !== undefined) continue;
      if (abort.aborted) return { kind: "retry", reason: "aborted" };
      const body = this.#encoder.encode(name, batch);
      if (body === "too_large")
        return { kind: "too_large", reason: `${name} request above ${REQUEST_BYTES_MAX} bytes` };
      if (body === null) {
        progress[name] = "empty";
        continue;
      }
      const { outcome, whole } = await this.#transport.send(name, body, abort);
      if (!whole) this.#encoder.forget();
      if (outcome.kind === "retry" || outcome.kind === "too_large")
        return { ...outcome, reason: `${name}: ${outcome.reason}` };
      progress[name] = outcome;
    }
    // Settled: who gives the batch once more wants it sent once more.
    this.#progress.delete(batch);
    const outcome = combined(batch, progress);
    if (outcome.kind === "delivered" && outcome.reason !== undefined) this.#warn(outcome);
    return outcome;
  }

  #warn(outcome: Delivered): void {
    const { clock, log } = this.#context;
    const reason = outcome.reason ?? "";
    const now_ms = clock.monotonic_ms();
    if (reason === this.#warned && now_ms - this.#warned_ms < WARN_EVERY_MS) return;
    this.#warned = reason;
    this.#warned_ms = now_ms;
    log.warn({ rejected: outcome.rejected, reason }, "the receiver did not take everything");
  }
}

/** Both requests are settled: what became of the batch as a whole. */
function combined(batch: Batch, { metrics = "empty", logs = "empty" }: Progress): Outcome {
  if (metrics === "empty") return logs === "empty" ? { kind: "delivered", rejected: 0 } : bounded(batch, "logs", logs);
  // The numbers are what matters: refused, the whole batch goes where refused batches are kept.
  if (metrics.kind === "refused" || logs === "empty") return bounded(batch, "metrics", metrics);
  // A receiver of metrics alone must not cost them: the texts are counted as rejected.
  const rejected_logs = logs.kind === "refused" ? textReadings(batch) : logs.rejected;
  const reasons = [named("metrics", metrics).reason, named("logs", logs).reason].filter(
    (reason) => reason !== undefined,
  );
  const rejected = Math.min(metrics.rejected + rejected_logs, batch.readings);
  return reasons.length === 0
    ? { kind: "delivered", rejected }
    : { kind: "delivered", rejected, reason: reasons.join("; ") };
}

/** Receivers count data points and log records; a state has several, an event is no reading. */
function bounded(batch: Batch, name: Signal, outcome: Settled): Settled {
  const told = named(name, outcome);
  return told.kind === "refused" ? told : { ...told, rejected: Math.min(told.rejected, batch.readings) };
}

function named(name: Signal, outcome: Settled): Settled {
  return outcome.reason === undefined ? outcome : { ...outcome, reason: `${name}: ${outcome.reason}` };
}

function textReadings(batch: Batch): number {
  let texts = 0;
  for (const { descriptor, frame } of batch.frames) {
    for (let row = 0; row < frame.count; row++) {
      if (descriptor.series[frame.points[row] ?? -1]?.value === "text") texts++;
    }
  }
  return texts;
}
