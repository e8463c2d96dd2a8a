/** The two encodings of OTLP behind one shape, so that transports need not know which one they carry. */
import type { Batch } from "../../../contract.ts";
import { JsonEncoder } from "./json.ts";
import { LogsEncoder } from "./logs.ts";
import { MetricsEncoder } from "./metrics.ts";

export type Signal = "metrics" | "logs";

export interface EncodeOptions {
  /** Whether readings that are not good carry their quality and reason as attributes. */
  readonly quality_attributes: boolean;
  /** Requests above this are not built. */
  readonly bytes_max: number;
}

export interface Encoder {
  readonly content_type: "application/x-protobuf" | "application/json";
  /**
   * The body of one request; null where the batch has nothing for that signal, `too_large` where it
   * would exceed `bytes_max`. The memory is used again by the next call.
   */
  encode(signal: Signal, batch: Batch): Buffer | null | "too_large";
  /** The bytes given last stay as they are: a request that was given up may still be reading them. */
  forget(): void;
}

export function protobufEncoder(options: EncodeOptions): Encoder {
  const metrics = new MetricsEncoder(options);
  const logs = new LogsEncoder(options);
  return {
    content_type: "application/x-protobuf",
    encode: (signal, batch) => (signal === "metrics" ? metrics.encode(batch) : logs.encode(batch)),
    forget: () => {
      metrics.forget();
      logs.forget();
    },
  };
}

export function jsonEncoder(options: EncodeOptions): Encoder {
  const json = new JsonEncoder(options);
  return {
    content_type: "application/json",
    encode: (signal, batch) => (signal === "metrics" ? json.metrics(batch) : json.logs(batch)),
    // Every JSON request has memory of its own.
    forget: () => {},
  };
}
