/**
 * The agent as a process: signals, reload, exit.
 *
 *   SIGTERM, SIGINT ─▶ stop: flush, then exit 0 (a second one: at once)
 *   SIGHUP, a changed file ─▶ load the site file again ─▶ faults: logged, the old one goes on
 *                                                     └▶ valid: only what changed is restarted
 */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { watch, type FSWatcher } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Clock } from "#adapters/contract.ts";
import { formatFault } from "#profiles/fault.ts";
import type { Logger } from "pino";
import { Agent } from "./agent.ts";
import { systemClock } from "./clock.ts";
import { createLog } from "./log.ts";
import { messageOf } from "./message.ts";
import type { LoadedSite, Site } from "./site/contract.ts";

/** Editors write a file in several steps: the last of them counts. */
const SETTLE_MS = 300;

export interface RunOptions {
  /** Loads the site file anew. */
  readonly load: () => Promise<LoadedSite>;
  readonly site: Site;
  /** Every file that it was made from: a change of one of them is a reload. */
  readonly files: readonly string[];
  readonly data_dir: string;
}

/** Runs until a signal ends it; resolves with the exit code. */
export async function runAgent(options: RunOptions): Promise<number> {
  const { site, data_dir, load } = options;
  // Secrets of the site before count too: what it started may still be ending.
  let [current, before] = [site, site];
  const redact = (line: string): string => current.redact(current === before ? line : before.redact(line));
  const { level, format } = site.agent.log;
  const pretty = format === "pretty" || (format === "auto" && process.stderr.isTTY);
  const log = createLog({ level, format: pretty ? "pretty" : "json", redact });
  const clock = systemClock;

  // From the first moment on: a signal's own default would end the process, also SIGHUP's.
  const ended = Promise.withResolvers<void>();
  let stopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    log.info({ signal }, "stopping");
    stopping = true;
    // A second signal is impatience: the journal is safe to leave at any moment.
    for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => process.exit(130));
    ended.resolve();
  };
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  const starting = start(options, clock, log);
  let reloading: Promise<void> = Promise.resolve();
  const reload = (why: string): void => {
    reloading = reloading.then(async () => {
      const agent = await starting;
      if (agent === null || stopping) return;
      try {
        const next = await reloadSite(agent, load, log, why, (taken) => ([before, current] = [current, taken]));
        if (!stopping) watcher.follow(next.files);
      } catch (error) {
        log.error({ why, err: error }, `the site file was not taken: ${messageOf(error)}; the old one goes on`);
      }
    });
  };
  process.on("SIGHUP", () => reload("SIGHUP"));
  const watcher = new FileWatch(() => reload("file change"));

  const agent = await starting;
  if (agent === null) return 1;
  const { url } = agent;
  const about = join(data_dir, "agent.json");
  await writeFile(about, `${JSON.stringify({ pid: process.pid, url })}\n`).catch((error: unknown) => {
    log.warn({ err: error }, `${about} cannot be written: ${messageOf(error)}`);
  });
  log.info({ devices: site.devices.length, targets: site.targets.length, data: data_dir }, `${site.gateway.id} runs`);
  if (site.targets.length === 0) log.warn({}, "no target is configured: readings are journaled and go nowhere");
  watcher.follow(options.files);
  await ended.promise;
  watcher.close();
  await reloading;
  await agent.stop();
  await rm(about, { force: true }).catch(() => undefined);
  log.info({}, "stopped");
  return 0;
}

/** null where it cannot start, and why is said. */
async function start({ site, data_dir }: RunOptions, clock: Clock, log: Logger): Promise<Agent | null> {
  try {
    await mkdir(data_dir, { recursive: true });
    return await Agent.start({ site, data_dir, clock, log });
  } catch (error) {
    // What a person can mend is said in one line; a defect of ours keeps its stack.
    if (!(error instanceof Error) || !("code" in error)) throw error;
    log.error(
      { code: error.code },
      error.code === "EEXIST" ? `--data ${data_dir}: this is a file, not a folder` : error.message,
    );
    return null;
  }
}

/** Takes the new file where it is valid; says why not where it is not, and changes nothing then. */
async function reloadSite(
  agent: Agent,
  load: RunOptions["load"],
  log: Logger,
  why: string,
  taking: (site: Site) => void,
): Promise<LoadedSite> {
  const loaded = await load();
  for (const fault of loaded.faults) {
    if (fault.severity === "fault") log.error({}, formatFault(fault));
    else log.warn({}, formatFault(fault));
  }
  if (loaded.site === null) {
    log.error({ why }, "the site file was not taken: it has faults; the old one goes on");
    return loaded;
  }
  taking(loaded.site);
  const { started, stopped, replaced } = await agent.apply(loaded.site);
  log.info({ why, started, stopped, replaced }, "the site file was taken");
  return loaded;
}

/** Watches the folders of files, for editors replace files rather than write into them. */
class FileWatch {
  readonly #changed: () => void;
  #watchers: FSWatcher[] = [];
  #cancel: (() => void) | null = null;

  constructor(changed: () => void) {
    this.#changed = changed;
  }

  follow(files: readonly string[]): void {
    for (const watcher of this.#watchers) watcher.close();
    const names = new Map<string, Set<string>>();
    for (const file of files) names.set(dirname(file), (names.get(dirname(file)) ?? new Set()).add(basename(file)));
    this.#watchers = [...names].flatMap(([folder, wanted]) => {
      try {
        const watcher = watch(folder, { persistent: false }, (_, name) => {
          if (name !== null && wanted.has(name)) this.#settle();
        });
        // A folder that goes away ends its watch; SIGHUP still reloads.
        watcher.on("error", () => watcher.close());
        return [watcher];
      } catch {
        return [];
      }
    });
  }

  close(): void {
    this.#cancel?.();
    for (const watcher of this.#watchers) watcher.close();
  }

  #settle(): void {
    this.#cancel?.();
    this.#cancel = systemClock.after(SETTLE_MS, this.#changed);
  }
}
