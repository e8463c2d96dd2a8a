/** The smallest site file that a profile runs in: for `lineside sim PROFILE`, and as a start for a person. */
import { Files, shippedProfiles, topOf } from "#profiles/files.ts";
import { ProfileLoader } from "#profiles/load.ts";
import { createReport } from "#profiles/report.ts";
import { defaultFacts } from "#profiles/resolve.ts";
import { stringify } from "yaml";
import type { LoadedSite, SiteContext } from "./contract.ts";

/** Where a device of each protocol might be; ports that nobody needs root for. */
const SECTIONS = {
  modbus: { host: "127.0.0.1", port: 15_020, unit: 1 },
  opcua: { endpoint: "opc.tcp://127.0.0.1:48400" },
  serial: { port: "/dev/ttyUSB0" },
} as const;

/**
 * The text of that site file, or the faults of the profile. `folder` is where profiles beside a site
 * file are looked for, and where the text would have to be saved for them to be found again.
 */
export async function exampleSite(
  profileName: string,
  folder: string,
  context: Pick<SiteContext, "readFile" | "profiles_dir">,
): Promise<{ readonly text: string | null; readonly faults: LoadedSite["faults"] }> {
  const report = createReport();
  const loader = new ProfileLoader({
    files: new Files({ readFile: context.readFile, report }),
    report,
    beside: { path: folder, name: folder },
    shipped: context.profiles_dir ?? shippedProfiles,
  });
  const profile = await loader.load(profileName, topOf(profileName));
  if (profile === null || report.failed) return { text: null, faults: report.list() };
  const facts = defaultFacts(profile);
  const needed = Object.entries(profile.parameters).filter(([, { default: fallback }]) => fallback === undefined);
  const device = {
    id: profileName.split("/").at(-1) ?? profileName,
    profile: profileName,
    ...(needed.length > 0 && {
      parameters: Object.fromEntries(needed.map(([name]) => [name, facts.parameters.get(name)])),
    }),
    [profile.protocol]: SECTIONS[profile.protocol],
  };
  const site = { gateway: { id: "example" }, devices: [device], targets: [{ console: {} }] };
  return { text: stringify(site), faults: report.list() };
}
