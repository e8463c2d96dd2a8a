import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { after, afterEach, before, describe, test } from "node:test";
import { DataType, DataValue, StatusCodes, Variant, VariantArrayType } from "node-opcua-client";
import {
  opcuaDevice,
  type OpcuaDevice,
  type PointInput,
  Recorder,
  silentPort,
  testClock,
  URI,
} from "#test/hardware-sim/opcua/rig.ts";
import { PASSWORD, simulate, type SimulatedOpcua, USER } from "#test/hardware-sim/opcua/simulate.ts";
import type { Fault } from "#test/hardware-sim/contract.ts";
import { type Clock, LinesideError, type Session, type Source } from "../../contract.ts";
import { createSource } from "./source.ts";

const OTHER = "http://acme.example/press";
const at = (identifier: string, uri = URI): string => `nsu=${uri};${identifier}`;

const POINTS: readonly PointInput[] = [
  { name: "temperature", address: at("s=Zone1.PV"), unit: "Cel" },
  { name: "s7", address: at('s="DB 1"."Count"[3]'), kind: "counter", type: "i64" },
  { name: "lot", address: at("i=7", OTHER), kind: "text" },
  {
    name: "mode",
    address: at("g=72962b91-fa75-4ae6-8d28-b404dc7daf63"),
    kind: "state",
    states: { "0": "off", "1": "on" },
  },
  { name: "still", address: at("s=still") },
  { name: "list", address: at("s=list") },
  { name: "elsewhere", address: at("s=x", "http://nowhere.example/") },
  { name: "ghost", address: at("s=ghost") },
];
const NAMES = POINTS.map((point) => point.name);
const scalar = (dataType: DataType, value: unknown): DataValue =>
  new DataValue({
    value: new Variant({ dataType, arrayType: VariantArrayType.Scalar, value }),
    statusCode: StatusCodes.Good,
  });
const HELD = {
  still: () => scalar(DataType.Double, 21.5),
  list: () =>
    new DataValue({
      value: new Variant({ dataType: DataType.Double, arrayType: VariantArrayType.Array, value: [1, 2] }),
    }),
};

/** What the site file that is simulated logs in with. */
const SITE_LOGIN = { user: "line-4", password: "of the site file" };

const clock = testClock();
const idle = new AbortController().signal;
let server: SimulatedOpcua;
let folder: string;
const said: string[] = [];
const atHome = [await readdir(homedir()), await readdir(join(homedir(), ".config")).catch(() => [])];
const consoles = { log: console.log, warn: console.warn, error: console.error };
const faults = new Set<() => void>();
const open = new Set<{ session: Session; source: Source<never, never> }>();

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "lineside-opcua-test-"));
  // A point in a namespace that the server lacks is not served; it is the source that must say so.
  const served = POINTS.filter((point) => point.name !== "elsewhere");
  const device = opcuaDevice(served, { endpoint: "opc.tcp://127.0.0.1", ...SITE_LOGIN });
  server = await simulate(device as never, { port: 0, now_us: clock.now_us, values: HELD });
  server.setMissing("ghost", true);
  // node-opcua must be quiet from the source's first moment to its last.
  for (const kind of ["log", "warn", "error"] as const) console[kind] = (...words) => said.push(words.join(" "));
});
afterEach(async () => {
  for (const heal of faults) heal();
  faults.clear();
  await server.restore();
  for (const { session, source } of open) {
    await session.close();
    await source.close();
  }
  open.clear();
});
after(async () => {
  Object.assign(console, consoles);
  await server.stop();
  await rm(folder, { recursive: true, force: true });
  assert.deepEqual(said, [], "something was written to the console");
});

interface Opened {
  readonly session: Session;
  readonly recorder: Recorder;
  readonly device: OpcuaDevice;
}

function openSession(
  options: object = {},
  points: readonly PointInput[] = POINTS,
  withClock: Clock = clock,
  data_dir: string | null = folder,
): Opened {
  const device = opcuaDevice(points, { ...server.options, timeout: "1s", ...options });
  const recorder = new Recorder(device, withClock, data_dir);
  const source = createSource(recorder.adapter);
  const session = source.open(device, recorder.context);
  open.add({ session, source });
  return { session, recorder, device };
}

/** The other end of a line hears of its end a little later. */
async function eventually<T>(look: () => T, expected: T): Promise<void> {
  for (let i = 0; i < 100 && !isDeepStrictEqual(look(), expected); i++) await clock.sleep(10);
  assert.deepEqual(look(), expected);
}

/** Switches a fault on, at the latest until the end of the test. */
function inject(fault: Fault): () => void {
  const heal = server.inject(fault);
  faults.add(heal);
  return heal;
}

const quality = (recorder: Recorder, point: string): string => {
  const reading = recorder.last(point);
  return reading ? `${reading.class} ${reading.reason}`.trim() : "none";
};

function checkAll(recorder: Recorder): void {
  const found = Object.fromEntries(NAMES.map((name) => [name, quality(recorder, name)]));
  assert.deepEqual(found, {
    temperature: "good",
    s7: "good",
    lot: "good",
    mode: "good",
    still: "good",
    list: "bad type_unsupported",
    elsewhere: "bad unknown_namespace",
    ghost: "bad bad_node_id_unknown",
  });
  assert.equal(recorder.last("still")?.value, 21.5);
  assert.equal(typeof recorder.last("s7")?.value, "bigint");
  assert.equal(typeof recorder.last("lot")?.value, "string");
}

describe("subscribe", () => {
  test("every point has a first value soon after connect; moving ones go on, still ones do not", async () => {
    const { session, recorder } = openSession();
    assert.deepEqual([...session.pushed], [0, 1, 2, 3, 4, 5, 6, 7]);
    assert.deepEqual(session.groups, []);
    const attributes = await session.connect(idle);
    assert.equal(attributes["opcua.server.product_name"], "Lineside simulator");
    assert.equal(attributes["opcua.server.software_version"], "1.0.0");
    await recorder.until(() => NAMES.every((name) => recorder.last(name)), 1_000);
    checkAll(recorder);
    const count = (name: string): number => recorder.readings.filter((reading) => reading.point === name).length;
    await recorder.until(() => count("temperature") > 4);
    assert.equal(count("still"), 1);
    assert.equal(count("ghost"), 1);
    const reading = recorder.last("temperature");
    assert.ok(reading && reading.time_us < reading.received_us && reading.received_us - reading.time_us < 1_000_000);
    assert.deepEqual(recorder.losses, []);
    assert.equal(recorder.adapter.log, recorder.context.log);
  });

  test("notifications of one publishing come in one frame, later ones in another", async () => {
    const { session, recorder } = openSession({}, POINTS.slice(0, 5));
    await session.connect(idle);
    await recorder.until(() => recorder.readings.length >= 5);
    assert.equal(new Set(recorder.readings.slice(0, 5).map((reading) => reading.frame)).size, 1);
  });

  test("times of one point never go back, and its values keep their order in a queue", async () => {
    const { session, recorder } = openSession({ publishing: "200ms" }, [{ ...POINTS[1], every: "20ms" } as PointInput]);
    await session.connect(idle);
    await recorder.until(() => recorder.readings.length >= 1);
    const times = recorder.readings.map((reading) => reading.time_us);
    assert.deepEqual(
      times,
      times.toSorted((a, b) => a - b),
    );
  });

  test("a status code reaches the quality and goes again", async () => {
    const { session, recorder } = openSession();
    await session.connect(idle);
    await recorder.until(() => recorder.last("temperature") !== undefined);
    const heal = inject({ kind: "status", code: "BadSensorFailure", points: ["temperature"] });
    await recorder.until(() => quality(recorder, "temperature") === "bad bad_sensor_failure");
    assert.equal(recorder.last("temperature")?.value, null);
    heal();
    const warm = inject({ kind: "status", code: "UncertainLastUsableValue", points: ["temperature"] });
    await recorder.until(() => quality(recorder, "temperature") === "uncertain uncertain_last_usable_value");
    assert.equal(typeof recorder.last("temperature")?.value, "number");
    warm();
    await recorder.until(() => quality(recorder, "temperature") === "good");
    assert.equal(quality(recorder, "still"), "good");
  });

  test("a missing node is tried again at a slow pace and spoils nobody else", async () => {
    // A minute passes in 300 ms.
    const { session, recorder } = openSession({}, POINTS, testClock(60_000, 200));
    await session.connect(idle);
    assert.equal(quality(recorder, "ghost"), "bad bad_node_id_unknown");
    server.setMissing("ghost", false);
    try {
      await recorder.until(() => quality(recorder, "ghost") === "good", 2_000);
      assert.equal(recorder.readings.filter((reading) => reading.point === "still").length, 1);
    } finally {
      server.setMissing("ghost", true);
    }
  });

  test("a silent subscription is lost", async () => {
    const { session, recorder } = openSession({ watchdog: "500ms" }, POINTS.slice(0, 1));
    await session.connect(idle);
    await recorder.until(() => recorder.readings.length > 0);
    const heal = inject({ kind: "silence" });
    const since = performance.now();
    try {
      await recorder.until(() => recorder.losses.length > 0, 3_000);
    } finally {
      heal();
    }
    assert.equal(recorder.losses[0]?.code, "subscription_silent");
    assert.ok(performance.now() - since < 2_000);
    assert.equal(recorder.losses.length, 1);
  });

  test("a quiet subscription is kept alive and is not lost", async () => {
    const { session, recorder } = openSession({ watchdog: "400ms" }, [POINTS[4] as PointInput]);
    await session.connect(idle);
    await clock.sleep(1_200);
    assert.deepEqual(recorder.losses, []);
    assert.equal(recorder.readings.length, 1);
  });
});

describe("poll", () => {
  test("groups by interval; every point of a group is answered each time", async () => {
    const points = POINTS.map((point, i) => ({ ...point, every: i < 2 ? "100ms" : "1s" }));
    const { session, recorder } = openSession({ mode: "poll" }, points);
    assert.deepEqual([...session.pushed], []);
    assert.deepEqual(
      session.groups.map((group) => [group.every_ms, [...group.points]]),
      [
        [100, [0, 1]],
        [1000, [2, 3, 4, 5, 6, 7]],
      ],
    );
    await session.connect(idle);
    await session.poll(0, idle);
    await session.poll(1, idle);
    checkAll(recorder);
    await session.poll(1, idle);
    assert.equal(recorder.readings.length, 2 + 6 + 6);
  });

  test("an answer that does not come is bad quality, not the end", async () => {
    const { session, recorder } = openSession({ mode: "poll", timeout: "500ms" }, POINTS.slice(0, 2));
    await session.connect(idle);
    const heal = inject({ kind: "delay", ms: 700 });
    await session.poll(0, idle);
    assert.equal(quality(recorder, "temperature"), "bad timeout");
    heal();
    await clock.sleep(700);
    await session.poll(0, idle);
    assert.equal(quality(recorder, "temperature"), "good");
    assert.deepEqual(recorder.losses, []);
  });

  test("a lost link rejects and is said once", async () => {
    const { session, recorder } = openSession({ mode: "poll" }, POINTS.slice(0, 2));
    await session.connect(idle);
    await session.poll(0, idle);
    await server.cut();
    try {
      await recorder.until(() => recorder.losses.length > 0);
      await assert.rejects(session.poll(0, idle));
      assert.equal(recorder.losses.length, 1);
    } finally {
      await server.restore();
    }
  });

  test("no session, no poll", async () => {
    const { session } = openSession({ mode: "poll" });
    await assert.rejects(session.poll(0, idle), { code: "not_connected" });
  });
});

describe("a server with small limits", () => {
  let small: SimulatedOpcua;
  before(async () => {
    small = await simulate(opcuaDevice(POINTS.slice(0, 5), { endpoint: "opc.tcp://127.0.0.1" }) as never, {
      port: 0,
      now_us: clock.now_us,
      operations_max: 2,
    });
  });
  after(() => small.stop());

  for (const mode of ["subscribe", "poll"]) {
    test(`${mode}: calls are cut down until they fit`, async () => {
      const { session, recorder } = openSession({ ...small.options, mode }, POINTS.slice(0, 5));
      await session.connect(idle);
      if (mode === "poll") await session.poll(0, idle);
      await recorder.until(() => POINTS.slice(0, 5).every((point) => recorder.last(point.name)));
      assert.deepEqual(
        POINTS.slice(0, 5).map((point) => quality(recorder, point.name)),
        ["good", "good", "good", "good", "good"],
      );
    });
  }
});

describe("the link", () => {
  test("a server that comes back with other namespace indexes is read again within two intervals", async (t) => {
    const every_ms = 100;
    const { session, recorder } = openSession(
      {},
      POINTS.slice(0, 3).map((point) => ({ ...point, every: `${every_ms}ms` })),
    );
    await session.connect(idle);
    await recorder.until(() => NAMES.slice(0, 3).every((name) => recorder.last(name)));
    await server.restart(["urn:one", "urn:two"]);
    const back = performance.now();
    await recorder.until(() => recorder.losses.length > 0);
    const count = recorder.readings.length;
    await session.close();
    await session.connect(idle);
    await recorder.until(() =>
      NAMES.slice(0, 3).every((name) => recorder.readings.slice(count).some((reading) => reading.point === name)),
    );
    const took_ms = performance.now() - back;
    t.diagnostic(`first values ${took_ms.toFixed(0)} ms after the server was back`);
    assert.equal(recorder.losses.length, 1);
    assert.equal(quality(recorder, "lot"), "good");
    // The agent tries each second; the way itself takes but a part of that.
    assert.ok(took_ms < 1_000 + 2 * every_ms, `${took_ms} ms`);
  });

  test("a cut cable is noticed at once, in both modes", async () => {
    for (const mode of ["subscribe", "poll"]) {
      const { session, recorder } = openSession({ mode }, POINTS.slice(0, 1));
      await session.connect(idle);
      await server.cut();
      await recorder.until(() => recorder.losses.length > 0, 1_000);
      assert.equal(recorder.losses.length, 1, mode);
      await session.close();
      await assert.rejects(session.connect(idle), { code: "connect_refused" });
      await server.restore();
      await session.connect(idle);
      await session.close();
    }
  });

  test("refused and limited connections reject, and nothing stays behind", async () => {
    const { session } = openSession();
    for (const fault of [{ kind: "refuse" }, { kind: "connection_limit", connections: 0 }] as const) {
      const heal = inject(fault);
      await assert.rejects(session.connect(idle), /device oven, opc\.tcp:/);
      heal();
    }
    await session.connect(idle);
    await eventually(() => server.stats().connections, 1);
  });

  test("a connect can be aborted at any moment", async () => {
    // Cables that were cut have left sessions at the server, until it gives them up.
    const sessions = server.sessions();
    const dead = await silentPort();
    try {
      const { session } = openSession({ endpoint: `opc.tcp://127.0.0.1:${dead.port}` });
      const soon = AbortSignal.timeout(50);
      const since = performance.now();
      await assert.rejects(session.connect(soon), { code: "aborted" });
      assert.ok(performance.now() - since < 800, "an abort waits for nobody");
      await assert.rejects(session.connect(idle), { code: "connect_timeout" });
      await eventually(() => dead.connections(), 0);
    } finally {
      await dead.close();
    }
    for (const security of ["None", "Basic256Sha256"]) {
      for (const delay_ms of [1, 5, 10, 20, 30, 40]) {
        const { session } = openSession({ security }, POINTS);
        const outcome = await session.connect(AbortSignal.timeout(delay_ms)).then(
          () => "connected",
          (error: unknown) => (error instanceof LinesideError ? error.code : String(error)),
        );
        assert.ok(outcome === "aborted" || outcome === "connected", outcome);
        await session.close();
      }
    }
    await eventually(() => server.stats().connections, 0);
    await eventually(() => server.sessions(), sessions);
  });

  test("close ends sessions and subscriptions at the server, at any time, also twice", async () => {
    const { session } = openSession();
    const [sessions, subscriptions] = [server.sessions(), server.subscriptions()];
    await session.close();
    const connecting = session.connect(idle);
    await session.close();
    await assert.rejects(connecting, { code: "aborted" });
    await session.connect(idle);
    assert.equal(server.subscriptions(), subscriptions + 1);
    await Promise.all([session.close(), session.close()]);
    await eventually(
      () => [server.sessions(), server.subscriptions(), server.stats().connections],
      [sessions, subscriptions, 0],
    );
  });

  test("close takes its time from nobody who does not answer", async () => {
    const { session } = openSession({}, POINTS.slice(0, 1));
    await session.connect(idle);
    const heal = inject({ kind: "silence" });
    const since = performance.now();
    await session.close();
    heal();
    assert.ok(performance.now() - since < 3_500, `${performance.now() - since} ms`);
    await eventually(() => server.stats().connections, 0);
  });
});

describe("security", () => {
  const secured = { security: "Basic256Sha256", user: USER, password: PASSWORD };

  test("Basic256Sha256 with user and password; the certificate is pinned, another one refused", async () => {
    const data_dir = await mkdtemp(join(folder, "pki-"));
    const { session, recorder } = openSession(secured, POINTS, clock, data_dir);
    await session.connect(idle);
    await recorder.until(() => NAMES.every((name) => recorder.last(name)));
    checkAll(recorder);
    assert.ok(
      recorder.logs.some(({ level, message }) => level === "warn" && message.includes("compare the thumbprint")),
    );
    await session.close();
    const servers = join(data_dir, "opcua", "servers");
    const [pin = ""] = await readdir(servers);
    // The pin of another server in its place: as if this one had changed its certificate.
    const own = join(data_dir, "opcua", "own.pem");
    await writeFile(join(servers, pin), await import("node:fs/promises").then((fs) => fs.readFile(own)));
    await assert.rejects(session.connect(idle), (error: Error & { code?: string }) => {
      assert.equal(error.code, "certificate_changed");
      assert.ok(error.message.includes(pin), error.message);
      return true;
    });
    await rm(join(servers, pin));
    await session.connect(idle);
    await session.close();
    await eventually(() => server.stats().connections, 0);
  });

  test("where the certificate cannot be kept, no session stays at the server", async () => {
    const data_dir = await mkdtemp(join(folder, "pki-"));
    const { session } = openSession(secured, POINTS, clock, data_dir);
    await session.connect(idle);
    await session.close();
    await rm(join(data_dir, "opcua", "servers"), { recursive: true });
    await assert.rejects(session.connect(idle), { code: "certificate_not_kept", message: /ENOENT/ });
    await eventually(() => server.stats().connections, 0);
  });

  test("a simulated device lets in whom its site file names", async () => {
    const { session, recorder } = openSession({ security: "Basic256Sha256", ...SITE_LOGIN });
    await session.connect(idle);
    await recorder.until(() => recorder.last("temperature") !== undefined);
    await session.close();
  });

  test("a wrong password is access_denied, and pins nothing", async () => {
    const data_dir = await mkdtemp(join(folder, "pki-"));
    const { session } = openSession({ ...secured, password: "wrong" }, POINTS, clock, data_dir);
    await assert.rejects(session.connect(idle), { code: "access_denied", message: /check user and password/ });
    assert.deepEqual(await readdir(join(data_dir, "opcua", "servers")), []);
    await eventually(() => server.stats().connections, 0);
  });

  test("a password without security is warned about, and works", async () => {
    const { session, recorder } = openSession({ user: USER, password: PASSWORD });
    assert.ok(recorder.logs.some(({ level, message }) => level === "warn" && message.includes("unsecured")));
    await session.connect(idle);
  });

  test("half a certificate is a fault of the site file", () => {
    assert.throws(() => openSession({ certificate: "/x.pem" }), /certificate and private_key go together/);
  });

  test("nothing was written to the home folder", async () => {
    assert.deepEqual(await readdir(homedir()), atHome[0]);
    assert.deepEqual(await readdir(join(homedir(), ".config")).catch(() => []), atHome[1]);
  });
});
