/**
 * `npm run bench`: every stage beside its floor.
 *
 *   main ──stage, repeat──▶ new process ──▶ test/bench/STAGE.ts ──rows──▶ medians ──▶ table or JSON
 *
 *   npm run bench -- [--only STAGE[,STAGE...]] [--repeats N] [--json]
 *
 * Each repeat runs in a process of its own, so that no stage inherits another's heap or compiled code.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Stage } from "./stage.ts";
import { type Figure, type Repeat, summarize, table } from "./summary.ts";

/** In the order of a reading's way; a stage is the file of that name in this folder, and its function `bench`. */
const STAGES = ["modbus", "opcua", "serial", "collect", "journal", "otlp", "end-to-end"];
const REPEATS = 3;
const REPEAT_TIMEOUT_MS = 300_000;
/** Marks the line that a stage's process gives its result in; anything else it prints is for people. */
const RESULT = "@bench ";

const fileOf = (stage: string): string => join(import.meta.dirname, `${stage}.ts`);

/** The process of one repeat: measures and prints. */
async function measure(stage: string): Promise<void> {
  const { bench } = (await import(fileOf(stage))) as { bench?: Stage };
  if (bench === undefined) throw new Error(`${fileOf(stage)} exports no function \`bench\``);
  const rows = await bench();
  const repeat: Repeat = { rows, rss_mb: process.resourceUsage().maxRSS / 1024 };
  process.stdout.write(`${RESULT}${JSON.stringify(repeat)}\n`);
}

/** Runs one repeat of a stage in a new process. */
async function repeatOf(stage: string): Promise<Repeat> {
  const args = ["--expose-gc", import.meta.filename, "--measure", stage];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"], timeout: REPEAT_TIMEOUT_MS });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => (text += part));
  const code = await new Promise<number | null>((done) => child.on("close", done));
  const line = text.split("\n").find((one) => one.startsWith(RESULT));
  if (code !== 0 || line === undefined) {
    throw new Error(`stage ${stage} ended with ${code ?? "a signal"} and no result\n${text}`);
  }
  return JSON.parse(line.slice(RESULT.length)) as Repeat;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: "string" },
      repeats: { type: "string", default: String(REPEATS) },
      json: { type: "boolean", default: false },
      measure: { type: "string" },
    },
  });
  if (values.measure !== undefined) {
    await measure(values.measure);
    return 0;
  }
  const there = STAGES.filter((stage) => existsSync(fileOf(stage)));
  const wanted = values.only?.split(",") ?? there;
  const unknown = wanted.filter((stage) => !there.includes(stage));
  const repeats = Number(values.repeats);
  if (unknown.length > 0 || wanted.length === 0 || !Number.isInteger(repeats) || repeats < 1) {
    process.stderr.write(`usage: npm run bench -- [--only ${there.join(",")}] [--repeats N] [--json]\n`);
    return 2;
  }

  const [cpu] = cpus();
  const machine = `${cpu?.model.trim() ?? "unknown processor"}, ${cpus().length} cores, Node ${process.version}, ${process.platform}-${process.arch}`;
  const stages: Record<string, readonly Figure[]> = {};
  if (!values.json) process.stdout.write(`${machine}; medians of ${repeats}\n`);
  for (const stage of wanted) {
    const runs: Repeat[] = [];
    for (let i = 0; i < repeats; i++) runs.push(await repeatOf(stage));
    const figures = summarize(runs);
    stages[stage] = figures;
    if (!values.json) process.stdout.write(`\n${table(stage, figures)}\n`);
  }
  if (values.json) process.stdout.write(`${JSON.stringify({ machine, repeats, stages })}\n`);
  return 0;
}

process.exitCode = await main();
