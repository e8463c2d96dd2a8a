/** Where a simulated serial device is reached: a pty, or a TCP port as of a serial device server. */
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { openPty } from "./pty.ts";

export interface Place {
  readonly where: string;
  /** What the device's options say to get there. */
  readonly options: Readonly<Record<string, unknown>>;
  connections(): number;
  /** To whoever is connected. */
  write(bytes: Uint8Array): void;
  /** Lets nobody new in. */
  refuse(): Promise<void>;
  admit(): Promise<void>;
  /** Drops whoever is connected, and lets nobody new in. */
  cut(): Promise<void>;
  restore(): Promise<void>;
  /** Closes any connection beyond so many. */
  limit(connections: number): void;
  stop(): Promise<void>;
}

export function servePty(onData: (bytes: Buffer) => void): Place {
  const pty = openPty(onData);
  const admit = () => Promise.resolve(pty.plug());
  return {
    where: pty.path,
    options: { port: pty.path },
    connections: () => pty.clients(),
    write: (bytes) => pty.write(bytes),
    refuse: () => pty.unplug(),
    admit,
    cut: () => pty.unplug(),
    restore: admit,
    limit() {
      throw new Error("a pty has no connections to limit");
    },
    stop: () => pty.close(),
  };
}

export async function servePort(port: number, onData: (bytes: Buffer) => void): Promise<Place> {
  const sockets = new Set<Socket>();
  let connections_max = Number.POSITIVE_INFINITY;
  let server: Server | null = null;

  const listen = async (at: number): Promise<number> => {
    if (server !== null) return at;
    const listening = createServer((socket) => {
      socket.on("error", () => socket.destroy());
      if (sockets.size >= connections_max) return socket.destroy();
      socket.setNoDelay(true);
      sockets.add(socket);
      socket.on("data", onData);
      socket.on("close", () => sockets.delete(socket));
    });
    server = listening;
    listening.listen(at, "127.0.0.1");
    await once(listening, "listening");
    const address = listening.address();
    return typeof address === "object" && address !== null ? address.port : at;
  };
  /** Connections stay. */
  const refuse = () => {
    server?.close();
    server = null;
    return Promise.resolve();
  };
  const cut = async () => {
    await refuse();
    const closing = [...sockets].map((socket) => once(socket, "close"));
    for (const socket of sockets) socket.destroy();
    await Promise.all(closing);
  };

  const at = await listen(port);
  const admit = async () => {
    await listen(at);
  };
  return {
    where: `tcp 127.0.0.1:${at}`,
    options: { host: "127.0.0.1", tcp_port: at },
    connections: () => sockets.size,
    write(bytes) {
      for (const socket of sockets) socket.write(bytes);
    },
    refuse,
    admit,
    cut,
    restore: admit,
    limit(connections) {
      connections_max = connections;
    },
    stop: cut,
  };
}
