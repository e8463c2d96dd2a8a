/** The measured process: the agent on a generated site file, as `lineside run` starts it but for signals. */
import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { pino } from "pino";
import { Agent } from "#agent/agent.ts";
import { siteContext } from "#agent/cli/site.ts";
import { systemClock as clock } from "#agent/clock.ts";
import { loadSite } from "#agent/site/load.ts";
import { type AgentTask, anonymousMb, deviceBytes, type Measured, report } from "./setup.ts";

const task = JSON.parse(process.argv[2] ?? "") as AgentTask;

const { site, faults } = await loadSite(task.site, siteContext);
if (site === null) throw new Error(faults.map(({ message }) => message).join("\n"));
const data_dir = join(task.folder, "data");
await mkdir(data_dir, { recursive: true });
// Lines are made and written, as they are in a plant, but nobody reads them here.
const nowhere = await open("/dev/null", "w");
const log = pino({ level: "info" }, pino.destination({ fd: nowhere.fd, sync: true }));
const agent = await Agent.start({ site, data_dir, clock, log });

function figures() {
  const { sources, targets, journal, devices } = agent.status();
  const { user, system } = process.cpuUsage();
  return {
    readings: sources["modbus"] ?? 0,
    delivered: targets[0]?.delivered ?? 0,
    journal_bytes: journal.commit_bytes,
    overruns: devices.reduce((sum, one) => sum + one.overruns, 0),
    bad: devices.reduce((sum, one) => sum + one.bad, 0),
    device_bytes: deviceBytes(),
    cpu_us: user + system,
    elapsed_ms: performance.now(),
  };
}

await clock.sleep(task.warm_ms);
// Polls start with each second of this process: begin in the middle between two, and end so.
await clock.sleep(1500 - (performance.now() % 1000));
const before = figures();
await clock.sleep(task.window_ms);
const after = figures();
const anonymous_mb = anonymousMb();
await agent.stop();
const difference = Object.fromEntries(
  Object.entries(after).map(([name, value]) => [name, value - before[name as keyof typeof before]]),
) as ReturnType<typeof figures>;
await report({ ...difference, anonymous_mb } satisfies Measured);
process.exit();
