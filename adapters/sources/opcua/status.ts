/** OPC UA status codes (Part 4, 7.39; names of Part 6, annex A.2) as qualities, looked up by number. */
import { StatusCode, StatusCodes } from "node-opcua-client";
import { bad, GOOD, type Quality, uncertain } from "../../quality.ts";

/** Set where a monitored item's queue overflowed: values between two publishings are gone. */
const OVERFLOW = 0x480;
const SEVERITY_UNCERTAIN = 1;

const names = new Map<number, string>();
for (const code of Object.values(StatusCodes)) {
  if (code instanceof StatusCode && (code.value & 0xffff) === 0) names.set(code.value, snake(code.name));
}
const qualities = new Map<number, Quality>([[0, GOOD]]);

/** The upper 16 bits name the code; the lower ones (limits, overflow) do not change what it means. */
export function qualityOfStatus(code: number): Quality {
  if (code === 0) return GOOD;
  const base = (code & 0xffff_0000) >>> 0;
  let quality = qualities.get(base);
  if (quality === undefined) {
    const severity = base >>> 30;
    quality = severity === 0 ? GOOD : severity === SEVERITY_UNCERTAIN ? uncertain(nameOf(base)) : bad(nameOf(base));
    qualities.set(base, quality);
  }
  return quality;
}

/** `bad_node_id_unknown`; `status_80fe0000` for a code that the standard does not have. */
export function nameOf(code: number): string {
  const base = (code & 0xffff_0000) >>> 0;
  return names.get(base) ?? `status_${base.toString(16).padStart(8, "0")}`;
}

export const overflowed = (code: number): boolean => (code & OVERFLOW) === OVERFLOW;

export function snake(name: string): string {
  return name.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toLowerCase();
}
