import { type AdapterContext, LinesideError, type Target } from "../../contract.ts";

export async function createTarget(_options: never, _context: AdapterContext): Promise<Target> {
  throw new LinesideError("config", "this target is not built yet");
}
