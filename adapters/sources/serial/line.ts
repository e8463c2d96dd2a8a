/**
 * The way to the device: a serial port of this machine, or a TCP socket of a serial device server.
 * Bytes in, bytes out, and one word when it is over; nothing here knows what the bytes mean.
 */
import { connect as connectSocket, type Socket } from "node:net";
import { SerialPort } from "serialport";
import { type Clock, LinesideError } from "../../contract.ts";
import { mendHangup } from "../../hangup.ts";
import type { SerialOptions } from "./options.ts";

export interface Line {
  /** False where so much is still unsent that the other side has stopped taking it. */
  write(bytes: Uint8Array): boolean;
  close(): Promise<void>;
}

export interface LineEvents {
  readonly data: (bytes: Uint8Array) => void;
  /** Said once, never after close; while the line is still being opened, opening also rejects. */
  readonly lost: (error: LinesideError) => void;
}

/** Requests are short: so much unsent means that nobody reads. */
const UNSENT_BYTES_MAX = 4096;
const CONNECT_TIMEOUT_MS = 3000;
/** A device server that has gone without a word is noticed by the system within minutes. */
const KEEP_ALIVE_MS = 10_000;

/** What tells lines apart, for people and for the check that nobody else uses this one. */
export function lineName(options: SerialOptions): string {
  return "port" in options ? options.port : `${options.host}:${options.tcp_port}`;
}

/** Rejects with a LinesideError; at once when `signal` aborts. */
export function openLine(options: SerialOptions, events: LineEvents, clock: Clock, signal: AbortSignal): Promise<Line> {
  if (signal.aborted) return Promise.reject(aborted(options));
  return "port" in options ? openPort(options, events, signal) : openSocket(options, events, clock, signal);
}

const aborted = (options: SerialOptions) =>
  new LinesideError("aborted", `connecting to ${lineName(options)} was given up`);

// --- Serial ports ------------------------------------------------------------------------------------

type PortOptions = Extract<SerialOptions, { port: string }>;

async function openPort(options: PortOptions, events: LineEvents, signal: AbortSignal): Promise<Line> {
  const { port: path } = options;
  const port = new SerialPort({
    path,
    baudRate: options.baud ?? 9600,
    dataBits: options.data_bits ?? 8,
    parity: options.parity ?? "none",
    stopBits: options.stop_bits ?? 1,
    autoOpen: false,
  });
  mendHangup(port);
  const opened = new Promise<void>((resolve, reject) => {
    port.open((error) => (error ? reject(portError(path, error)) : resolve()));
  });
  await unlessAborted(opened, signal, () => {
    // Opening cannot be taken back: it is closed as soon as it is through.
    opened.then(
      () => port.close(() => {}),
      () => {},
    );
    return aborted(options);
  });

  let over = false;
  const losses: LinesideError[] = [];
  const end = (error: LinesideError) => {
    if (over) return;
    over = true;
    losses.push(error);
    if (port.isOpen) port.close(() => {});
    events.lost(error);
  };
  const unplugged = (cause?: Error | null) =>
    new LinesideError("link_lost", `${path} is gone: the adapter was unplugged or the line hung up`, { cause });
  port.on("error", (error) => end(unplugged(error)));
  port.on("close", (error: Error | null) => end(unplugged(error)));
  // What came while nobody had the port open is no answer to anything.
  await new Promise<void>((resolve) => port.flush(() => resolve()));
  const [loss] = losses;
  if (loss !== undefined) throw loss;
  port.on("data", (bytes: Buffer) => {
    if (!over) events.data(bytes);
  });
  return {
    write(bytes) {
      if (over || port.writableLength > UNSENT_BYTES_MAX) return false;
      port.write(bytes);
      return true;
    },
    async close() {
      over = true;
      if (port.isOpen) await new Promise<void>((resolve) => port.close(() => resolve()));
    },
  };
}

function portError(path: string, cause: Error): LinesideError {
  const { message } = cause;
  const fail = (code: string, what: string) => new LinesideError(code, `${path}: ${what}`, { cause });
  if (/no such (file|device)|ENOENT|ENXIO|ENODEV/i.test(message)) {
    return fail(
      "port_missing",
      "there is no such port; is the adapter plugged in? /dev/serial/by-id/ names what is there",
    );
  }
  if (/permission denied|EACCES|EPERM/i.test(message)) {
    return fail(
      "port_denied",
      "no permission; add the agent's user to the group of the port: usermod -aG dialout USER",
    );
  }
  if (/lock|busy|EBUSY|EAGAIN|resource temporarily unavailable/i.test(message)) {
    return fail("port_busy", "another program has the port open; lsof names it");
  }
  return fail("port_failed", `cannot be opened as a serial port: ${message}`);
}

// --- Serial device servers -----------------------------------------------------------------------------

type SocketOptions = Extract<SerialOptions, { host: string }>;

async function openSocket(
  options: SocketOptions,
  events: LineEvents,
  clock: Clock,
  signal: AbortSignal,
): Promise<Line> {
  const { host, tcp_port } = options;
  const where = lineName(options);
  const socket = connectSocket({
    host,
    port: tcp_port,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_MS,
  });
  const opened = new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", (error) => reject(socketError(where, error)));
    socket.once("close", () => reject(new LinesideError("link_lost", `${where} closed the connection`)));
  });
  const wait_ms = options.connect_timeout ?? CONNECT_TIMEOUT_MS;
  const cancel = clock.after(wait_ms, () => {
    socket.destroy(Object.assign(new Error(`no answer within ${wait_ms} ms`), { code: "ETIMEDOUT" }));
  });
  try {
    await unlessAborted(opened, signal, () => aborted(options));
  } catch (error) {
    opened.catch(() => {});
    await destroyed(socket);
    throw error;
  } finally {
    cancel();
  }

  let over = false;
  const end = (what: string, cause?: Error) => {
    if (over) return;
    over = true;
    socket.destroy();
    events.lost(new LinesideError("link_lost", `${where}: ${what}`, { cause }));
  };
  socket.on("error", (error) => end(error.message, error));
  socket.on("end", () => end("the device server closed the connection"));
  socket.on("close", () => end("the connection is gone"));
  socket.on("data", (bytes) => {
    if (!over) events.data(bytes);
  });
  return {
    write(bytes) {
      if (over || socket.writableLength > UNSENT_BYTES_MAX) return false;
      socket.write(bytes);
      return true;
    },
    close() {
      over = true;
      return destroyed(socket);
    },
  };
}

function destroyed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) return resolve();
    socket.once("close", () => resolve());
    socket.on("error", () => {});
    socket.destroy();
  });
}

function socketError(where: string, cause: NodeJS.ErrnoException): LinesideError {
  const fail = (code: string, what: string) => new LinesideError(code, `${where}: ${what}`, { cause });
  switch (cause.code) {
    case "ECONNREFUSED":
      return fail(
        "connect_refused",
        "nothing listens there; check tcp_port and that the device server gives the line as raw TCP",
      );
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return fail("host_unknown", "the name cannot be resolved; check host and the gateway's DNS");
    case "ETIMEDOUT":
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return fail(
        "connect_timeout",
        `nobody answers (${cause.message}); check the address, the cable and the firewall`,
      );
    default:
      return fail("connect_failed", cause.message);
  }
}

async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal, giveUp: () => LinesideError): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(giveUp());
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
