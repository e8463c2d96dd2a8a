/** Serial line protocols: scales, scanners, meters that speak in lines of text. See README.md. */
import type { SerialPoint } from "#profiles/schema.ts";
import { type AdapterContext, LinesideError, type Source } from "../../contract.ts";
import type { SerialOptions } from "./options.ts";
import { type Lines, SerialSession } from "./session.ts";

export function createSource(_context: AdapterContext): Source<SerialPoint, SerialOptions> {
  const users = new Map<string, SerialSession>();
  // A line protocol has no addresses: two devices on one line would take each other's answers.
  const lines: Lines = {
    claim(line, session) {
      const user = users.get(line);
      if (user !== undefined && user !== session) {
        throw new LinesideError(
          "port_in_use",
          `device ${session.device}: ${line} is in use by device ${user.device}; a serial line carries one device, give each its own port`,
        );
      }
      users.set(line, session);
    },
    release(line, session) {
      if (users.get(line) === session) users.delete(line);
    },
  };
  return {
    open: (device, context) => new SerialSession(device, context, lines),
    async close() {
      await Promise.all([...users.values()].map((session) => session.close()));
    },
  };
}
