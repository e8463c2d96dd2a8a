/**
 * Many short lives of the journal on a simulated disk; the schedules and their checks are in
 * test/buffer/simulation.ts. A failure names its seed: `SEED=n` runs that one alone, `SEEDS=n` sets how many.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Worker } from "node:worker_threads";
import type { Counts, Options, Simulation } from "#test/buffer/simulation.ts";

const only = process.env["SEED"];
const seeds = only === undefined ? Number(process.env["SEEDS"] ?? 50) : 1;

async function simulate(options: Options): Promise<Counts> {
  const workerData: Simulation = { ...options, first_seed: Number(only ?? 1), seeds };
  const worker = new Worker(new URL("../test/buffer/simulation.ts", import.meta.url), { workerData });
  const counts = await new Promise<Counts>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  if (only !== undefined) return counts;
  assert.ok(counts.losses > seeds / 4, `the bound is met often: ${JSON.stringify(counts)}`);
  if (options.crashes) assert.ok(counts.crashes > seeds / 4, "crashes happened");
  if (options.full || options.refusals) assert.ok(counts.refusals > seeds / 4, "writes were refused");
  if (options.rot) assert.ok(counts.corrupt > seeds / 10, "damage was found");
  return counts;
}

describe("the journal on a simulated disk accounts for every reading", () => {
  const quiet = { crashes: false, full: false, refusals: false, rot: false };
  const cases: readonly (readonly [string, Options])[] = [
    ["below and at the bound", quiet],
    ["through crashes", { ...quiet, crashes: true }],
    ["through a full disk", { ...quiet, full: true }],
    ["through refused writes", { ...quiet, refusals: true }],
    ["through damage", { ...quiet, rot: true }],
    ["through all of it at once", { crashes: true, full: true, refusals: true, rot: true }],
  ];
  for (const [name, options] of cases) {
    test(name, async (t) => t.diagnostic(JSON.stringify(await simulate(options))));
  }
});
