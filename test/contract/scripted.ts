/** A TCP server that answers as a test says, byte for byte: for faults that no simulated device has. */
import net from "node:net";

export interface Scripted {
  readonly port: number;
  readonly sockets: ReadonlySet<net.Socket>;
  /** Everything received, in the order of arrival. */
  readonly received: Buffer[];
  close(): Promise<void>;
}

export async function scripted(answer: (request: Buffer, socket: net.Socket) => void): Promise<Scripted> {
  const sockets = new Set<net.Socket>();
  const received: Buffer[] = [];
  const server = net.createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    socket.on("data", (request) => {
      received.push(request);
      answer(request, socket);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    port: address.port,
    sockets,
    received,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}
