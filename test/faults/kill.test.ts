/**
 * kill -9 of the running agent at random moments, with the receiver down half of the time.
 *
 * What is asserted is what the design promises: what was committed arrives, in order per series; what was
 * not is explained, to the second, by gap records that the receiver gets; and the figures add up.
 *
 * LINESIDE_KILLS sets the number of kills (10), LINESIDE_SEED repeats a run.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Receiver, startReceiver } from "../receiver/receiver.ts";
import { AgentProcess, serve, sleep, until } from "./rig.ts";

const KILLS = Number(process.env.LINESIDE_KILLS ?? 10);
const SEED = Number(process.env.LINESIDE_SEED ?? Date.now() % 1_000_000);

const POLL_MS = 100;
const COMMIT_MS = 500;
/** A step between two readings that is longer has to be explained. */
const GAP_MS = 1_000;
/** From the moment that the agent notes as its start to the first reading of a device, and one poll. */
const SLACK_MS = 1_000;
/** The longest life of one run after it is ready; the shortest is nothing. */
const LIFE_MS_MAX = 2_500;
const DRAIN_TIMEOUT_MS = 60_000;

/** mulberry32: small, seeded, good enough to choose moments. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const meter = (id: string, port: number) => ({
  id,
  every: `${POLL_MS}ms`,
  modbus: { host: "127.0.0.1", port },
  points: [
    { name: "voltage", address: 0, type: "f32", unit: "V" },
    { name: "current", address: 2, type: "f32", unit: "A" },
    { name: "energy", address: 4, type: "u32", unit: "W.h", kind: "counter", rollover: "2^32" },
  ],
});

/** No OPC UA machine: its readings carry its own time, by which a test cannot tell one that is missing. */
const scale = {
  id: "scale",
  every: `${POLL_MS}ms`,
  serial: {
    port: "/dev/ttyUSB0",
    framing: { end: "\r\n" },
    messages: [{ name: "weight", request: "W\r\n", pattern: "(?<net>-?[0-9.]+) kg", example: "{net} kg" }],
  },
  points: [{ name: "net_weight", address: "weight.net", unit: "kg" }],
};

interface Span {
  readonly from_us: number;
  readonly to_us: number;
}

/** What the gap records that arrived say of one device. */
function gapsOf(receiver: Receiver, device: string): Span[] {
  return receiver
    .logs()
    .filter((log) => log.name === "lineside.gap" && log.attributes["gap.device"] === device)
    .map(({ attributes }) => ({
      from_us: Date.parse(String(attributes["gap.from"])) * 1000,
      to_us: Date.parse(String(attributes["gap.to"])) * 1000,
    }));
}

/** What is left of `span` when all of `explained` is taken away, in microseconds. */
function unexplained(span: Span, explained: readonly Span[]): number {
  let left = 0;
  let at_us = span.from_us;
  for (const { from_us, to_us } of explained.toSorted((a, b) => a.from_us - b.from_us)) {
    if (to_us <= at_us) continue;
    if (from_us >= span.to_us) break;
    left += Math.max(0, from_us - at_us);
    at_us = Math.max(at_us, to_us);
  }
  return left + Math.max(0, span.to_us - at_us);
}

test(`kill -9, ${KILLS} times, seed ${SEED}`, async (t) => {
  const random = randomOf(SEED);
  const receiver = await startReceiver({ gap_us: GAP_MS * 1000, history: 100_000 });
  t.after(() => receiver.stop());
  const site = await serve(t, {
    devices: [meter("meter-a", 501), meter("meter-b", 502), scale],
    targets: [{ otlp: { endpoint: receiver.grpc_endpoint, timeout: "2s" } }],
    agent: { commit_interval: `${COMMIT_MS}ms` },
  });

  /** When each run was killed, and since when it was ready: a run may be too short to read anything. */
  const runs: { ready_us: number; killed_us: number }[] = [];
  for (let kill = 0; kill < KILLS; kill++) {
    await receiver.setOutage(kill % 2 === 1);
    const agent = await AgentProcess.start(t, site);
    const ready_us = Date.now() * 1000;
    await sleep(random() * LIFE_MS_MAX);
    await agent.kill();
    runs.push({ ready_us, killed_us: Date.now() * 1000 });
  }

  await receiver.setOutage(false);
  const agent = await AgentProcess.start(t, site);
  await sleep(3 * COMMIT_MS);
  const target = await until("the backlog is delivered", DRAIN_TIMEOUT_MS, async () => {
    const now = await agent.target();
    return now.queued < 100 && now.state !== "retrying" ? now : null;
  });
  assert.equal(target.imbalance, 0);
  assert.equal(await agent.stop(), 0, agent.output());

  // A last look at what the journal has counted over all the runs: nothing is left, nothing was dropped.
  await receiver.setOutage(true);
  const after = await AgentProcess.start(t, site);
  const final = await after.target();
  await after.kill();
  assert.equal(final.dropped, 0);
  assert.equal(final.imbalance, 0);

  const totals = receiver.totals();
  const distinct = totals.points - totals.duplicates;
  t.diagnostic(
    `${distinct} readings, ${totals.duplicates} delivered twice, ${totals.gaps} gaps in ${totals.series} series`,
  );
  const disordered = receiver.series().filter((one) => one.order_violations > 0);
  assert.deepEqual(
    disordered.map(({ device, metric, order_violations }) => ({ device, metric, order_violations })),
    [],
    "readings arrived after younger ones of their series",
  );
  assert.equal(distinct, final.delivered, "every committed reading arrived, and nothing else");

  const series = receiver.series();
  assert.equal(series.length, 7);
  for (const { device, metric, gaps, gap_count, first_time_us, last_time_us } of series) {
    assert.equal(gaps.length, gap_count, "the receiver kept every gap");
    const explained = gapsOf(receiver, device);
    for (const gap of gaps) {
      const left_ms = unexplained(gap, explained) / 1000;
      assert.ok(
        left_ms <= SLACK_MS,
        `${device} ${metric}: ${left_ms.toFixed(0)} ms of ${JSON.stringify(gap)} are in no gap record: ${JSON.stringify(explained)}`,
      );
    }
    // Durable within one commit interval: a run that lived longer has left readings of its early life.
    for (const { ready_us, killed_us } of runs) {
      const durable: Span = { from_us: ready_us + SLACK_MS * 1000, to_us: killed_us - (COMMIT_MS + 300) * 1000 };
      if (durable.to_us <= durable.from_us) continue;
      const lost = gaps.filter((gap) => gap.from_us < durable.to_us && gap.to_us > durable.from_us);
      assert.deepEqual(lost, [], `${device} ${metric}: readings older than the commit interval were lost by a kill`);
      assert.ok(first_time_us <= durable.from_us && last_time_us >= durable.to_us);
    }
  }
});
