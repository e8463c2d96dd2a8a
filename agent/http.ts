/** /metrics, /healthz, /readyz and /status for this machine: loopback unless the site file says otherwise. */
import { LinesideError, type Log } from "#adapters/contract.ts";
import { createServer, type Server, type ServerResponse } from "node:http";
import { figuresOf, prometheusText } from "./own.ts";
import type { AgentStatus, DeviceReadings } from "./status.ts";

/** Requests are tiny; whoever sends more is not meant. */
const HEADERS_BYTES_MAX = 8 * 1024;
const CONNECTIONS_MAX = 64;

export interface HttpView {
  status(): AgentStatus;
  readings(device: string): DeviceReadings | null;
  /** Empty when ready, else why not. */
  notReady(): string;
  /** Replaces secrets in what is shown: an error's text may quote one. */
  redact(text: string): string;
}

export interface HttpServer {
  readonly url: string;
  close(): Promise<void>;
}

/** Throws LinesideError `http_port` when the port cannot be had. */
export async function serveHttp(at: { host: string; port: number }, view: HttpView, log: Log): Promise<HttpServer> {
  const server = createServer({ maxHeaderSize: HEADERS_BYTES_MAX }, (request, response) => {
    if (request.method !== "GET" && request.method !== "HEAD") return reply(response, 405, "text/plain", "GET only\n");
    answer(pathOf(request.url ?? "/"), view, response);
  });
  server.maxConnections = CONNECTIONS_MAX;
  await listen(server, at);
  // Connections that cannot be taken (no file handles left) are no reason to end the agent.
  server.on("error", (error) => log.warn({ err: error }, `status page: ${error.message}`));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : at.port;
  const url = `http://${at.host.includes(":") ? `[${at.host}]` : at.host}:${port}`;
  log.info({ url }, `status and metrics at ${url}`);
  return {
    url,
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** The path, decoded; empty where it is none that we have: a request line is a stranger's text. */
function pathOf(url: string): string {
  const [path = ""] = url.split("?");
  try {
    return decodeURIComponent(path);
  } catch {
    return "";
  }
}

function answer(path: string, view: HttpView, response: ServerResponse): void {
  if (path === "/metrics") {
    return reply(response, 200, "text/plain; version=0.0.4; charset=utf-8", prometheusText(figuresOf(view.status())));
  }
  if (path === "/healthz") return reply(response, 200, "text/plain", "ok\n");
  if (path === "/readyz") {
    const why = view.notReady();
    return why === "" ? reply(response, 200, "text/plain", "ready\n") : reply(response, 503, "text/plain", `${why}\n`);
  }
  if (path === "/status") return reply(response, 200, "application/json", view.redact(toJson(view.status())));
  if (path.startsWith("/status/")) {
    const readings = view.readings(path.slice("/status/".length));
    if (readings !== null) return reply(response, 200, "application/json", view.redact(toJson(readings)));
  }
  reply(response, 404, "text/plain", "there are /metrics, /healthz, /readyz, /status and /status/DEVICE\n");
}

function reply(response: ServerResponse, code: number, type: string, body: string): void {
  response.writeHead(code, { "content-type": type, "content-length": Buffer.byteLength(body) });
  response.end(body);
}

/** JSON in which an int64 stays exact: beyond 2^53 it is written as text. */
export function toJson(value: unknown): string {
  return `${JSON.stringify(value, (_, one: unknown) =>
    typeof one === "bigint" ? (Number.isSafeInteger(Number(one)) ? Number(one) : String(one)) : one,
  )}\n`;
}

async function listen(server: Server, at: { host: string; port: number }): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const why = error.code === "EADDRINUSE" ? "another program listens there" : error.message;
      const what = `agent.http: cannot listen on ${at.host}:${at.port}: ${why}; choose another port, or \`http: false\``;
      reject(new LinesideError("http_port", what, { cause: error }));
    });
    server.listen(at.port, at.host, resolve);
  });
}
