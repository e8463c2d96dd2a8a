/** What must hold for OPC UA points, beyond their schema (NodeId text form: OPC 10000-6, 5.3.1.10). */
import type { CheckedPoint } from "../points.ts";
import type { Report } from "../report.ts";
import { valueAt } from "../yaml.ts";

const GUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const NUMERIC_MAX = 4294967295;

export function checkOpcua(points: readonly CheckedPoint<"opcua">[], report: Report): void {
  for (const { point, data } of points) {
    const at = valueAt(data, "address");
    const [, uri, index, kind = "", identifier = ""] =
      /^(?:nsu=([^;]+);|ns=(\d+);)?([isgb])=(.+)$/.exec(point.address) ?? [];
    if (index !== undefined && Number(index) > 0) {
      report.warn(
        at,
        `ns=${index} may be another namespace on the next server or after a restart; write nsu=URI; instead`,
      );
    }
    // Namespace 0 is the standard's own, and all of its nodes have numbers.
    if (uri === undefined && Number(index ?? 0) === 0 && kind !== "i" && kind !== "")
      report.warn(
        at,
        `'${point.address}' names no namespace, so it is sought among the standard's own nodes; write nsu=URI;${point.address.replace(/^ns=0;/, "")}`,
      );
    if (kind === "i" && !(/^\d+$/.test(identifier) && Number(identifier) <= NUMERIC_MAX)) {
      report.fault(
        at,
        `i= takes a number from 0 to ${NUMERIC_MAX}, not '${identifier}'${/^\d+$/.test(identifier) ? "" : "; a text identifier is written s="}`,
      );
    }
    if (kind === "g" && !GUID.test(identifier))
      report.fault(at, `g= takes a GUID such as 09087e75-8e5e-499b-954f-f2a9603db28a, not '${identifier}'`);
    if (kind === "b" && !BASE64.test(identifier)) report.fault(at, `b= takes base64, not '${identifier}'`);
  }
}
