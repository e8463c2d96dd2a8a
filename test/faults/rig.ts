/**
 * The agent from the outside, as its user runs it: a process of its own, a site file, a data directory,
 * and simulated devices and an OTLP receiver around it.
 *
 *   Plant (simulated devices) ◀── sockets, pty ── lineside run SITE.yaml ── OTLP ──▶ Receiver
 *                                                     │ /status
 *   test ◀────────────────────────────────────────────┘ kill, stop
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { TestContext } from "node:test";
import { siteContext } from "#agent/cli/site.ts";
import { loadSite } from "#agent/site/load.ts";
import type { AgentStatus, DeviceReadings, TargetStatus } from "#agent/status.ts";
import { formatFault } from "#profiles/fault.ts";
import { type Plant, startPlant } from "../hardware-sim/plant.ts";

const LINESIDE = resolve(import.meta.dirname, "../../agent/cli/lineside.js");
const READY_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 20_000;
const LOG_LINES_MAX = 5_000;
/**
 * Closes what the agent must not inherit, then becomes the agent: a simulated serial line is a pty of the
 * test's process, and one whose other end the agent held itself would never hang up.
 */
const WITH_STDIO_ALONE = 'for fd in /proc/$$/fd/*; do n=${fd##*/}; ((n > 2)) && eval "exec $n>&-"; done; exec "$@"';

export const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/** Polls until `check` gives something other than null or false; fails with what `what` says. */
export async function until<T>(
  what: string | (() => string),
  timeout_ms: number,
  check: () => T | Promise<T>,
): Promise<NonNullable<T>> {
  const end_ms = performance.now() + timeout_ms;
  for (;;) {
    const found = await check();
    if (found !== null && found !== undefined && found !== false) return found;
    if (performance.now() > end_ms) {
      throw new Error(`not within ${timeout_ms} ms: ${typeof what === "string" ? what : what()}`);
    }
    await sleep(20);
  }
}

/** A folder that ends with the test. */
export function makeFolder(t: Pick<TestContext, "after">): string {
  const folder = mkdtempSync(join(tmpdir(), "lineside-faults-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface SiteGiven {
  readonly devices: readonly (Readonly<Record<string, unknown>> & { readonly id: string })[];
  readonly targets: readonly object[];
  readonly agent?: object;
}

export interface Site {
  readonly folder: string;
  readonly file: string;
  readonly data_dir: string;
  readonly plant: Plant;
}

/** Serves a site's devices, and writes the site file that reads them where they are. */
export async function serve(t: Pick<TestContext, "after">, given: SiteGiven): Promise<Site> {
  const folder = makeFolder(t);
  const file = join(folder, "site.yaml");
  const text = (devices: SiteGiven["devices"]): string =>
    JSON.stringify({
      gateway: { id: "faults-gw" },
      devices,
      targets: given.targets,
      agent: { http: { port: 0 }, metrics_interval: false, ...given.agent },
    });
  writeFileSync(file, text(given.devices));
  const { site, faults } = await loadSite(file, siteContext);
  assert.ok(site !== null, faults.map(formatFault).join("\n"));
  const plant = await startPlant(site, { own_ports: false });
  t.after(() => plant.stop());
  const placed = given.devices.map((device) => {
    const options = plant.device(device.id)?.options ?? {};
    const section = ["modbus", "opcua", "serial"].find((key) => key in device) ?? "";
    return { ...device, [section]: { ...(device[section] as object), ...options } };
  });
  writeFileSync(file, text(placed));
  return { folder, file, data_dir: join(folder, "data"), plant };
}

export interface LogLine {
  readonly level: number | string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** The running agent. */
export class AgentProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | string>;
  readonly #output: string[] = [];
  url = "";

  private constructor(file: string, data_dir: string) {
    const command = [process.execPath, LINESIDE, "run", file, "--data", data_dir];
    this.#child = spawn("bash", ["-c", WITH_STDIO_ALONE, "lineside", ...command], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#ended = new Promise((done) => this.#child.once("close", (code, signal) => done(signal ?? code ?? -1)));
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      let rest = "";
      stream?.setEncoding("utf8").on("data", (text: string) => {
        const lines = (rest + text).split("\n");
        rest = lines.pop() ?? "";
        this.#output.push(...lines);
        if (this.#output.length > LOG_LINES_MAX) this.#output.splice(0, this.#output.length - LOG_LINES_MAX);
      });
    }
  }

  /** Starts it and resolves when it serves its status; ends it with the test. */
  static async start(
    t: Pick<TestContext, "after">,
    { file, data_dir }: Pick<Site, "file" | "data_dir">,
  ): Promise<AgentProcess> {
    const agent = new AgentProcess(file, data_dir);
    t.after(() => agent.kill());
    let ended: number | string | null = null;
    void agent.#ended.then((how) => (ended = how));
    agent.url = await until(
      () => `the agent is ready; it ended: ${ended ?? "no"}; it wrote:\n${agent.output()}`,
      READY_TIMEOUT_MS,
      () => {
        if (ended !== null) throw new Error(`the agent ended at once (${ended}); it wrote:\n${agent.output()}`);
        return agent.#announced(data_dir);
      },
    );
    return agent;
  }

  /** agent.json names this very process once its status page can be had. */
  #announced(data_dir: string): string | null {
    const path = join(data_dir, "agent.json");
    if (!existsSync(path)) return null;
    const text = readFileSync(path, "utf8");
    if (!text.endsWith("\n")) return null;
    const { pid, url } = JSON.parse(text) as { pid: number; url: string };
    return pid === this.#child.pid ? url : null;
  }

  /** The last lines that it wrote, for messages. */
  output(lines = 40): string {
    return this.#output.slice(-lines).join("\n");
  }

  /** Its log so far, where it is JSON. */
  log(): LogLine[] {
    return this.#output.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as LogLine);
  }

  async status(): Promise<AgentStatus> {
    const response = await fetch(`${this.url}/status`);
    return (await response.json()) as AgentStatus;
  }

  async readings(device: string): Promise<DeviceReadings> {
    const response = await fetch(`${this.url}/status/${device}`);
    return (await response.json()) as DeviceReadings;
  }

  /** The only target's figures. */
  async target(): Promise<TargetStatus> {
    const [target] = (await this.status()).targets;
    assert.ok(target !== undefined, "the site has no target");
    return target;
  }

  /** As a power cut would: no signal handler runs. Resolves when it is gone. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  /** SIGTERM; resolves with its exit code. */
  async stop(): Promise<number | string> {
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    const how = await this.#ended;
    clearTimeout(timer);
    return how;
  }
}
