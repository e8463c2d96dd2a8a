/** How every command takes a site file: faults as lines, secrets from the environment and files. */
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { formatFault } from "#profiles/fault.ts";
import type { LoadedSite, Site, SiteContext } from "../site/contract.ts";
import { loadSite } from "../site/load.ts";
import { EXIT, exitWith } from "./exit.ts";

export const siteContext: SiteContext = {
  env: (name) => process.env[name],
  readFile: async (path) => await readFile(path),
  resource: { "host.name": hostname(), "host.arch": process.arch },
};

export const load = async (path: string): Promise<LoadedSite> => await loadSite(path, siteContext);

/** The site, or the faults on standard error and exit 1. Warnings are printed and do not stop anything. */
export async function siteOrExit(path: string): Promise<LoadedSite & { readonly site: Site }> {
  const loaded = await load(path);
  for (const fault of loaded.faults) process.stderr.write(`${formatFault(fault)}\n`);
  return { ...loaded, site: loaded.site ?? exitWith(EXIT.input) };
}
