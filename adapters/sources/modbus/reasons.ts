/** Qualities that a Modbus reading can have, interned once. The names are public: docs, logs and tests use them. */
import { bad, type Quality, uncertain } from "../../quality.ts";

/** No answer in time. */
export const TIMEOUT = bad("timeout");
/** RTU: an answer of the right shape whose checksum is wrong. */
export const CHECKSUM = bad("checksum");
/** Bytes that are no answer to what was asked. */
export const GARBAGE = bad("garbage");
/** TCP: an answer to this very request in the name of another unit. */
export const WRONG_UNIT = bad("wrong_unit");

/** The scale register says 0x8000 (SunSpec: not implemented). */
export const NOT_IMPLEMENTED = bad("not_implemented");
/** Outside the point's range, or wider than its column. */
export const OUT_OF_RANGE = bad("out_of_range");
/** A float that is not a number, or infinite. */
export const NAN = bad("nan");
/** A text with characters that nobody can read. */
export const NOT_PRINTABLE = bad("not_printable");
/** A BCD digit above 9. */
export const INVALID_BCD = bad("invalid_bcd");
/** A code without a name; the value stands. */
export const UNKNOWN_STATE = uncertain("unknown_state");

/** MODBUS Application Protocol V1.1b3, section 7, names 1 to 6, 8, 10 and 11; devices also use others. */
const exceptions: readonly Quality[] = Array.from({ length: 256 }, (_, code) =>
  code >= 1 && code <= 11 ? bad(`exception_${code}`) : bad("exception_other"),
);

export const exceptionQuality = (code: number): Quality => exceptions[code & 0xff] ?? GARBAGE;

const REFUSED = new Set([1, 2, 3].map(exceptionQuality));

/** Illegal function, address or value: asking again in the same way will not help. */
export const isRefused = (quality: Quality): boolean => REFUSED.has(quality);

const UNREACHED = new Set([10, 11].map(exceptionQuality));

/** A gateway has no way to the unit, or waited for it in vain: a timeout by another name. */
export const isUnreached = (quality: Quality): boolean => UNREACHED.has(quality);
