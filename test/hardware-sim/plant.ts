/** Serves every device of a site: one simulator each, on ports of this machine. */
import { systemClock } from "#agent/clock.ts";
import type { Site, SiteDevice } from "#agent/site/contract.ts";
import type { Simulate, Simulated } from "./contract.ts";

/** Loaded on first use: an OPC UA server is half a second of code that a Modbus plant does not need. */
const simulators: Record<SiteDevice["protocol"], () => Promise<{ simulate: Simulate }>> = {
  modbus: () => import("./modbus/simulate.ts"),
  opcua: () => import("./opcua/simulate.ts"),
  serial: () => import("./serial/simulate.ts"),
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
    for (const device of site.devices) {
      const { simulate } = await simulators[device.protocol]();
      const port = options.own_ports ? portOf(device) : 0;
      // The simulator of a protocol takes the devices of that protocol.
      devices.push(await simulate(device as never, { port, now_us: systemClock.now_us }));
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { devices, device: (id) => devices.find(({ device }) => device === id), stop };
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
