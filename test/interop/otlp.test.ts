/** The OTLP target against a receiver that nobody here wrote: grpcio and the official protobuf classes. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import type { AdapterContext, Batch, Event, Outcome, Target } from "#adapters/contract.ts";
import { bad, uncertain } from "#adapters/quality.ts";
import { otlpOptions } from "#adapters/targets/otlp/options.ts";
import { createTarget } from "#adapters/targets/otlp/target.ts";
import type { z } from "zod";
import { batchOf, descriptor, frameOf, series } from "../contract/batches.ts";
import { realClock } from "../contract/clock.ts";
import { createAuthority } from "../receiver/certificates.ts";
import { freePort, missing, type Peer, startPeer } from "./peers.ts";

type Input = z.input<typeof otlpOptions>;
const PROTOCOLS = ["grpc", "http/protobuf", "http/json"] as const;
type Protocol = (typeof PROTOCOLS)[number];
const skip = missing("opentelemetry-proto", "grpcio");
const TIME_US = 1_795_000_000_123_456;

const press = descriptor(
  "press-1",
  [
    series("voltage_l1", {
      metric: "electrical.voltage",
      description: "Phase to neutral",
      attributes: { phase: "L1" },
    }),
    series("voltage_l2", {
      metric: "electrical.voltage",
      description: "Phase to neutral",
      attributes: { phase: "L2" },
    }),
    series("parts", { kind: "counter", value: "int", monotonic: true, unit: "{part}" }),
    series("energy_net", { kind: "counter", value: "double", unit: "kW.h" }),
    series("mode", {
      kind: "state",
      value: "int",
      unit: "1",
      states: [
        [0, "idle"],
        [1, "run"],
      ],
    }),
    series("alarms", {
      kind: "state",
      value: "int",
      unit: "1",
      flags: [
        [0, "hot"],
        [33, "door"],
      ],
    }),
    series("order", { kind: "text", value: "text", unit: "1" }),
  ],
  {
    resource: {
      "service.name": "lineside",
      "device.id": "press-1",
      "device.slots": 4,
      "device.load": 0.5,
      "device.spare": false,
    },
    scope: { name: "acme/press", version: "2.1" },
  },
);
const gap: Event = {
  name: "lineside.gap",
  time_us: TIME_US,
  severity: "error",
  body: "12 readings dropped",
  attributes: { count: 12, share: 0.25, whole: true, points: ["mode", "ördér"] },
  descriptor: press,
};

const batch = (): Batch =>
  batchOf(
    [
      {
        descriptor: press,
        frame: frameOf(press, TIME_US, [
          { series: 0, value: 230.25 },
          { series: 1, value: null, quality: bad("timeout") },
          { series: 2, value: 9_007_199_254_740_993n, start_us: TIME_US - 60_000_000 },
          { series: 3, value: -1.5, quality: uncertain("overrange"), start_us: TIME_US - 60_000_000 },
          { series: 4, value: 1 },
          { series: 5, value: 2n ** 33n },
          { series: 6, value: "4711 ✓", time_us: TIME_US - 1 },
        ]),
      },
    ],
    [gap],
  );

const nanos = (time_us: number): string => `${time_us}000`;
const string = (key: string, value: string): object => ({ key, value: { stringValue: value } });
const timeUnixNano = nanos(TIME_US);
const startTimeUnixNano = nanos(TIME_US - 60_000_000);
const resource = {
  attributes: [
    string("service.name", "lineside"),
    string("device.id", "press-1"),
    { key: "device.slots", value: { intValue: "4" } },
    { key: "device.load", value: { doubleValue: 0.5 } },
    { key: "device.spare", value: { boolValue: false } },
  ],
};
const scope = { name: "acme/press", version: "2.1" };
const stateSum = (name: string, attribute: string, values: Readonly<Record<string, string>>): object => ({
  name,
  unit: "1",
  sum: {
    dataPoints: Object.entries(values).map(([value, asInt]) => ({
      attributes: [string(attribute, value)],
      timeUnixNano,
      asInt,
    })),
    aggregationTemporality: 2,
  },
});

const expected_metrics = [
  {
    name: "electrical.voltage",
    description: "Phase to neutral",
    unit: "V",
    gauge: {
      dataPoints: [
        { attributes: [string("phase", "L1")], timeUnixNano, asDouble: 230.25 },
        {
          attributes: [
            string("phase", "L2"),
            string("lineside.quality", "bad"),
            string("lineside.quality_reason", "timeout"),
          ],
          timeUnixNano,
          flags: 1,
        },
      ],
    },
  },
  {
    name: "parts",
    unit: "{part}",
    sum: {
      dataPoints: [{ startTimeUnixNano, timeUnixNano, asInt: "9007199254740993" }],
      aggregationTemporality: 2,
      isMonotonic: true,
    },
  },
  {
    name: "energy_net",
    unit: "kW.h",
    sum: {
      dataPoints: [
        {
          attributes: [string("lineside.quality", "uncertain"), string("lineside.quality_reason", "overrange")],
          startTimeUnixNano,
          timeUnixNano,
          asDouble: -1.5,
        },
      ],
      aggregationTemporality: 2,
    },
  },
  stateSum("mode", "state", { idle: "0", run: "1", unknown: "0" }),
  stateSum("alarms", "flag", { hot: "0", door: "1" }),
];

const expected_logs = [
  {
    timeUnixNano: nanos(TIME_US - 1),
    observedTimeUnixNano: timeUnixNano,
    severityNumber: 9,
    severityText: "INFO",
    body: { stringValue: "4711 ✓" },
    eventName: "order",
  },
  {
    timeUnixNano,
    observedTimeUnixNano: timeUnixNano,
    severityNumber: 17,
    severityText: "ERROR",
    body: { stringValue: "12 readings dropped" },
    attributes: [
      { key: "count", value: { intValue: "12" } },
      { key: "share", value: { doubleValue: 0.25 } },
      { key: "whole", value: { boolValue: true } },
      { key: "points", value: { arrayValue: { values: [{ stringValue: "mode" }, { stringValue: "ördér" }] } } },
    ],
    eventName: "lineside.gap",
  },
];

function endpointOf(peer: Peer, protocol: Protocol, scheme = "http"): string {
  return `${scheme}://127.0.0.1:${String(peer.ready[protocol === "grpc" ? "grpc_port" : "http_port"])}`;
}

async function make(t: TestContext, input: Input): Promise<Target> {
  const ignore = (): void => {};
  const log = { debug: ignore, info: ignore, warn: ignore, error: ignore };
  const context: AdapterContext = { clock: realClock, log, data_dir: null };
  const target = await createTarget(otlpOptions.parse({ timeout: "5s", ...input }), context);
  t.after(() => target.close());
  return target;
}

const deliver = (target: Target, given: Batch): Promise<Outcome> => target.deliver(given, new AbortController().signal);

describe("OTLP target against grpcio and opentelemetry-proto", { skip, timeout: 60_000 }, () => {
  test("every kind of reading and an event arrive as the official classes understand them", async (t) => {
    const peer = await startPeer(t, "otlp_receiver.py");
    for (const protocol of PROTOCOLS) {
      for (const compression of ["gzip", "none"] as const) {
        const target = await make(t, {
          endpoint: endpointOf(peer, protocol),
          protocol,
          compression,
          headers: { "x-tenant": "lyon" },
        });
        assert.deepEqual(await deliver(target, batch()), { kind: "delivered", rejected: 0 });
        const metrics = await peer.next(({ signal }) => signal === "metrics");
        const logs = await peer.next(({ signal }) => signal === "logs");
        assert.equal(metrics.protocol, protocol);
        assert.equal((metrics.headers as Record<string, string>)["x-tenant"], "lyon");
        assert.deepEqual(metrics.request, {
          resourceMetrics: [{ resource, scopeMetrics: [{ scope, metrics: expected_metrics }] }],
        });
        assert.deepEqual(logs.request, {
          resourceLogs: [{ resource, scopeLogs: [{ scope, logRecords: expected_logs }] }],
        });
      }
    }
  });

  test("its refusals, waits and partial successes are understood", async (t) => {
    const peer = await startPeer(t, "otlp_receiver.py");
    for (const protocol of PROTOCOLS) {
      const target = await make(t, { endpoint: endpointOf(peer, protocol), protocol });
      await peer.ask({ behave: "unavailable" });
      const unavailable = await deliver(target, batch());
      assert.equal(unavailable.kind, "retry");
      assert.match(unavailable.reason ?? "", /out for lunch/);
      await peer.ask({ behave: "throttle" });
      const throttled = await deliver(target, batch());
      assert.deepEqual([throttled.kind, throttled.kind === "retry" && throttled.wait_ms], ["retry", 7000]);
      await peer.ask({ behave: "partial" });
      const partial = await deliver(target, batch());
      assert.deepEqual([partial.kind, partial.kind === "delivered" && partial.rejected], ["delivered", 1]);
      assert.match(partial.reason ?? "", /one was too old/);
      await peer.ask({ behave: null });
      assert.deepEqual(await deliver(target, batch()), { kind: "delivered", rejected: 0 });
    }
  });

  test("mutual TLS", async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "lineside-otlp-tls-"));
    t.after(() => rm(folder, { recursive: true }));
    const authority = createAuthority();
    const [server, client] = [authority.issue("otel.plant.example"), authority.issue("gateway")];
    const files = {
      "ca.pem": authority.certificate,
      "server.pem": server.certificate,
      "server.key": server.key,
      "client.pem": client.certificate,
      "client.key": client.key,
    };
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
    const peer = await startPeer(t, "otlp_receiver.py", ["--tls", folder]);
    const tls = { ca: join(folder, "ca.pem"), server_name: "otel.plant.example" };
    const ours = { certificate: join(folder, "client.pem"), private_key: join(folder, "client.key") };
    for (const protocol of PROTOCOLS) {
      const endpoint = endpointOf(peer, protocol, "https");
      assert.equal(
        (await deliver(await make(t, { endpoint, protocol, tls: { ...tls, ...ours } }), batch())).kind,
        "delivered",
      );
      assert.equal((await deliver(await make(t, { endpoint, protocol, tls }), batch())).kind, "retry");
    }
  });

  test("a receiver that is killed and comes back gets what it missed", async (t) => {
    const port = String(await freePort());
    const first = await startPeer(t, "otlp_receiver.py", ["--grpc-port", port]);
    const target = await make(t, { endpoint: endpointOf(first, "grpc"), protocol: "grpc" });
    assert.equal((await deliver(target, batch())).kind, "delivered");
    await first.kill();
    const missed = batch();
    for (let attempt = 0; attempt < 3; attempt++) assert.equal((await deliver(target, missed)).kind, "retry");
    const second = await startPeer(t, "otlp_receiver.py", ["--grpc-port", port]);
    assert.deepEqual(await deliver(target, missed), { kind: "delivered", rejected: 0 });
    const metrics = await second.next(({ signal }) => signal === "metrics");
    assert.deepEqual(metrics.request, {
      resourceMetrics: [{ resource, scopeMetrics: [{ scope, metrics: expected_metrics }] }],
    });
  });
});
