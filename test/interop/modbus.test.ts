import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type AdapterContext, type Device, LinesideError, type Session, type Source } from "#adapters/contract.ts";
import { type ModbusOptions, modbusRtuOptions, modbusTcpOptions } from "#adapters/sources/modbus/options.ts";
import { createSource } from "#adapters/sources/modbus/source.ts";
import type { ModbusPoint } from "#profiles/schema.ts";
import { realClock } from "../contract/clock.ts";
import { makeDevice } from "../contract/device.ts";
import { createRecorder } from "../contract/recorder.ts";
import { openPty } from "../hardware-sim/serial/pty.ts";
import { type Peer, missing, startPeer } from "./peers.ts";

const skip = missing("pymodbus", "pyserial");
const POLL_TIMEOUT_MS = 10_000;

const log = { debug() {}, info() {}, warn() {}, error() {} };
const adapter: AdapterContext = { clock: realClock, log, data_dir: null };

/** One point by its name: its value where it is good, its quality and reason where it is not. */
type Values = Record<string, number | bigint | string | null>;
type Points = Parameters<typeof makeDevice<"modbus", ModbusOptions>>[0]["points"];

const deviceOf = (options: ModbusOptions, points: Points): Device<ModbusPoint, ModbusOptions> =>
  makeDevice({ protocol: "modbus", id: "peer", options, points });

/** A connected session on a device, and a function that polls every group once. */
async function connect(
  source: Source<never, never>,
  device: Device<ModbusPoint, ModbusOptions>,
): Promise<{ session: Session; read: () => Promise<Values>; lost: readonly LinesideError[] }> {
  const { context, readings, losses } = createRecorder(device);
  // A source is made for its own kind of device; the registry erases that, as the agent does.
  const session = (source as unknown as Source<ModbusPoint, ModbusOptions>).open(device, context);
  await session.connect(AbortSignal.timeout(POLL_TIMEOUT_MS));
  const read = async (): Promise<Values> => {
    readings.length = 0;
    for (let group = 0; group < session.groups.length; group++) {
      await session.poll(group, AbortSignal.timeout(POLL_TIMEOUT_MS));
    }
    return Object.fromEntries(
      readings.map(({ name, quality, reason, value }) => [name, quality === "good" ? value : `${quality}: ${reason}`]),
    );
  };
  return { session, read, lost: losses };
}

const tcp = (port: unknown, more: object = {}): ModbusOptions =>
  modbusTcpOptions.parse({ host: "127.0.0.1", port, timeout: "500ms", ...more });

/** Every area and type that the peer serves. */
const EVERYTHING: Points = [
  { name: "first", address: 0 },
  { name: "signed", address: 3, type: "s16" },
  { name: "float", address: 10, type: "f32" },
  { name: "scaled", address: 12, type: "s32", scale: 0.5 },
  { name: "exact", address: 14, type: "u64" },
  { name: "tiny", address: 18, type: "f64" },
  { name: "name", address: 40, type: "string", length: 4, kind: "text" },
  { name: "far", address: 299 },
  { name: "input", area: "input", address: 1 },
  { name: "coil_0", area: "coil", address: 0, type: "bool" },
  { name: "coil_1", area: "coil", address: 1, type: "bool" },
  { name: "coil_15", area: "coil", address: 15, type: "bool" },
  { name: "discrete_17", area: "discrete", address: 17, type: "bool" },
  { name: "discrete_18", area: "discrete", address: 18, type: "bool" },
];

const EXPECTED: Values = {
  first: 1n,
  signed: -2n,
  float: 230.5,
  scaled: -123456789 * 0.5,
  exact: 9007199254740993n,
  tiny: -2.5e-300,
  name: "LINESIDE",
  far: 7n,
  input: 2000n,
  coil_0: 1n,
  coil_1: 0n,
  coil_15: 1n,
  discrete_17: 1n,
  discrete_18: 0n,
};

describe("modbus against pymodbus", { skip }, () => {
  let source: Source<never, never>;
  before(() => (source = createSource(adapter)));
  after(() => source.close());

  for (const framing of ["tcp", "rtu"] as const) {
    test(`reads every area and type over TCP, ${framing} framing`, async (t) => {
      const peer = await startPeer(t, "modbus_server.py", ["--framer", framing === "tcp" ? "socket" : "rtu"]);
      const { session, read } = await connect(source, deviceOf(tcp(peer.ready.port, { framing }), EVERYTHING));
      t.after(() => session.close());
      // Holes between 4 and 9, 20 and 39, and so on are refused by the peer: the first read finds them out.
      await read();
      assert.deepEqual(await read(), EXPECTED);
    });
  }

  test("reads every area and type over a serial line", async (t) => {
    const { port, end } = nullModem();
    t.after(end);
    await startPeer(t, "modbus_server.py", ["--serial", port.theirs]);
    const options = modbusRtuOptions.parse({ serial: { port: port.ours, baud: 19200 }, timeout: "500ms" });
    const { session, read } = await connect(source, deviceOf(options, EVERYTHING));
    t.after(() => session.close());
    await read();
    assert.deepEqual(await read(), EXPECTED);
  });

  test("keeps two units of one server apart, on one connection", async (t) => {
    const peer = await startPeer(t, "modbus_server.py");
    const wanted: Points = [
      { name: "a", address: 0 },
      { name: "b", address: 3 },
    ];
    const one = await connect(source, deviceOf(tcp(peer.ready.port), wanted));
    const two = await connect(source, deviceOf(tcp(peer.ready.port, { unit: 2 }), wanted));
    t.after(async () => {
      await one.session.close();
      await two.session.close();
    });
    const often = async (read: () => Promise<Values>): Promise<void> => {
      for (let i = 0; i < 10; i++) await read();
    };
    await Promise.all([often(one.read), often(two.read)]);
    assert.deepEqual(await one.read(), { a: 1n, b: 0xfffen });
    assert.deepEqual(await two.read(), { a: 11n, b: 14n });
    await peer.ask({ set: [2, 0, 99] });
    assert.deepEqual(await two.read(), { a: 99n, b: 14n });
    assert.deepEqual(await one.read(), { a: 1n, b: 0xfffen });
  });

  test("a register in a hole is bad, its neighbours are not", async (t) => {
    const peer = await startPeer(t, "modbus_server.py");
    const wanted: Points = [
      { name: "before", address: 3 },
      { name: "hole", address: 5 },
      { name: "after", address: 10, type: "f32" },
    ];
    const { session, read } = await connect(source, deviceOf(tcp(peer.ready.port), wanted));
    t.after(() => session.close());
    await read();
    assert.deepEqual(await read(), { before: 0xfffen, hole: "bad: exception_2", after: 230.5 });
  });

  test("every exception is a reason, and ends with its cause", async (t) => {
    const peer: Peer = await startPeer(t, "modbus_server.py");
    const wanted: Points = [
      { name: "denied", address: 110 },
      { name: "neighbour", address: 0 },
    ];
    const { session, read } = await connect(source, deviceOf(tcp(peer.ready.port), wanted));
    t.after(() => session.close());
    for (const code of [4, 5, 6, 8, 10, 11]) {
      await peer.ask({ deny: [code, 110, 110] });
      const values = await read();
      assert.deepEqual(values, { denied: `bad: exception_${code}`, neighbour: 1n });
      await peer.ask({ deny: null });
      assert.deepEqual(await read(), { denied: 7n, neighbour: 1n }, `after exception ${code}`);
    }
  });

  test("notices that the server is gone, and finds it again at the same port", async (t) => {
    const peer = await startPeer(t, "modbus_server.py");
    const device = deviceOf(tcp(peer.ready.port), [{ name: "first", address: 0 }]);
    const { session, read, lost } = await connect(source, device);
    t.after(() => session.close());
    assert.deepEqual(await read(), { first: 1n });
    await peer.kill();
    await assert.rejects(async () => {
      // The loss is told by `lost`, by a poll that rejects, or by both.
      for (let i = 0; i < 5 && lost.length === 0; i++) await read();
      throw lost[0] ?? new Error("the loss was not noticed");
    }, LinesideError);
    await session.close();
    await startPeer(t, "modbus_server.py", ["--port", String(peer.ready.port)]);
    await session.connect(AbortSignal.timeout(POLL_TIMEOUT_MS));
    assert.deepEqual(await read(), { first: 1n });
  });
});

/** Two serial lines, crossed: what one side sends, the other receives. */
function nullModem(): { port: { ours: string; theirs: string }; end: () => Promise<void> } {
  const ours = openPty((bytes) => theirs.write(bytes));
  const theirs = openPty((bytes) => ours.write(bytes));
  return {
    port: { ours: ours.path, theirs: theirs.path },
    end: async () => {
      await ours.close();
      await theirs.close();
    },
  };
}
