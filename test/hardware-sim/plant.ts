/** Serves every device of a site: one simulator each, on ports of this machine. */
import { systemClock } from "#agent/clock.ts";
import type { Site, SiteDevice } from "#agent/site/contract.ts";
import type { Simulated, SimulateOptions } from "./contract.ts";

type Serve = (devices: readonly SiteDevice[], options: SimulateOptions) => Promise<Simulated[]>;

/**
 * Serves the devices that share one place (a host and port, a serial line). Loaded on first use: an OPC UA
 * server is half a second of code that a Modbus plant does not need. A protocol's simulator takes the
 * devices of that protocol, which is why they are handed over as never.
 */
const simulators: Record<SiteDevice["protocol"], () => Promise<Serve>> = {
  modbus: async () => {
    const { simulateModbusBus } = await import("./modbus/simulate.ts");
    return async (devices, options) => await simulateModbusBus(devices as never, options);
  },
  opcua: async () => {
    const { simulate } = await import("./opcua/simulate.ts");
    return async (devices, options) =>
      await Promise.all(devices.map(async (device) => await simulate(device as never, options)));
  },
  serial: async () => {
    const { simulateSerial } = await import("./serial/simulate.ts");
    return async (devices, options) =>
      await Promise.all(devices.map(async (device) => await simulateSerial(device as never, options)));
  },
};

export interface Plant {
  readonly devices: readonly Simulated[];
  device(id: string): Simulated | undefined;
  stop(): Promise<void>;
}

/** `own_ports`: take the ports that the site file names, where it names this machine; else free ones. */
export async function startPlant(site: Site, options: { own_ports: boolean }): Promise<Plant> {
  const devices: Simulated[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(devices.map(async (device) => await device.stop()));
  };
  try {
    for (const group of Map.groupBy(site.devices, placeOf).values()) {
      const [first] = group;
      if (first === undefined) continue;
      const serve = await simulators[first.protocol]();
      const port = options.own_ports ? portOf(first) : 0;
      devices.push(...(await serve(group, { port, now_us: systemClock.now_us })));
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { devices, device: (id) => devices.find(({ device }) => device === id), stop };
}

/** Modbus units at one place share it; everything else stands alone. */
function placeOf(device: SiteDevice): string {
  if (device.protocol !== "modbus") return device.id;
  const { host, port, serial } = device.options as { host?: string; port?: number; serial?: { port: string } };
  return `${host ?? ""}:${port ?? ""}:${serial?.port ?? ""}`;
}

const LOCAL = new Set(["127.0.0.1", "localhost", "::1"]);

/** The port of a device that is said to be on this machine; 0 (any free one) otherwise. */
function portOf(device: SiteDevice): number {
  const options = device.options as { host?: string; port?: number | string; tcp_port?: number; endpoint?: string };
  if (options.endpoint !== undefined) {
    const url = new URL(options.endpoint);
    return LOCAL.has(url.hostname) ? Number(url.port || 4840) : 0;
  }
  if (options.host === undefined || !LOCAL.has(options.host)) return 0;
  return Number(options.tcp_port ?? options.port ?? 0);
}
