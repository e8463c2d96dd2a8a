/**
 * The Modbus source: one bus for each host and port or serial port, one session for each device.
 *
 *   createSource ─▶ open(device) ─▶ bus of that socket or port ─▶ session ─▶ Frame
 */
import type { ModbusPoint } from "#profiles/schema.ts";
import { type AdapterContext, type Device, LinesideError, type SessionContext, type Source } from "../../contract.ts";
import { TimeKeeper } from "./alarm.ts";
import { Bus } from "./bus.ts";
import { Doubt } from "./doubt.ts";
import type { Link, LinkEvents } from "./link.ts";
import type { SerialSettings } from "./lines.ts";
import type { ModbusOptions } from "./options.ts";
import { ModbusSession } from "./session.ts";
import type { SocketOptions } from "./socket.ts";
import { TcpLink } from "./tcp.ts";

const CONNECT_TIMEOUT_MS_DEFAULT = 3000;
const BAUD_DEFAULT = 9600;
/** Start bit, 8 data bits, parity or a second stop bit, stop bit (MODBUS over Serial Line V1.02, 2.5.1). */
const BITS_PER_CHARACTER = 11;
/** Above 19200 baud the silence between frames is fixed (2.5.1.1). */
const GAP_MS_FAST = 1.75;

interface Way {
  /** Who shares it. */
  readonly key: string;
  readonly name: string;
  /** What has to be the same for all who share it. */
  readonly settings: string;
  readonly has_peer: boolean;
  readonly byte_ms: number;
  readonly link: (events: LinkEvents) => Promise<Link>;
}

export function createSource(context: AdapterContext): Source<ModbusPoint, ModbusOptions> {
  const keeper = new TimeKeeper(context.clock);
  const buses = new Map<string, { readonly bus: Bus; readonly settings: string; readonly device: string }>();

  const open = (device: Device<ModbusPoint, ModbusOptions>, session: SessionContext): ModbusSession => {
    const way = wayTo(device.options, context);
    let shared = buses.get(way.key);
    // A device may come back with other settings once all that used the old ones are closed.
    if (shared === undefined || (shared.settings !== way.settings && !shared.bus.isClaimed)) {
      shared = { bus: new Bus(way, context.clock, keeper, context.log), settings: way.settings, device: device.id };
      buses.set(way.key, shared);
    }
    if (shared.settings !== way.settings) {
      throw new LinesideError(
        "config",
        `device ${device.id}, modbus: shares ${way.name} with ${shared.device} and has to agree with it: ` +
          `${way.settings} here, ${shared.settings} there`,
      );
    }
    try {
      return new ModbusSession(device, session, shared.bus, way);
    } catch (error) {
      if (!(error instanceof LinesideError)) throw error;
      throw new LinesideError(error.code, `device ${device.id}, ${error.message}`, { cause: error });
    }
  };

  return {
    open,
    async close() {
      await Promise.all([...buses.values()].map(({ bus }) => bus.close()));
      buses.clear();
    },
  };
}

function wayTo(options: ModbusOptions, context: AdapterContext): Way {
  return "host" in options ? networkWay(options, context) : serialWay(options.serial, context);
}

function networkWay(options: Extract<ModbusOptions, { host: string }>, { clock }: AdapterContext): Way {
  const name = `${options.host}:${options.port}`;
  const doubt = new Doubt(clock);
  const socket: SocketOptions = {
    host: options.host,
    port: options.port,
    connect_timeout_ms: options.connect_timeout ?? CONNECT_TIMEOUT_MS_DEFAULT,
  };
  return {
    key: `tcp:${name.toLowerCase()}`,
    name,
    settings: `framing ${options.framing}`,
    has_peer: true,
    byte_ms: 0,
    link:
      options.framing === "tcp"
        ? async (events) => new TcpLink(socket, clock, events)
        : async (events) => {
            const [{ RtuLink }, { socketLine }] = await Promise.all([import("./rtu.ts"), import("./lines.ts")]);
            return new RtuLink(socketLine(socket, clock), { gap_ms: 0 }, doubt, clock, events);
          },
  };
}

function serialWay(serial: Extract<ModbusOptions, { serial: object }>["serial"], { clock }: AdapterContext): Way {
  const settings: SerialSettings = {
    port: serial.port,
    baud: serial.baud ?? BAUD_DEFAULT,
    data_bits: serial.data_bits ?? 8,
    parity: serial.parity ?? "none",
    stop_bits: serial.stop_bits ?? 1,
  };
  const doubt = new Doubt(clock);
  const byte_ms = (BITS_PER_CHARACTER * 1000) / settings.baud;
  return {
    key: `serial:${serial.port}`,
    name: serial.port,
    settings: `${settings.baud} baud, ${settings.data_bits} data bits, parity ${settings.parity}, ${settings.stop_bits} stop bits`,
    has_peer: false,
    byte_ms,
    link: async (events) => {
      const [{ RtuLink }, { serialLine }] = await Promise.all([import("./rtu.ts"), import("./lines.ts")]);
      const gap_ms = settings.baud > 19_200 ? GAP_MS_FAST : 3.5 * byte_ms;
      return new RtuLink(serialLine(settings), { gap_ms }, doubt, clock, events);
    },
  };
}
