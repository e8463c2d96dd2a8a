/** The second pass over the points of one device: what their meaning demands, whatever the schema allows. */
import type { CheckedPoint } from "../points.ts";
import type { Report } from "../report.ts";
import type { ModbusBehaviour, Protocol, SerialBehaviour } from "../schema.ts";
import type { DataMap } from "../yaml.ts";
import { checkCommon } from "./common.ts";
import { checkModbus } from "./modbus.ts";
import { checkOpcua } from "./opcua.ts";
import { checkSerial } from "./serial.ts";

/**
 * `behaviour` is the checked section of the protocol (a site file's options include it), `data` what
 * it was made from. Points that did not fit their schema are not among `points`.
 */
export async function checkPoints(
  protocol: Protocol,
  points: readonly CheckedPoint[],
  behaviour: object,
  data: DataMap,
  report: Report,
): Promise<void> {
  await checkCommon(points, report);
  // The caller made points and behaviour with the schemas of `protocol`.
  switch (protocol) {
    case "modbus":
      return checkModbus(points as CheckedPoint<"modbus">[], behaviour as ModbusBehaviour, data, report);
    case "opcua":
      return checkOpcua(points as CheckedPoint<"opcua">[], report);
    case "serial":
      return checkSerial(points as CheckedPoint<"serial">[], behaviour as SerialBehaviour, data, report);
  }
}
