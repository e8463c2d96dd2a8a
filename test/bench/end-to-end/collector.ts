/**
 * The OTLP receiver, a process of its own, that only counts.
 *
 *   collector.ts ──▶ { http_port, grpc_port }; on any message ──▶ Received       ends with its parent
 */
import { subscribe } from "node:diagnostics_channel";
import type { IncomingMessage } from "node:http";
import { startReceiver } from "#test/receiver/receiver.ts";

export interface Received {
  readonly points: number;
  /** Bodies after decompression, and those of HTTP as they came. */
  readonly bytes: number;
  readonly http_bytes: number;
}

let http_bytes = 0;
subscribe("http.server.request.start", (message) => {
  // As documented for this channel.
  const { request } = message as { request: IncomingMessage };
  http_bytes += Number(request.headers["content-length"] ?? 0);
});

const receiver = await startReceiver({ mode: "count" });
process.on("disconnect", () => process.exit());
process.on("message", () => {
  const { points, bytes } = receiver.totals();
  process.send?.({ points, bytes, http_bytes } satisfies Received);
});
process.send?.({ http_port: receiver.http_port, grpc_port: receiver.grpc_port });
