import { type AdapterContext, LinesideError, type Source } from "../../contract.ts";

export function createSource(_context: AdapterContext): Source<never, never> {
  throw new LinesideError("config", "this source is not built yet");
}
