import { mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AdapterContext } from "../../contract.ts";
import { type Stand, targetSuite } from "#test/contract/target.ts";
import { recordsOfLines } from "#test/contract/lines.ts";
import { fileOptions } from "./options.ts";
import { createTarget } from "./target.ts";

targetSuite("file", { timeout_ms: null, open });

async function open(context: AdapterContext): Promise<Stand> {
  const root = await mkdtemp(join(tmpdir(), "lineside-file-"));
  const folder = join(root, "there");
  const away = join(root, "away");
  await rename(await mkdtemp(join(root, "new-")), folder);
  const path = join(folder, "readings.jsonl");
  return {
    target: await createTarget(fileOptions.parse({ path }), context),
    received: async () => recordsOfLines(await readFile(path, "utf8")),
    refuse: null,
    postpone: null,
    tooLarge: null,
    silence: null,
    heal: () => {},
    // As when the disk is taken out, and put back.
    lose: () => rename(folder, away),
    regain: () => rename(away, folder),
    stop: () => rm(root, { recursive: true }),
  };
}
