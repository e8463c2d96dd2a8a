/** What the two transports have in common: a body goes out, an Outcome comes back, nothing rejects. */
import type { Outcome } from "../../../contract.ts";
import type { Signal } from "../map/encode.ts";

/** Largest request that is ever sent (OTLP exporter default), and largest answer that is read. */
export const REQUEST_BYTES_MAX = 64 * 1024 * 1024;
export const RESPONSE_BYTES_MAX = 4 * 1024 * 1024;

export interface Transport {
  /**
   * Sends one request. `whole` is false where it was given up before the receiver had it all, so that
   * the bytes of `body` may still be read for a while.
   */
  send(signal: Signal, body: Buffer, abort: AbortSignal): Promise<Sent>;
  close(): Promise<void>;
}

export interface Sent {
  readonly outcome: Outcome;
  readonly whole: boolean;
}

/** PEM texts, read once at start. */
export interface TlsFiles {
  readonly ca: Buffer | null;
  readonly certificate: Buffer | null;
  readonly private_key: Buffer | null;
  readonly server_name: string | null;
}
