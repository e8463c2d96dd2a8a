import type { Descriptor } from "#adapters/contract.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { figuresOf, OwnFrames, prometheusText } from "./own.ts";
import type { AgentStatus } from "./status.ts";

const status: AgentStatus = {
  gateway: "gw",
  version: "1",
  started_us: 1,
  now_us: 2,
  sources: { modbus: 12 },
  devices: [
    {
      id: 'a "b"',
      source: "modbus",
      state: "up",
      reason: "",
      since_us: 1,
      readings: 12,
      uncertain: 0,
      bad: 3,
      connects: 1,
      overruns: 0,
      poll_ms: 1.5,
      started_us: 500,
    },
  ],
  targets: [],
  journal: {
    bytes_on_disk: 10,
    limit_bytes: 20,
    segments: 1,
    commits: 2,
    commit_bytes: 3,
    write_errors: 0,
    waiting: 0,
  },
  process: { pid: 1, cpu_s: 0.5, rss_bytes: 100, uptime_s: 9, loop_active_s: 0.25 },
};

describe("own figures", () => {
  test("as Prometheus text: one HELP and TYPE a metric, units and _total in names, labels escaped", () => {
    const text = prometheusText(figuresOf(status));
    assert.match(
      text,
      /# TYPE lineside_device_readings_bad_total counter\nlineside_device_readings_bad_total\{lineside_device="a \\"b\\"",source="modbus"\} 3\n/,
    );
    assert.match(text, /lineside_device_poll_duration_seconds\{[^}]*\} 0.0015\n/);
    assert.match(text, /lineside_journal_size_bytes 10\n/);
    assert.match(text, /process_cpu_time_seconds_total 0.5\n/);
    const names = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
    assert.equal(new Set(names).size, names.length);
  });

  test("as frames whose descriptor changes only when the list of figures does", () => {
    const gateway: Descriptor = {
      device: "gw",
      source: "agent",
      resource: {},
      scope: { name: "lineside", version: "1" },
      series: [],
    };
    const own = new OwnFrames(gateway);
    const first = own.take(figuresOf(status), 2000);
    const { descriptor } = first;
    const row = descriptor.series.findIndex(({ metric }) => metric === "lineside.device.readings");
    assert.equal(first.frame.ints[row], 12n);
    assert.equal(first.frame.starts_us?.[row], 500, "since the device was started");
    const cpu = descriptor.series.findIndex(({ metric }) => metric === "process.cpu.time");
    assert.equal(first.frame.doubles[cpu], 0.5);
    assert.equal(first.frame.starts_us?.[cpu], 1, "since the agent was");
    assert.equal(own.take(figuresOf(status), 3000).descriptor, descriptor);
    assert.notEqual(own.take(figuresOf({ ...status, devices: [] }), 4000).descriptor, descriptor);
  });
});
