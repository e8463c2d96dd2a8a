import { sourceSuite } from "#test/contract/source.ts";
import { opcuaDevice, URI } from "#test/hardware-sim/opcua/rig.ts";
import { simulate } from "#test/hardware-sim/opcua/simulate.ts";
import type { Device } from "../../contract.ts";
import { createSource } from "./source.ts";

/** Points that differ half a minute later: what stands still is pushed once, and the suite waits for each. */
const POINTS = [
  { name: "temperature", address: `nsu=${URI};s=Zone1.PV`, unit: "Cel" },
  { name: "current", address: `nsu=${URI};s="DB"."Current"`, unit: "A", scale: 0.1 },
  { name: "energy", address: `nsu=${URI};i=7`, unit: "W.h", kind: "counter", type: "i64" },
  { name: "lot", address: `nsu=${URI};s=lot`, kind: "text" },
] as const;
const TIMEOUT_MS = 400;

for (const mode of ["subscribe", "poll"]) {
  sourceSuite(`opcua, ${mode}`, {
    createSource,
    device: (id, reach) => ({
      ...opcuaDevice(
        POINTS,
        {
          endpoint: "opc.tcp://127.0.0.1",
          mode,
          timeout: `${TIMEOUT_MS}ms`,
          watchdog: `${TIMEOUT_MS}ms`,
          publishing: "50ms",
          ...reach,
        },
        50,
        id,
      ),
    }),
    // The contract of simulators serves all protocols, and so knows none of their points.
    simulate: (device, options) => simulate(device as Device<never, never>, options),
    silence_ms: TIMEOUT_MS,
    round_ms: 500,
    late_ms: mode === "poll" ? TIMEOUT_MS + 100 : null,
  });
}
