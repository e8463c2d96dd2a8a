/**
 * A pseudo terminal as a serial line: the agent opens `path` as it would open /dev/ttyUSB0, the
 * simulated device sits on the other side, and the cable can be pulled.
 *
 *   agent ── serialport ── path ──▶ /dev/pts/N (raw) ══ master ── onData / write ── simulated device
 *
 * `path` is a link that stays the same over unplug and plug, as /dev/serial/by-id/... does. The pair
 * comes from node-pty's native module alone: its `open()` would read the slave itself, and its
 * `destroy()` signals process -1. Linux only.
 */
import { closeSync, existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tty from "node:tty";

export interface Pty {
  /** What the agent opens. Missing while unplugged. */
  readonly path: string;
  readonly plugged: boolean;
  /** Sends bytes to the agent. What nobody reads is lost beyond 64 KiB, as on a line. */
  write(bytes: Uint8Array): void;
  /** How many times this process has the agent's side open: tests look for leaks. */
  clients(): number;
  /** Pulls the cable: the device file goes away and whoever has it open is hung up on. */
  unplug(): Promise<void>;
  /** Puts it back at the same path. */
  plug(): void;
  /** Ends it for good. */
  close(): Promise<void>;
}

interface Pair {
  readonly master: number;
  readonly slave: number;
  readonly pty: string;
}

const UNREAD_BYTES_MAX = 65_536;

const require = createRequire(import.meta.url);

function openPair(): Pair {
  const loader = require("@lydell/node-pty/requireBinary.js") as { requireBinary(file: string): unknown };
  const native = loader.requireBinary("pty.node") as { open(columns: number, rows: number): Pair };
  return native.open(80, 24);
}

/** Opens a line and plugs it in. `onData` gets what the agent sends. */
export function openPty(onData: (bytes: Buffer) => void): Pty {
  const folder = mkdtempSync(join(tmpdir(), "lineside-pty-"));
  const path = join(folder, "tty");
  // The slave is held open and never read: the line keeps its raw mode, and the master sees no
  // hang-up, while the agent has it closed.
  let ends: { pty: string; master: tty.ReadStream; slave: number } | null = null;

  const plug = () => {
    if (ends !== null) return;
    const pair = openPair();
    // The stream works on a descriptor of its own, reopened by libuv; it is here to set the mode.
    const mode = new tty.ReadStream(pair.slave);
    mode.setRawMode(true);
    mode.destroy();
    const master = new tty.ReadStream(pair.master);
    master.on("error", () => master.destroy());
    master.on("data", onData);
    symlinkSync(pair.pty, path);
    ends = { pty: pair.pty, master, slave: pair.slave };
  };

  const unplug = async () => {
    if (ends === null) return;
    const { master, slave } = ends;
    ends = null;
    rmSync(path, { force: true });
    closeSync(slave);
    // The agent's side hangs up once the master is closed.
    await closed(master);
  };

  plug();
  return {
    path,
    get plugged() {
      return ends !== null;
    },
    write(bytes) {
      if (ends === null || ends.master.writableLength > UNREAD_BYTES_MAX) return;
      ends.master.write(bytes);
    },
    clients: () => (ends === null ? 0 : Math.max(0, openDescriptors(ends.pty) - 1)),
    unplug,
    plug,
    async close() {
      await unplug();
      if (existsSync(folder)) rmSync(folder, { recursive: true });
    },
  };
}

function closed(stream: tty.ReadStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.closed) return resolve();
    stream.once("close", () => resolve());
    stream.destroy();
  });
}

function openDescriptors(pty: string): number {
  let count = 0;
  for (const fd of readdirSync("/proc/self/fd")) {
    try {
      if (readlinkSync(`/proc/self/fd/${fd}`) === pty) count++;
    } catch {
      // The descriptor of the listing itself is gone by now.
    }
  }
  return count;
}
