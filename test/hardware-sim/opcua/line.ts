/**
 * The cable between a client and a simulated server: bytes are passed on as they are, until a fault
 * cuts, delays or swallows them. The server behind it never notices, and never needs a restart.
 *
 *   client ◀──▶ Line (the port that people see) ◀──▶ server (a port of its own)
 */
import { createServer, connect, type Server, type Socket } from "node:net";

const HOST = "127.0.0.1";
/** A server that has not opened a channel by then will not. */
const OPENING_MS = 1_000;
const HEADER_BYTES = 8;

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  /** The client has asked for a secure channel and has no answer yet. */
  opening: boolean;
}

export interface Line {
  readonly port: number;
  /** Swallows what the server says, from now on. */
  silent: boolean;
  /** Sends what the server says twice. */
  double: boolean;
  /** Sends other bytes than the server does. */
  garbled: boolean;
  /** Holds back what the server says. */
  delay_ms: number;
  /** Closes further connections above so many. */
  connections_max: number;
  /** Closes every new connection at once. */
  refusing: boolean;
  stats(): { requests: number; connections: number };
  /** Drops every connection and stops listening. */
  cut(): Promise<void>;
  /** Listens again at the same port. */
  restore(): Promise<void>;
  /** Where the server is now (it may have been started anew). */
  target: number;
}

/** Until `target` is set, connections lead nowhere. */
export async function openLine(port: number): Promise<Line> {
  const pairs = new Set<Pair>();
  const lingering = new Set<Promise<void>>();
  let requests = 0;
  let listener: Server | null = null;

  /** Torn off while it opens a channel, node-opcua's server keeps a timer of ten minutes: it may finish that. */
  const hangUp = ({ client, server, opening }: Pair): void => {
    client.destroy();
    if (!opening) {
      server.destroy();
      return;
    }
    const answered = new Promise<void>((resolve) => {
      const end = (): void => {
        server.destroy();
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(end, OPENING_MS);
      server.once("data", end).once("close", end);
    });
    lingering.add(answered);
    void answered.then(() => lingering.delete(answered));
  };

  const accept = (client: Socket): void => {
    client.on("error", () => undefined);
    if (line.target === 0 || line.refusing || pairs.size >= line.connections_max) {
      client.destroy();
      return;
    }
    const server = connect(line.target, HOST);
    const pair: Pair = { client, server, opening: false };
    pairs.add(pair);
    const end = (): void => {
      if (!pairs.delete(pair)) return;
      hangUp(pair);
    };
    for (const socket of [client, server]) socket.setNoDelay(true).on("error", end).on("close", end);
    const count = countChunks((type) => {
      if (type === "MSG") requests++;
      if (type === "OPN") pair.opening = true;
    });
    client.on("data", (bytes) => {
      count(bytes);
      server.write(bytes);
    });
    server.on("data", (bytes) => {
      pair.opening = false;
      if (line.silent) return;
      if (line.garbled) bytes.fill(0xa5);
      if (line.double) client.write(bytes);
      if (line.delay_ms === 0) client.write(bytes);
      // Equal delays keep the order: timers of one length fire in the order they were set.
      else setTimeout(() => line.silent || client.destroyed || client.write(bytes), line.delay_ms);
    });
  };

  const listen = (at: number): Promise<number> =>
    new Promise((resolve, reject) => {
      const server = createServer(accept);
      server.once("error", reject).listen(at, HOST, () => {
        listener = server;
        const address = server.address();
        resolve(typeof address === "object" && address !== null ? address.port : at);
      });
    });

  const line: Line = {
    port: 0,
    silent: false,
    double: false,
    garbled: false,
    delay_ms: 0,
    connections_max: Infinity,
    refusing: false,
    target: 0,
    stats: () => ({ requests, connections: pairs.size }),
    async cut() {
      const closing = listener;
      listener = null;
      for (const pair of pairs) hangUp(pair);
      pairs.clear();
      if (closing) await new Promise((resolve) => closing.close(resolve));
      await Promise.all(lingering);
    },
    async restore() {
      if (listener === null) await listen(line.port);
    },
  };
  return Object.assign(line, { port: await listen(port) });
}

/** Calls `found` for each chunk in a stream: its header gives type and length (Part 6, 7.1.2.2). */
function countChunks(found: (type: string) => void): (bytes: Buffer) => void {
  let header = Buffer.alloc(0);
  let skip = 0;
  return (bytes) => {
    for (let at = 0; at < bytes.length;) {
      if (skip > 0) {
        const step = Math.min(skip, bytes.length - at);
        skip -= step;
        at += step;
        continue;
      }
      const take = bytes.subarray(at, at + HEADER_BYTES - header.length);
      header = Buffer.concat([header, take]);
      at += take.length;
      if (header.length < HEADER_BYTES) return;
      found(header.toString("latin1", 0, 3));
      skip = Math.max(0, header.readUInt32LE(4) - HEADER_BYTES);
      header = Buffer.alloc(0);
    }
  };
}
