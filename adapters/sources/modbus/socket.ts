/** A TCP connection that reads into one buffer of its own: no allocation per read. */
import net from "node:net";
import { type Clock, LinesideError } from "../../contract.ts";
import { aborted } from "./aborted.ts";

export interface SocketOptions {
  readonly host: string;
  readonly port: number;
  readonly connect_timeout_ms: number;
}

export interface SocketEvents {
  /** Bytes from 0 to `count` of the buffer that `buffer` gave; lent until this returns. */
  readonly bytes: (count: number) => void;
  readonly lost: (error: LinesideError) => void;
}

/** Of an idle peer that vanished without a word, the kernel tells after this and its probes. */
const KEEP_ALIVE_MS = 30_000;

/** Opens a connection. Rejects with a LinesideError, code `aborted` once the signal does. */
export function openSocket(
  options: SocketOptions,
  clock: Clock,
  buffer: Uint8Array,
  events: SocketEvents,
  signal: AbortSignal,
): Promise<net.Socket> {
  const where = `${options.host}:${options.port}`;
  return new Promise((resolve, reject) => {
    const socket = net.connect({
      host: options.host,
      port: options.port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_MS,
      onread: {
        buffer,
        callback: (count) => {
          events.bytes(count);
          return true;
        },
      },
    });
    let cause: NodeJS.ErrnoException | null = null;
    let connected = false;
    const cancel = clock.after(options.connect_timeout_ms, () => {
      const waited = `no connection to ${where} within ${options.connect_timeout_ms} ms`;
      fail(new LinesideError("connect_timeout", `${waited}: is the device on, and the address right?`));
    });
    const abort = (): void => fail(aborted(`connecting to ${where}`, signal.reason));
    const settle = (): void => {
      cancel();
      signal.removeEventListener("abort", abort);
    };
    const fail = (error: LinesideError): void => {
      settle();
      socket.destroy();
      reject(error);
    };
    socket.on("error", (error) => (cause = error));
    socket.on("close", () => {
      if (connected) events.lost(lostError(where, cause));
      else fail(connectError(where, cause));
    });
    socket.on("connect", () => {
      connected = true;
      settle();
      resolve(socket);
    });
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}

/** Ends a connection at once and waits until it has. */
export function closeSocket(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) return resolve();
    socket.once("close", () => resolve());
    socket.destroy();
  });
}

const CONNECT_CODES: Readonly<Record<string, readonly [code: string, advice: string]>> = {
  ECONNREFUSED: ["connect_refused", "nothing listens there, or it has no room for another client"],
  ETIMEDOUT: ["connect_timeout", "is the device on, and the address right?"],
  EHOSTUNREACH: ["host_unreachable", "no way there: check cable, address and route"],
  ENETUNREACH: ["host_unreachable", "no way there: check cable, address and route"],
  ENOTFOUND: ["host_unknown", "no such name"],
  EAI_AGAIN: ["host_unknown", "the name server does not answer"],
};

function connectError(where: string, cause: NodeJS.ErrnoException | null): LinesideError {
  const system = cause?.code ?? "";
  const [code, advice] = CONNECT_CODES[system] ?? ["connect_failed", cause?.message ?? "closed while connecting"];
  return new LinesideError(code, `cannot connect to ${where}: ${advice}`, { cause });
}

function lostError(where: string, cause: Error | null): LinesideError {
  const how = cause === null ? "the other side closed it" : cause.message;
  return new LinesideError("link_lost", `connection to ${where} lost: ${how}`, { cause });
}
