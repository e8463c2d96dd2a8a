/**
 * Serial ports that notice when they are unplugged. serialport's binding (bindings-cpp 13) takes a
 * read of zero bytes for "nothing yet" and reads again at once, for ever: where the hang-up of an
 * adapter or a pty is met by a read instead of by poll, it neither closes nor reports anything, and
 * one core is busy until the port is closed. Unplugging a pty under a device that sends every 3 ms
 * did that in 4 of 60 tries. In raw mode with VMIN 1, which the binding sets, zero bytes mean the end
 * of the file and nothing else (termios(3), "Noncanonical mode").
 */
import { read } from "node:fs";
import { promisify } from "node:util";

const readAsync = promisify(read);

interface ReadResult {
  readonly buffer: Buffer;
  readonly bytesRead: number;
}

/** What the binding of Linux and macOS has, beyond its public types. */
interface UnixBinding {
  readonly isOpen: boolean;
  readonly fd: number | null;
  readonly poller: { once(event: "readable", called: (error: Error | null) => void): void };
  read(buffer: Buffer, offset: number, length: number): Promise<ReadResult>;
}

/** The part of a SerialPort that is used here. */
export interface MendablePort {
  on(event: "open", listener: () => void): unknown;
  /** The binding's open port. */
  readonly port?: unknown;
}

/** Call it as soon as the port is made, before anybody listens for its data. Such a port then closes with an error. */
export function mendHangup(port: MendablePort): void {
  port.on("open", () => {
    const binding = port.port;
    if (isUnixBinding(binding)) binding.read = (buffer, offset, length) => readPort(binding, buffer, offset, length);
  });
}

function isUnixBinding(binding: unknown): binding is UnixBinding {
  if (typeof binding !== "object" || binding === null) return false;
  const { fd, poller, read: own } = binding as Partial<UnixBinding>;
  return typeof fd === "number" && typeof poller?.once === "function" && typeof own === "function";
}

/** As the binding's own, but for zero bytes. */
async function readPort(binding: UnixBinding, buffer: Buffer, offset: number, length: number): Promise<ReadResult> {
  for (;;) {
    if (!binding.isOpen || binding.fd === null) throw Object.assign(new Error("Port is not open"), { canceled: true });
    try {
      const { bytesRead } = await readAsync(binding.fd, buffer, offset, length, null);
      if (bytesRead > 0) return { bytesRead, buffer };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EAGAIN" && code !== "EWOULDBLOCK" && code !== "EINTR") throw error;
      // Closed while the read was under way: the poller is gone, and would never answer.
      if (!binding.isOpen) continue;
      await readable(binding);
      continue;
    }
    // The stream closes itself on any error that is not a cancellation.
    throw Object.assign(new Error("the line hung up"), { disconnect: true });
  }
}

function readable(binding: UnixBinding): Promise<void> {
  return new Promise((resolve, reject) => {
    binding.poller.once("readable", (error) => (error ? reject(error) : resolve()));
  });
}
