/** The contract of all sources, over each transport. */
import type { ModbusPoint } from "#profiles/schema.ts";
import { makeDevice } from "#test/contract/device.ts";
import { sourceSuite } from "#test/contract/source.ts";
import { simulateModbus } from "#test/hardware-sim/modbus/simulate.ts";
import type { Device } from "../../contract.ts";
import { type ModbusOptions, modbusOptions } from "./options.ts";
import { createSource } from "./source.ts";

const TIMEOUT_MS = 180;

/** A little of everything: areas, types, orders, holes, scale registers, two intervals. */
function device(id: string, options: Readonly<Record<string, unknown>>): Device<ModbusPoint, ModbusOptions> {
  return makeDevice({
    protocol: "modbus",
    id,
    options: modbusOptions.parse({ timeout: `${TIMEOUT_MS}ms`, order: "CDAB", ...options }),
    points: [
      { name: "voltage_l1", unit: "V", address: 0, type: "f32" },
      { name: "voltage_l2", unit: "V", address: 2, type: "f32" },
      { name: "current", unit: "A", address: 6, type: "s32", scale: 0.001 },
      { name: "energy", kind: "counter", unit: "kW.h", address: 40, type: "u64" },
      { name: "frequency", unit: "Hz", address: 60, type: "u32", scale_register: 62, every: "2s" },
      { name: "state", kind: "state", address: 200, states: { "0": "off", "1": "on", "4": "fault" } },
      { name: "power", unit: "W", area: "input", address: 100, type: "f32", order: "ABCD" },
      { name: "door", kind: "state", area: "discrete", address: 3, type: "bool", states: { "0": "shut", "1": "open" } },
      { name: "serial", kind: "text", address: 300, type: "string", length: 8, report: "change" },
    ],
  });
}

const rig = { createSource, device, simulate: simulateModbus, silence_ms: 2 * TIMEOUT_MS + 80, round_ms: 1000 };

sourceSuite("modbus over TCP", {
  ...rig,
  device: (id, reach) => device(id, { host: "127.0.0.1", port: 1, connect_timeout: "500ms", ...reach }),
  late_ms: TIMEOUT_MS + 50,
});

sourceSuite("modbus RTU over TCP", {
  ...rig,
  device: (id, reach) => device(id, { host: "127.0.0.1", port: 1, framing: "rtu", connect_timeout: "500ms", ...reach }),
  late_ms: TIMEOUT_MS + 50,
});

sourceSuite("modbus RTU on a serial line", {
  ...rig,
  // Four times the highest speed of the standard: the suite looks at behaviour, not at the line.
  device: (id, reach) => device(id, { serial: { port: "/dev/null", baud: 460_800 }, ...reach }),
  late_ms: TIMEOUT_MS + 50,
});
