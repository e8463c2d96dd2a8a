/** The OPC UA source. Devices share nothing but the folder of certificates; each has a session of its own. */
import type { OpcuaPoint } from "#profiles/schema.ts";
import type { AdapterContext, Session, Source } from "../../contract.ts";
import type { OpcuaOptions } from "./options.ts";
import { quieten } from "./quiet.ts";
import { keepNotificationsRaw } from "./raw.ts";
import { OpcuaSession } from "./session.ts";
import { createTrustStore } from "./trust.ts";

export function createSource(context: AdapterContext): Source<OpcuaPoint, OpcuaOptions> {
  quieten(context.log);
  keepNotificationsRaw();
  const trust = createTrustStore(context);
  const live = new Set<Session>();
  return {
    open: (device, sessionContext) => new OpcuaSession(device, sessionContext, trust, live),
    async close() {
      await Promise.all([...live].map((session) => session.close()));
      await trust.close();
    },
  };
}
