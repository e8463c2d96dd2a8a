/**
 * `npm start`: the demo. Everything is real but the machines: they are simulated, on sockets and a pty.
 *
 *   serve.ts (a process of its own) ── Modbus, OPC UA, serial ──▶ agent ── OTLP/gRPC ──▶ receiver
 *                                                                  └ status ──▶ live view
 *
 *   --for 15s   ends by itself      --json   no view; one JSON line at the end
 */
import { Agent } from "#agent/agent.ts";
import { systemClock as clock } from "#agent/clock.ts";
import { siteContext } from "#agent/cli/site.ts";
import { createLog } from "#agent/log.ts";
import { loadSite } from "#agent/site/load.ts";
import type { Site } from "#agent/site/contract.ts";
import type { AgentStatus } from "#agent/status.ts";
import { formatFault } from "#profiles/fault.ts";
import { duration } from "#profiles/schema.ts";
import { type Receiver, startReceiver } from "#test/receiver/receiver.ts";
import { Command, InvalidArgumentError } from "commander";
import { type ChildProcess, fork } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseDocument } from "yaml";
import { type Model, render } from "./view.ts";

const PLANT = fileURLToPath(new URL("plant.yaml", import.meta.url));
const SERVE = fileURLToPath(new URL("../serve.ts", import.meta.url));
const REFRESH_MS = 500;
/** Without a terminal the view is a line now and then. */
const LINE_MS = 5_000;

interface Options {
  readonly for?: number;
  readonly json?: boolean;
  readonly data?: string;
}

const program = new Command("npm start --")
  .description("Lineside on a simulated plant: two Modbus devices, an OPC UA machine, a scale on a serial line.")
  .option("--for <duration>", "end after so long, such as 15s or 5min", (text) => {
    const parsed = duration.safeParse(text);
    if (!parsed.success) throw new InvalidArgumentError("expected a duration such as 15s or 5min");
    return parsed.data;
  })
  .option("--json", "no view; end with one JSON line")
  .option("--data <dir>", "keep the journal here instead of in a temporary folder")
  .action(demo);

async function demo(options: Options): Promise<void> {
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort());
  process.once("SIGTERM", () => stop.abort());
  const folder = await mkdtemp(join(tmpdir(), "lineside-demo-"));
  try {
    await demoIn(folder, options, stop);
  } catch (error) {
    // Ctrl-C while the plant starts ends the plant as well; that is no failure.
    if (!stop.signal.aborted) throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function demoIn(folder: string, options: Options, stop: AbortController): Promise<void> {
  const say = (text: string): void => void (options.json === true || process.stdout.write(`${text}\n`));
  say("Starting the simulated plant: Modbus TCP, OPC UA and a serial line ...");
  const receiver = await startReceiver({ http_port: null });
  const path = join(folder, "site.yaml");
  const { child, places } = await startPlantProcess(path);
  for (const { device, where } of places) say(`  ${device.padEnd(12)} ${where}`);
  await pointAt(path, receiver);
  const site = await demoSite(path);
  // The view owns the terminal; without one, warnings are of use.
  const live = options.json !== true && process.stdout.isTTY;
  const log = createLog({ level: live ? "silent" : "warn", format: "pretty", redact: (text) => site.redact(text) });
  const agent = await Agent.start({ site, data_dir: options.data ?? join(folder, "data"), clock, log });
  say(`The agent runs${agent.url === null ? "" : `; ${agent.url}/metrics and /status tell more`}.`);
  child.once("exit", () => stop.abort());
  if (options.for !== undefined) void clock.sleep(options.for, stop.signal).then(() => stop.abort());
  const screen = new Screen(agent, site, receiver, child, stop);
  await screen.run(options.json === true ? "none" : live ? "live" : "lines");
  if (receiver.isOut()) await receiver.setOutage(false);
  // Devices are gone from the status once they are stopped; the counts go on until the last acknowledgement.
  const { devices } = agent.status();
  await agent.stop();
  const summary = summaryOf({ ...agent.status(), devices }, receiver);
  await receiver.stop();
  child.send("quit", () => undefined);
  child.disconnect();
  if (options.json === true) process.stdout.write(`${JSON.stringify(summary)}\n`);
  else
    say(
      `read ${summary.read} = delivered ${summary.delivered} + queued ${summary.queued} + dropped ${summary.dropped}`,
    );
  process.exitCode = summary.read === summary.delivered + summary.queued + summary.dropped ? 0 : 1;
}

interface Place {
  readonly device: string;
  readonly where: string;
}

/** Starts the plant beside us, so that its work is not the agent's; it writes the site file that reads it. */
async function startPlantProcess(path: string): Promise<{ child: ChildProcess; places: Place[] }> {
  const child = fork(SERVE, [PLANT, "--write", path, "--json", "--free-ports"], {
    stdio: ["pipe", "pipe", "inherit", "ipc"],
    execArgv: [],
  });
  const { stdout } = child;
  if (stdout === null) throw new Error("the plant has no output");
  const lines = createInterface({ input: stdout });
  const first = await new Promise<string>((resolve, reject) => {
    lines.once("line", resolve);
    child.once("exit", (code) => reject(new Error(`the simulated plant ended with code ${code}`)));
  });
  // Later output answers our commands; nobody needs it.
  lines.on("line", () => undefined);
  return { child, places: JSON.parse(first) as Place[] };
}

/** The receiver has a free port: the site file is told. */
async function pointAt(path: string, receiver: Receiver): Promise<void> {
  const document = parseDocument(await readFile(path, "utf8"));
  document.setIn(["targets", 0, "otlp", "endpoint"], receiver.grpc_endpoint);
  await writeFile(path, document.toString());
}

async function demoSite(path: string): Promise<Site> {
  const { site, faults } = await loadSite(path, siteContext);
  for (const fault of faults) process.stderr.write(`${formatFault(fault)}\n`);
  if (site === null) throw new Error("the demo's site file has faults");
  return site;
}

/** What `--json` prints: conservation over all targets, readings by source. */
function summaryOf(status: AgentStatus, receiver: Receiver) {
  const [target] = status.targets;
  if (target === undefined) throw new Error("the demo has a target");
  const { read, delivered, queued, dropped } = target;
  const { modbus = 0, opcua = 0, serial = 0, agent = 0 } = status.sources;
  const { points, logs, series } = receiver.totals();
  return {
    read,
    delivered,
    queued,
    dropped,
    sources: { modbus, opcua, serial, agent },
    received: { points, logs, gaps: gapsIn(receiver), series },
    devices: Object.fromEntries(status.devices.map(({ id, state, bad }) => [id, { state, bad }])),
  };
}

const gapsIn = (receiver: Receiver): number => receiver.logs().filter(({ name }) => name === "lineside.gap").length;

/** The live view and the keys that a person tries. */
class Screen {
  readonly #agent: Agent;
  readonly #receiver: Receiver;
  readonly #plant: ChildProcess;
  readonly #stop: AbortController;
  readonly #ids: readonly string[];
  readonly #unplugged = new Set<string>();
  #selected = 0;
  #out_since_us: number | null = null;
  #before: { readonly status: AgentStatus } | null = null;
  #rates = new Map<string, number>();
  #rate = 0;
  #delivery_rate = 0;
  #cpu_share = 0;

  constructor(agent: Agent, site: Site, receiver: Receiver, plant: ChildProcess, stop: AbortController) {
    this.#agent = agent;
    this.#receiver = receiver;
    this.#plant = plant;
    this.#stop = stop;
    this.#ids = site.devices.map(({ id }) => id);
  }

  async run(mode: "live" | "lines" | "none"): Promise<void> {
    const { signal } = this.#stop;
    if (mode === "live") this.#enter();
    try {
      while (!signal.aborted) {
        await clock.sleep(mode === "live" ? REFRESH_MS : LINE_MS, signal);
        if (mode === "live") this.#draw();
        else if (mode === "lines" && !signal.aborted) this.#line();
      }
    } finally {
      if (mode === "live") this.#leave();
    }
  }

  #enter(): void {
    // The alternate screen: what was in the terminal before comes back afterwards.
    process.stdout.write("\x1b[?1049h\x1b[?25l");
    process.stdin.setRawMode(true);
    process.stdin.resume();
    process.stdin.on("data", this.#keys);
    process.stdout.on("resize", this.#draw);
  }

  #leave(): void {
    process.stdin.off("data", this.#keys);
    process.stdin.setRawMode(false);
    process.stdin.pause();
    process.stdout.off("resize", this.#draw);
    process.stdout.write("\x1b[?25h\x1b[?1049l");
  }

  /** A slow line brings several keys at once; some terminals send arrows as ESC O. */
  readonly #keys = (data: Buffer): void => {
    for (const key of data.toString("latin1").match(/\x1b[[O][A-D]|[^\x1b]/g) ?? [])
      this.#key(key.replace("\x1bO", "\x1b["));
    this.#draw();
  };

  #key(key: string): void {
    if (key === "q" || key === "\x03" || key === "\x04") return this.#stop.abort();
    if (key === "\x1b[A" || key === "k") this.#selected = (this.#selected + this.#ids.length - 1) % this.#ids.length;
    if (key === "\x1b[B" || key === "j" || key === "\t") this.#selected = (this.#selected + 1) % this.#ids.length;
    if (key === "o") this.#toggleOutage();
    if (key === "u") this.#toggleDevice();
  }

  #toggleOutage(): void {
    const out = !this.#receiver.isOut();
    this.#out_since_us = out ? clock.now_us() : null;
    void this.#receiver.setOutage(out);
  }

  #toggleDevice(): void {
    const id = this.#ids[this.#selected] ?? "";
    const out = !this.#unplugged.has(id);
    if (out) this.#unplugged.add(id);
    else this.#unplugged.delete(id);
    this.#plant.stdin?.write(`${out ? "cut" : "restore"} ${id}\n`);
  }

  readonly #draw = (): void => {
    const { columns = 100, rows = 40 } = process.stdout;
    const text = render(this.#model(), { columns, rows }, true);
    process.stdout.write(`\x1b[H${text.replaceAll("\n", "\x1b[K\n")}\x1b[K\x1b[J`);
  };

  #line(): void {
    const { status, rate } = this.#model();
    const up = status.devices.filter(({ state }) => state === "up").length;
    const [target] = status.targets;
    const counts =
      target === undefined ? "" : `, delivered ${target.delivered}, queued ${target.queued}, dropped ${target.dropped}`;
    process.stdout.write(`${up} of ${status.devices.length} devices up, ${rate.toFixed(0)} readings/s${counts}\n`);
  }

  #model(): Model {
    const status = this.#agent.status();
    const before = this.#before?.status;
    const seconds = before === undefined ? 0 : (status.now_us - before.now_us) / 1e6;
    if (before === undefined || seconds >= 1) {
      this.#measure(status, before, seconds);
      this.#before = { status };
    }
    const selected = this.#ids[this.#selected] ?? "";
    const { points, logs } = this.#receiver.totals();
    return {
      status,
      rates: this.#rates,
      rate: this.#rate,
      delivery_rate: this.#delivery_rate,
      selected,
      readings: this.#agent.readings(selected)?.readings ?? [],
      out_since_us: this.#out_since_us,
      unplugged: this.#unplugged,
      cpu_share: this.#cpu_share,
      received: { points, logs, gaps: gapsIn(this.#receiver) },
    };
  }

  #measure(status: AgentStatus, before: AgentStatus | undefined, seconds: number): void {
    if (before === undefined) return;
    const was = new Map(before.devices.map(({ id, readings }) => [id, readings]));
    this.#rates = new Map(status.devices.map(({ id, readings }) => [id, (readings - (was.get(id) ?? 0)) / seconds]));
    this.#rate = [...this.#rates.values()].reduce((sum, rate) => sum + rate, 0);
    const delivered = (one: AgentStatus): number => one.targets.reduce((sum, target) => sum + target.delivered, 0);
    this.#delivery_rate = (delivered(status) - delivered(before)) / seconds;
    this.#cpu_share = (status.process.cpu_s - before.process.cpu_s) / seconds;
  }
}

await program.parseAsync();
