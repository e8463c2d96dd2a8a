/** The simulated device against a client that nobody here wrote, and its faults on the wire. */
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { describe, test } from "node:test";
import modbus from "modbus-serial";
import { modbusOptions } from "#adapters/sources/modbus/options.ts";
import { makeDevice } from "../../contract/device.ts";
import { valueOf } from "../values.ts";
import { simulateModbus, simulateModbusBus } from "./simulate.ts";

const TIME_US = 1_795_000_000_000_000;

const device = (options: object, id = "meter") =>
  makeDevice({
    protocol: "modbus",
    id,
    options: modbusOptions.parse({ gap_registers_max: 4, alone: [[500, 503]], ...options }),
    points: [
      { name: "voltage", unit: "V", address: 0, type: "f32" },
      { name: "power", unit: "W", address: 6, type: "s16", scale: 10 },
      { name: "alarm_high", kind: "state", address: 20, type: "bool", bits: { shift: 3, width: 1 } },
      { name: "alarm_low", kind: "state", address: 20, type: "bool", bits: { shift: 9, width: 1 } },
      { name: "door", kind: "state", area: "coil", address: 2, type: "bool" },
      { name: "serial", kind: "text", address: 500, type: "string", length: 4 },
    ],
  });

type Client = InstanceType<typeof modbus.default>;
/** modbus-serial never calls back where the other side has closed already. */
const closed = (client: Client): Promise<void> =>
  new Promise((resolve) => (client.isOpen ? client.close(() => resolve()) : resolve()));

/** What modbus-serial reads has to be what the values say. */
async function checkValues(client: Client): Promise<void> {
  const { points, descriptor } = device({ host: "x" });
  const served = (index: number): number | string => {
    const [point, series] = [points[index], descriptor.series[index]];
    assert.ok(point && series);
    return valueOf(point, series, "meter", TIME_US);
  };
  client.setID(1);
  client.setTimeout(1000);
  assert.equal((await client.readHoldingRegisters(0, 2)).buffer.readFloatBE(0), served(0));
  assert.equal((await client.readHoldingRegisters(6, 1)).buffer.readInt16BE(0) * 10, served(1));
  const [flags = 0] = (await client.readHoldingRegisters(20, 1)).data;
  assert.deepEqual([(flags >> 3) & 1, (flags >> 9) & 1], [served(2), served(3)]);
  assert.equal((await client.readCoils(2, 1)).data[0], served(4) === 1);
  assert.equal((await client.readHoldingRegisters(500, 4)).buffer.toString("latin1").replaceAll("\0", ""), served(5));
}

describe("a simulated Modbus device", () => {
  test("is read by modbus-serial over TCP", async (t) => {
    const simulated = await simulateModbus(device({ host: "x" }), { port: 0, now_us: () => TIME_US });
    t.after(() => simulated.stop());
    const client = new modbus.default();
    t.after(() => closed(client));
    await client.connectTCP("127.0.0.1", { port: Number(simulated.options.port) });
    await checkValues(client);
  });

  test("is read by modbus-serial on a serial line", async (t) => {
    const options = { serial: { port: "/dev/null", baud: 115_200 } };
    const simulated = await simulateModbus(device(options), { port: 0, now_us: () => TIME_US });
    t.after(() => simulated.stop());
    const client = new modbus.default();
    t.after(() => closed(client));
    const { port } = simulated.options.serial as { port: string };
    await client.connectRTUBuffered(port, { baudRate: 115_200 });
    await checkValues(client);
  });

  test("has what its profile has, and refuses the rest as a device would", async (t) => {
    const simulated = await simulateModbus(device({ host: "x", registers_max: 8 }), { port: 0, now_us: () => TIME_US });
    t.after(() => simulated.stop());
    const client = new modbus.default();
    t.after(() => closed(client));
    await client.connectTCP("127.0.0.1", { port: Number(simulated.options.port) });
    client.setID(1);
    client.setTimeout(500);
    const refused = async (read: Promise<unknown>, code: number): Promise<void> =>
      await assert.rejects(read, { modbusCode: code });
    // A hole that the profile lets a read cover is there, a longer one is not.
    await client.readHoldingRegisters(0, 7);
    await refused(client.readHoldingRegisters(7, 1), 2);
    await refused(client.readHoldingRegisters(0, 9), 3);
    await refused(client.readInputRegisters(0, 1), 2);
    await refused(client.writeRegister(0, 1), 1);
    await refused(client.readHoldingRegisters(500, 3), 2);
    await client.readHoldingRegisters(500, 4);
    client.setID(9);
    await refused(client.readHoldingRegisters(0, 1), 11);
  });

  test("faults: exceptions by address, a limit of connections, a cut", async (t) => {
    const simulated = await simulateModbus(device({ host: "x" }), { port: 0, now_us: () => TIME_US });
    const port = Number(simulated.options.port);
    t.after(() => simulated.stop());
    const client = new modbus.default();
    t.after(() => closed(client));
    await client.connectTCP("127.0.0.1", { port });
    client.setID(1);
    client.setTimeout(500);
    const heal = simulated.inject({ kind: "exception", code: 6, from: 1, to: 1 });
    await assert.rejects(client.readHoldingRegisters(0, 2), { modbusCode: 6 });
    await client.readHoldingRegisters(2, 1);
    heal();
    await client.readHoldingRegisters(0, 2);
    assert.equal(simulated.stats().requests, 3);

    const admit = simulated.inject({ kind: "connection_limit", connections: 1 });
    const second = net.connect(port, "127.0.0.1").on("error", () => undefined);
    await once(second, "close");
    assert.equal(simulated.stats().connections, 1);
    admit();

    await simulated.cut();
    assert.equal(simulated.stats().connections, 0);
    const third = net.connect(port, "127.0.0.1");
    const [error] = (await once(third, "error")) as [NodeJS.ErrnoException];
    assert.equal(error.code, "ECONNREFUSED");
    await simulated.restore();
    const fourth = net.connect(port, "127.0.0.1");
    await once(fourth, "connect");
    fourth.destroy();
  });

  test("units of a bus have faults of their own, and the place stays until the last is stopped", async (t) => {
    const devices = [device({ host: "x", unit: 1 }), device({ host: "x", unit: 2 }, "other")];
    const [one, two] = await simulateModbusBus(devices, { port: 0, now_us: () => TIME_US });
    assert.ok(one && two);
    assert.equal(one.options.port, two.options.port);
    t.after(() => two.stop());
    t.after(() => one.stop());
    const client = new modbus.default();
    t.after(() => closed(client));
    await client.connectTCP("127.0.0.1", { port: Number(one.options.port) });
    client.setTimeout(100);
    one.inject({ kind: "silence" });
    client.setID(1);
    await assert.rejects(client.readHoldingRegisters(0, 2));
    client.setID(2);
    await client.readHoldingRegisters(0, 2);
    await one.stop();
    await client.readHoldingRegisters(0, 2);
  });
});
