/** The second pass over the points of one device: what their meaning demands, whatever the schema allows. */
import type { CheckedPoint, CompiledPoints } from "../points.ts";
import type { Report } from "../report.ts";
import type { Protocol } from "../schema.ts";
import type { DataMap } from "../yaml.ts";
import { checkCommon, checkUnits } from "./common.ts";
import { checkModbus } from "./modbus.ts";
import { checkOpcua } from "./opcua.ts";
import { checkSerial } from "./serial.ts";

/**
 * `behaviour` is the checked section of the protocol (a site file's options include it), `data` what
 * it was made from.
 */
export async function checkPoints(
  protocol: Protocol,
  { checked: points, unfit }: CompiledPoints,
  behaviour: object,
  data: DataMap,
  report: Report,
): Promise<void> {
  checkCommon(points, report);
  await checkUnits([...points.map(({ data: point }) => point), ...unfit], report);
  // The caller made points and behaviour with the schemas of `protocol`.
  switch (protocol) {
    case "modbus":
      return checkModbus(points as CheckedPoint<"modbus">[], behaviour, data, report);
    case "opcua":
      return checkOpcua(points as CheckedPoint<"opcua">[], report);
    case "serial":
      return checkSerial(points as CheckedPoint<"serial">[], behaviour, data, report);
  }
}
