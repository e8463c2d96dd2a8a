/**
 * The process behind `lineside sim`: serves a site or a profile and takes commands on standard input.
 *
 *   serve.ts SITE.yaml|PROFILE [--write FILE] [--json]
 *
 * With --json it prints one line once everything is served: [{device, where, options}, ...].
 */
import { EXIT } from "#agent/cli/exit.ts";
import { siteContext } from "#agent/cli/site.ts";
import { table } from "#agent/cli/table.ts";
import type { Site } from "#agent/site/contract.ts";
import { exampleSite } from "#agent/site/example.ts";
import { loadSite } from "#agent/site/load.ts";
import { formatFault } from "#profiles/fault.ts";
import { Command } from "commander";
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { parseDocument } from "yaml";
import type { Fault, Simulated } from "./contract.ts";
import { type Plant, startPlant } from "./plant.ts";

interface Options {
  readonly write?: string;
  readonly json?: boolean;
  readonly freePorts?: boolean;
}

const HELP = `commands:
  list                                   what is served
  cut DEVICE | restore DEVICE            unplug it, plug it in again
  fault DEVICE silence | duplicate | wrong_unit | garbage | refuse
  fault DEVICE delay MS | exception CODE FROM TO | connection_limit N | status NAME [POINT ...]
  clear DEVICE                           switch its faults off
  quit
`;

const program = new Command("serve")
  .argument("<site.yaml|profile>")
  .option("--write <file>")
  .option("--json")
  .option("--free-ports", "take free ports, whatever the site file says")
  .action(async (what: string, options: Options) => {
    const { site, text } = await siteOf(what);
    const plant = await startOrExit(site, options.freePorts !== true);
    if (options.write !== undefined) await writeFile(options.write, redirect(text, plant.devices));
    if (options.json === true) {
      const served = plant.devices.map(({ device, where, options: reach }) => ({ device, where, options: reach }));
      process.stdout.write(`${JSON.stringify(served)}\n`);
    } else {
      list(plant);
      if (options.write !== undefined)
        process.stdout.write(`\n${options.write} reads them: lineside read ${options.write}\n`);
      process.stdout.write("\nCtrl-C ends it; `help` tells what can be switched while it runs.\n");
    }
    await converse(plant);
    await plant.stop();
    process.exit(EXIT.done);
  });

/** A site file as it is, or a site around one profile. */
async function siteOf(what: string): Promise<{ site: Site; text: string }> {
  const source = what.endsWith(".yaml") || what.endsWith(".yml") ? await readFile(what, "utf8") : null;
  if (source !== null && /^devices:/m.test(source)) {
    return { site: await wholeDevices(what, source, await loadOrExit(what)), text: source };
  }
  // A path names a profile file; the folder above its vendor's is where it and its fragments are found.
  const folder = source === null ? "." : dirname(dirname(what));
  const name =
    source === null
      ? what
      : what
          .split(/[\\/]/)
          .slice(-2)
          .join("/")
          .replace(/\.ya?ml$/, "");
  const { text, faults } = await exampleSite(name, folder, siteContext);
  for (const fault of faults) process.stderr.write(`${formatFault(fault)}\n`);
  if (text === null) process.exit(EXIT.input);
  const path = join(folder, "example.yaml");
  const site = await loadOrExit(path, async (wanted) => (wanted === path ? Buffer.from(text) : await readFile(wanted)));
  return { site, text };
}

/** A device has all its points, also where the site file reads `only` some of them. */
async function wholeDevices(path: string, text: string, site: Site): Promise<Site> {
  const document = parseDocument(text);
  for (const item of devicesIn(document)) for (const key of ["only", "except"]) item.delete(key);
  const whole = Buffer.from(document.toString());
  const readWhole = async (wanted: string): Promise<Uint8Array> => (wanted === path ? whole : await readFile(wanted));
  return (await loadSite(path, { ...siteContext, readFile: readWhole })).site ?? site;
}

async function loadOrExit(path: string, read = siteContext.readFile): Promise<Site> {
  const { site, faults } = await loadSite(path, { ...siteContext, readFile: read });
  for (const fault of faults) process.stderr.write(`${formatFault(fault)}\n`);
  if (site === null) process.exit(EXIT.input);
  return site;
}

async function startOrExit(site: Site, own_ports: boolean): Promise<Plant> {
  try {
    return await startPlant(site, { own_ports });
  } catch (error) {
    const { code, address, port, message } = error as NodeJS.ErrnoException & { address?: string; port?: number };
    const why =
      code === "EADDRINUSE"
        ? "another program listens there"
        : code === "EACCES"
          ? "ports below 1024 are for root; name another port"
          : message;
    const at = port === undefined ? "" : ` at ${address ?? ""}:${port}`;
    process.stderr.write(`cannot serve${at}: ${why}\n`);
    process.exit(EXIT.device);
  }
}

/** The same site file with the addresses of the simulated devices; comments and order stay. */
function redirect(text: string, devices: readonly Simulated[]): string {
  const document = parseDocument(text);
  for (const item of devicesIn(document)) {
    const simulated = devices.find(({ device }) => device === item.get("id"));
    if (simulated === undefined) continue;
    const section = ["modbus", "opcua", "serial"].find((key) => item.get(key) !== undefined) ?? "";
    for (const [key, value] of Object.entries(simulated.options)) item.setIn([section, key], value);
  }
  return document.toString({ lineWidth: 0 });
}

interface DeviceItem {
  get(key: string): unknown;
  setIn(path: string[], value: unknown): void;
  delete(key: string): boolean;
}

/** The devices of a site file that was loaded before: maps in a list. */
function devicesIn(document: ReturnType<typeof parseDocument>): DeviceItem[] {
  return (document.get("devices") as { items: DeviceItem[] }).items;
}

function list(plant: Plant): void {
  const columns = [
    { title: "device", text: ({ device }: Simulated) => device },
    { title: "served at", text: ({ where }: Simulated) => where },
  ];
  process.stdout.write(table(columns, plant.devices));
}

/** Takes commands until `quit`, the end of a piped input that said something, or a signal. */
async function converse(plant: Plant): Promise<void> {
  const ended = Promise.withResolvers<void>();
  process.once("SIGINT", () => ended.resolve());
  process.once("SIGTERM", () => ended.resolve());
  // A parent that dies takes the plant with it; nobody would end it otherwise.
  process.once("disconnect", () => ended.resolve());
  process.once("message", () => ended.resolve());
  const faults = new Map<string, (() => void)[]>();
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => {
    const words = line.trim().split(/\s+/);
    if (words[0] === "quit") return ended.resolve();
    void command(plant, words, faults).then((text) => process.stdout.write(text));
  });
  await ended.promise;
  lines.close();
}

async function command(plant: Plant, words: readonly string[], faults: Map<string, (() => void)[]>): Promise<string> {
  const [verb = "", id = "", kind = "", ...rest] = words;
  if (verb === "") return "";
  if (verb === "list") {
    list(plant);
    return "";
  }
  const device = plant.device(id);
  if (verb === "help" || device === undefined) {
    return verb === "help"
      ? HELP
      : `no device ${id}; there are: ${plant.devices.map((one) => one.device).join(", ")}\n`;
  }
  if (verb === "cut") return await device.cut().then(() => `${id} is cut off\n`);
  if (verb === "restore") return await device.restore().then(() => `${id} is back\n`);
  if (verb === "clear") {
    for (const off of faults.get(id) ?? []) off();
    faults.delete(id);
    return `${id} is well again\n`;
  }
  const fault = verb === "fault" ? faultOf(kind, rest) : null;
  if (fault === null) return HELP;
  faults.set(id, [...(faults.get(id) ?? []), device.inject(fault)]);
  return `${id}: ${kind}\n`;
}

function faultOf(kind: string, rest: readonly string[]): Fault | null {
  const numbers = rest.map(Number);
  const [a = 0, b = 0, c = 65_535] = numbers;
  switch (kind) {
    case "silence":
    case "duplicate":
    case "wrong_unit":
    case "garbage":
    case "refuse":
      return { kind };
    case "delay":
      return { kind, ms: a };
    case "exception":
      return { kind, code: a, from: b, to: c };
    case "connection_limit":
      return { kind, connections: a };
    case "status":
      return { kind, code: rest[0] ?? "Bad", points: rest.slice(1) };
    default:
      return null;
  }
}

try {
  await program.parseAsync();
} catch (error) {
  // A port that is taken, a file that is not there: said in a line. What was served already ends with us.
  if (!(error instanceof Error) || !("code" in error)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(EXIT.input);
}
