/** Ended because its owner wanted so. */
import { LinesideError } from "../../contract.ts";

export const aborted = (what: string, cause?: unknown): LinesideError =>
  new LinesideError("aborted", `${what} was aborted`, { cause });
