/** The table of README.md, made from the profiles: `node firmware-profiles/readme.ts` writes it. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Files, shippedProfiles, topOf } from "./files.ts";
import { ProfileLoader, profileNames } from "./load.ts";
import type { Profile } from "./loaded.ts";
import { createReport } from "./report.ts";

export const readmeFile: string = join(import.meta.dirname, "README.md");

const BEGIN = "<!-- made by readme.ts -->\n";
const END = "<!-- end -->\n";

export function readmeTable(profiles: readonly Profile[]): string {
  const rows = profiles.map((profile) => {
    const settings = [...Object.keys(profile.versions), ...Object.keys(profile.parameters)];
    const verified = [...profile.points.values()].filter(({ fields }) =>
      fields.some((field) => typeof field["verified"] === "object"),
    );
    const cells = [
      `[${profile.name}](${profile.name}.yaml)`,
      profile.title,
      profile.models.join(", "),
      profile.protocol,
      String(profile.points.size),
      settings.join(", "),
      `${verified.length} of ${profile.points.size}`,
    ];
    return `| ${cells.join(" | ")} |`;
  });
  return [
    "| profile | device | models | protocol | points | differs by | verified points |",
    "| --- | --- | --- | --- | --- | --- | --- |",
    ...rows,
    "",
  ].join("\n");
}

async function write(): Promise<void> {
  const report = createReport();
  const loader = new ProfileLoader({
    files: new Files({ readFile, report }),
    report,
    beside: null,
    shipped: shippedProfiles,
  });
  const profiles: Profile[] = [];
  for (const name of await profileNames(shippedProfiles)) {
    const profile = await loader.load(name, topOf(name));
    if (profile !== null) profiles.push(profile);
  }
  const text = await readFile(readmeFile, "utf8");
  const [before = "", rest = ""] = text.split(BEGIN);
  await writeFile(readmeFile, `${before}${BEGIN}${readmeTable(profiles)}${END}${rest.split(END)[1] ?? ""}`);
}

if (import.meta.main) await write();
