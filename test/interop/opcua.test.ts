/** Our OPC UA source against asyncua's server. */
import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { Session } from "#adapters/contract.ts";
import { createSource } from "#adapters/sources/opcua/source.ts";
import { opcuaDevice, type PointInput, Recorder, testClock, URI } from "#test/hardware-sim/opcua/rig.ts";
import { freePort, missing, startPeer } from "./peers.ts";

const POINTS: readonly PointInput[] = [
  { name: "temperature", address: `nsu=${URI};s=Zone1.PV`, unit: "Cel" },
  { name: "count", address: `nsu=${URI};s="DB 1"."Count"[3]`, kind: "counter", type: "i64" },
  { name: "total", address: `nsu=${URI};s=total`, kind: "counter", type: "i64" },
  { name: "running", address: `nsu=${URI};s=running`, kind: "state", type: "bool" },
  { name: "lot", address: `nsu=${URI};s=lot`, kind: "text" },
  { name: "message", address: `nsu=${URI};s=message`, kind: "text" },
  { name: "started", address: `nsu=${URI};s=started`, kind: "text" },
  { name: "small", address: `nsu=${URI};s=small` },
  { name: "list", address: `nsu=${URI};s=list` },
  { name: "ghost", address: `nsu=${URI};s=ghost` },
  { name: "elsewhere", address: "nsu=http://nowhere.example/;i=1" },
  { name: "clock", address: "i=2258", kind: "text" },
];
const EXPECTED = {
  temperature: 21.5,
  count: 2n ** 53n + 1n,
  total: 2n ** 63n - 1n,
  running: 1n,
  lot: "L-7",
  message: "läuft",
  small: -5,
  list: "bad type_unsupported",
  ghost: "bad bad_node_id_unknown",
  elsewhere: "bad unknown_namespace",
};
const SECURED = { security: "Basic256Sha256", user: "operator", password: "lineside" };
const idle = new AbortController().signal;

async function open(t: TestContext, port: number, options: object): Promise<{ session: Session; recorder: Recorder }> {
  const device = opcuaDevice(POINTS, { endpoint: `opc.tcp://127.0.0.1:${port}/oven/`, timeout: "5s", ...options }, 100);
  const recorder = new Recorder(device, testClock());
  const source = createSource(recorder.adapter);
  const session = source.open(device, recorder.context);
  t.after(async () => {
    await session.close();
    await source.close();
  });
  return { session, recorder };
}

const said = (recorder: Recorder, point: string): unknown => {
  const reading = recorder.last(point);
  if (reading === undefined) return undefined;
  return reading.class === "good" ? reading.value : `${reading.class} ${reading.reason}`;
};

async function checkAll({ recorder }: { recorder: Recorder }): Promise<void> {
  await recorder.until(() => POINTS.every((point) => recorder.last(point.name)));
  const found = Object.fromEntries(Object.keys(EXPECTED).map((name) => [name, said(recorder, name)]));
  assert.deepEqual(found, EXPECTED);
  assert.match(String(said(recorder, "started")), /^2026-01-02T03:04:05\.678901?0?Z$/);
}

describe("asyncua", { skip: missing("asyncua"), timeout: 60_000 }, () => {
  test("subscription: every type, status codes, changes with their source time", async (t) => {
    const port = await freePort();
    const peer = await startPeer(t, "opcua_server.py", ["--port", String(port)]);
    const { session, recorder } = await open(t, port, {});
    const attributes = await session.connect(idle);
    assert.match(String(attributes["opcua.server.product_name"]), /\w/);
    await checkAll({ recorder });
    const before_us = Date.now() * 1000;
    await peer.ask({ set: ["temperature", 99.25] });
    await recorder.until(() => said(recorder, "temperature") === 99.25);
    const reading = recorder.last("temperature");
    assert.ok(reading && reading.time_us >= before_us - 1000 && reading.time_us <= reading.received_us);
    await peer.ask({ status: ["temperature", "BadSensorFailure"] });
    await recorder.until(() => said(recorder, "temperature") === "bad bad_sensor_failure");
    await peer.ask({ status: ["temperature", "UncertainLastUsableValue"] });
    await recorder.until(() => said(recorder, "temperature") === "uncertain uncertain_last_usable_value");
    assert.equal(recorder.last("temperature")?.value, 21.5);
    assert.deepEqual(recorder.losses, []);
  });

  test("polling", async (t) => {
    const port = await freePort();
    const peer = await startPeer(t, "opcua_server.py", ["--port", String(port)]);
    const { session, recorder } = await open(t, port, { mode: "poll" });
    await session.connect(idle);
    await session.poll(0, idle);
    await checkAll({ recorder });
    await peer.ask({ set: ["lot", "L-8"] });
    await session.poll(0, idle);
    assert.equal(said(recorder, "lot"), "L-8");
  });

  test("a restart with another namespace index: lost at once, right again with the next connect", async (t) => {
    const port = await freePort();
    const first = await startPeer(t, "opcua_server.py", ["--port", String(port)]);
    const { session, recorder } = await open(t, port, {});
    await session.connect(idle);
    await checkAll({ recorder });
    await first.kill();
    await recorder.until(() => recorder.losses.length > 0);
    await session.close();
    const second = await startPeer(t, "opcua_server.py", [
      "--port",
      String(port),
      "--extra",
      "urn:a",
      "--extra",
      "urn:b",
    ]);
    assert.equal(second.ready.index, Number(first.ready.index) + 2);
    recorder.readings.length = 0;
    const since = performance.now();
    await session.connect(idle);
    await checkAll({ recorder });
    t.diagnostic(`all points read ${(performance.now() - since).toFixed(0)} ms after the connect`);
    assert.equal(recorder.losses.length, 1);
  });

  test("Basic256Sha256, SignAndEncrypt, with user and password", async (t) => {
    const port = await freePort();
    await startPeer(t, "opcua_server.py", ["--port", String(port), "--secure"]);
    const { session, recorder } = await open(t, port, SECURED);
    await session.connect(idle);
    await checkAll({ recorder });
    await session.close();
    const wrong = await open(t, port, { ...SECURED, password: "guess" });
    await assert.rejects(wrong.session.connect(idle), { code: "access_denied" });
    const plain = await open(t, port, {});
    await assert.rejects(plain.session.connect(idle), /device oven/);
  });

  test("a certificate of yesterday is refused", async (t) => {
    const port = await freePort();
    await startPeer(t, "opcua_server.py", ["--port", String(port), "--secure", "--ended"]);
    const { session } = await open(t, port, SECURED);
    await assert.rejects(session.connect(idle), { code: "certificate_expired" });
  });
});
