/**
 * Simulated Modbus devices on real sockets and ptys, from the same Device that the source reads.
 *
 *   simulateModbus(device)          one device on a port of its own
 *   simulateModbusBus([a, b, c])    several units behind one gateway, or on one serial line
 *
 *   bytes ─▶ splitter (TCP or RTU) ─▶ unit ─▶ image ─▶ answer ─▶ faults ─▶ bytes
 */
import net from "node:net";
import type { Device } from "#adapters/contract.ts";
import type { ModbusOptions } from "#adapters/sources/modbus/options.ts";
import type { ModbusPoint } from "#profiles/schema.ts";
import type { Fault, Simulated, SimulateOptions } from "../contract.ts";
import { openPty, type Pty } from "../serial/pty.ts";
import { rtuSplitter, tcpSplitter } from "./frames.ts";
import { Responder } from "./responder.ts";
import { SimulatedUnit } from "./unit.ts";

type ModbusDevice = Device<ModbusPoint, ModbusOptions>;

/** A place where units are reached. */
interface Place {
  readonly where: string;
  /** What the device's options say to get there, without the unit. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Whoever is connected, now. */
  connections(): number;
  setLimit(connections: number): void;
  /** Lets nobody new in. */
  refuse(): Promise<void>;
  admit(): Promise<void>;
  cut(): Promise<void>;
  restore(): Promise<void>;
  stop(): Promise<void>;
}

/** One device, served alone. */
export async function simulateModbus(device: ModbusDevice, options: SimulateOptions): Promise<Simulated> {
  const [simulated] = await simulateModbusBus([device], options);
  if (simulated === undefined) throw new Error("no device was given");
  return simulated;
}

/**
 * Several devices at one place: the way is that of the first one's options. Faults of the place
 * (refuse, connection_limit, cut) concern all; it is given up when the last device is stopped.
 */
export async function simulateModbusBus(
  devices: readonly ModbusDevice[],
  options: SimulateOptions,
): Promise<Simulated[]> {
  const [first] = devices;
  if (first === undefined) return [];
  const units = new Map(devices.map((device) => [device.options.unit, new SimulatedUnit(device, options.now_us)]));
  if (units.size !== devices.length) throw new Error("two simulated devices have the same unit id");
  const place =
    "host" in first.options
      ? await servePort(first.options.framing, units, options.port)
      : servePty(first.options.serial, units);
  let served = devices.length;
  return [...units.values()].map((unit) => {
    let stopped = false;
    return {
      device: unit.device,
      where: `${place.where} unit ${unit.id}`,
      options: { ...place.options, unit: unit.id },
      inject: (fault) => inject(fault, unit, place),
      cut: () => place.cut(),
      restore: () => place.restore(),
      stats: () => ({ requests: unit.requests, connections: place.connections() }),
      async stop() {
        if (stopped) return;
        stopped = true;
        units.delete(unit.id);
        served -= 1;
        if (served === 0) await place.stop();
      },
    };
  });
}

function inject(fault: Fault, unit: SimulatedUnit, place: Place): () => void {
  switch (fault.kind) {
    case "refuse":
      void place.refuse();
      return () => void place.admit();
    case "connection_limit":
      place.setLimit(fault.connections);
      return () => place.setLimit(Number.POSITIVE_INFINITY);
    case "status":
      throw new Error("status codes are OPC UA's");
    default: {
      // Each injection is its own, so that the same fault given twice is switched off twice.
      const own = { ...fault };
      unit.faults.add(own);
      return () => void unit.faults.delete(own);
    }
  }
}

// --- On a TCP port ----------------------------------------------------------------------------------

async function servePort(
  framing: "tcp" | "rtu",
  units: ReadonlyMap<number, SimulatedUnit>,
  wanted: number,
): Promise<Place> {
  const sockets = new Set<net.Socket>();
  const responder = new Responder(units, framing);
  let limit = Number.POSITIVE_INFINITY;
  let server: net.Server | null = null;
  let port = wanted;

  const serve = (socket: net.Socket): void => {
    if (sockets.size >= limit) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    const split = framing === "tcp" ? tcpSplitter() : rtuSplitter();
    socket.setNoDelay(true);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    socket.on("data", (bytes) => {
      try {
        responder.take(split(bytes), (answer) => {
          if (!socket.destroyed) socket.write(answer);
        });
      } catch {
        socket.destroy();
      }
    });
  };
  const listen = async (): Promise<void> => {
    if (server !== null) return;
    const next = net.createServer(serve);
    server = next;
    await new Promise<void>((resolve, reject) => {
      next.once("error", reject);
      next.listen(port, "127.0.0.1", resolve);
    });
    const address = next.address();
    if (address !== null && typeof address === "object") port = address.port;
  };
  const close = async (): Promise<void> => {
    const last = server;
    server = null;
    if (last === null) return;
    // Only the listener ends here: close() would wait for the connections too.
    await new Promise<void>((resolve) => {
      last.close(() => resolve());
      if (sockets.size > 0) resolve();
    });
  };
  const drop = async (): Promise<void> => {
    const gone = [...sockets].map((socket) => new Promise<void>((resolve) => socket.once("close", () => resolve())));
    for (const socket of sockets) socket.destroy();
    await Promise.all(gone);
  };

  await listen();
  const cut = async (): Promise<void> => {
    await close();
    responder.forget();
    await drop();
  };
  return {
    where: `${framing === "tcp" ? "tcp" : "rtu over tcp"} 127.0.0.1:${port}`,
    options: { host: "127.0.0.1", port, framing },
    connections: () => sockets.size,
    setLimit: (connections) => (limit = connections),
    refuse: close,
    admit: listen,
    cut,
    restore: listen,
    stop: cut,
  };
}

// --- On a serial line -------------------------------------------------------------------------------

function servePty(serial: object, units: ReadonlyMap<number, SimulatedUnit>): Place {
  const responder = new Responder(units, "rtu");
  let split = rtuSplitter();
  const pty: Pty = openPty((bytes) => responder.take(split(bytes), (answer) => pty.write(answer)));
  const unplug = async (): Promise<void> => {
    responder.forget();
    await pty.unplug();
  };
  const plug = async (): Promise<void> => {
    split = rtuSplitter();
    pty.plug();
  };
  return {
    where: pty.path,
    options: { serial: { ...serial, port: pty.path } },
    connections: () => pty.clients(),
    setLimit: () => undefined,
    // A line cannot refuse; it can be missing.
    refuse: unplug,
    admit: plug,
    cut: unplug,
    restore: plug,
    async stop() {
      await unplug();
      await pty.close();
    },
  };
}
