/**
 * The measured process: the agent on a generated site file, as `lineside run` starts it but for signals.
 *
 * What costs in the first seconds is compiling code, and a gateway runs for months. So the agent is given
 * a clock that is fast at first: in a few seconds it lives through a minute, poll for poll and commit for
 * commit, and is measured once that clock keeps time.
 */
import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { constants, type PerformanceEntry, PerformanceObserver } from "node:perf_hooks";
import { pino } from "pino";
import { Agent } from "#agent/agent.ts";
import { siteContext } from "#agent/cli/site.ts";
import { FastClock } from "./fast-clock.ts";
import { loadSite } from "#agent/site/load.ts";
import { type AgentTask, anonymousMb, deviceBytes, type Measured, report } from "./setup.ts";

const task = JSON.parse(process.argv[2] ?? "") as AgentTask;
const clock = new FastClock();

const { site, faults } = await loadSite(task.site, siteContext);
if (site === null) throw new Error(faults.map(({ message }) => message).join("\n"));
const data_dir = join(task.folder, "data");
await mkdir(data_dir, { recursive: true });
// Lines are made and written, as they are in a plant, but nobody reads them here.
const nowhere = await open("/dev/null", "w");
const log = pino({ level: "info" }, pino.destination({ fd: nowhere.fd, sync: true }));
const agent = await Agent.start({ site, data_dir, clock, log });

let collections = 0;
// Entries of type gc have the kind of collection as their detail.
const isMajor = (entry: PerformanceEntry & { readonly detail?: unknown }): boolean =>
  (entry.detail as { kind: number }).kind === constants.NODE_PERFORMANCE_GC_MAJOR;
new PerformanceObserver((list) => {
  collections += list.getEntries().filter(isMajor).length;
}).observe({ entryTypes: ["gc"] });

function figures() {
  const { sources, targets, journal, devices } = agent.status();
  const { user, system } = process.cpuUsage();
  return {
    readings: sources["modbus"] ?? 0,
    delivered: targets[0]?.delivered ?? 0,
    journal_bytes: journal.commit_bytes,
    overruns: devices.reduce((sum, one) => sum + one.overruns, 0),
    bad: devices.reduce((sum, one) => sum + one.bad, 0),
    collections,
    device_bytes: deviceBytes(),
    cpu_us: user + system,
    elapsed_ms: performance.now(),
  };
}

await clock.runFast(task.speed, task.warm_ms);
// Settles; and polls start with each second of its clock: begin in the middle between two, and end so.
await clock.sleep(1500 - (clock.monotonic_ms() % 1000));
const before = figures();
await clock.sleep(task.window_ms);
const after = figures();
const anonymous_mb = anonymousMb();
const difference = Object.fromEntries(
  Object.entries(after).map(([name, value]) => [name, value - before[name as keyof typeof before]]),
) as ReturnType<typeof figures>;
await report({ ...difference, anonymous_mb } satisfies Measured);
// Without a stop: the journal may be left at any moment, and nobody needs what is still to be delivered.
process.exit();
