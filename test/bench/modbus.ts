/**
 * The Modbus source beside its floors, in one run: decoding beside memcpy, polling beside a bare
 * ping-pong over sockets with `onread`, both against the same server in another process.
 *
 *   PATH=node_modules/.bin:$PATH node test/bench/modbus.ts          alone
 *   npm run bench -- --only modbus                                  medians of several processes
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import type { Device, Session } from "#adapters/contract.ts";
import { createFrame } from "#adapters/frame.ts";
import { compileDecoder } from "#adapters/sources/modbus/decode.ts";
import { type ModbusOptions, modbusOptions } from "#adapters/sources/modbus/options.ts";
import { limitsOf, planReads } from "#adapters/sources/modbus/plan.ts";
import { createSource } from "#adapters/sources/modbus/source.ts";
import type { ModbusPoint } from "#profiles/schema.ts";
import modbus from "modbus-serial";
import { realClock } from "#test/contract/clock.ts";
import { makeDevice } from "#test/contract/device.ts";
import { rtuFrame } from "#test/hardware-sim/modbus/frames.ts";
import { type Row, row } from "./stage.ts";
import { median } from "./summary.ts";

const REGISTERS = 125;
const SATURATED_CONNECTIONS = 10;
const SATURATED_MS = 400;
const ROUNDS = 3;
const PACED_CONNECTIONS = 100;
const PACED_TICKS = 5;

const REQUEST = Buffer.from([0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, REGISTERS]);
const RTU_REQUEST_BYTES = 8;
const ANSWER_BYTES = 9 + REGISTERS * 2;

export async function bench(): Promise<readonly Row[]> {
  const rows = [
    decodeRow("decode, 125 u16 as they are", {}, 125),
    decodeRow("decode, 125 u16 x 0.1", { scale: 0.1 }, 125),
    decodeRow("decode, 62 f32", { type: "f32" }, 62),
    decodeRow(
      "decode, 62 f32 CDAB, range, sentinel",
      { type: "f32", order: "CDAB", range: [-1e9, 1e9], sentinels: ["nan"] },
      62,
    ),
  ];
  const server = spawn(process.execPath, [import.meta.filename, "--serve"], { stdio: ["pipe", "pipe", "inherit"] });
  try {
    const ports = await portsOf(server);
    const few = ports.slice(0, SATURATED_CONNECTIONS);
    const [floor, ours] = [await rawClients(ports), await sessions(ports)];
    rows.push(await saturatedRow("125 registers over Modbus TCP", floor, ours), await pacedRow(floor, ours));
    await ours.close();
    const rtu = await sessions(few, { framing: "rtu" });
    rows.push(await saturatedRow("125 registers by RTU over TCP", floor, rtu));
    await rtu.close();
    const theirs = await modbusSerialClients(few);
    rows.push(await saturatedRow("for comparison, modbus-serial's TCP client", floor, theirs));
    for (const client of [...floor, ...theirs]) client.close();
  } finally {
    server.kill();
    await once(server, "close");
  }
  return rows;
}

// --- Decoding ---------------------------------------------------------------------------------------

function decodeRow(name: string, point: object, count: number): Row {
  const device = meter({ host: "x" }, point, count);
  const [read] = planReads(device.points, device.points.keys(), limitsOf({}));
  if (read === undefined) throw new Error("no read");
  const decoder = compileDecoder(read, device.points, device.descriptor.series, "ABCD");
  const frame = createFrame(decoder.points);
  const answer = new Uint8Array(ANSWER_BYTES);
  for (let i = 0; i < answer.length; i += 1) answer[i] = i % 2 === 0 ? 0x40 : (i * 7) & 0xff;
  const view = new DataView(answer.buffer);
  const column = new Uint8Array(count * 8);
  const copy = new Uint8Array(count * 8);
  const nanoseconds = (run: () => void): number => {
    const times: number[] = [];
    for (let round = 0; round < 9; round += 1) {
      const start = process.hrtime.bigint();
      for (let i = 0; i < 10_000; i += 1) run();
      times.push(Number(process.hrtime.bigint() - start) / 10_000 / count);
    }
    return median(times.slice(2));
  };
  const floor = nanoseconds(() => copy.set(column));
  return row(
    `${name} (floor: memcpy of the columns)`,
    nanoseconds(() => decoder.decode(view, 9, frame)),
    "ns/reading",
    floor,
  );
}

function meter(options: object, point: object, count: number): Device<ModbusPoint, ModbusOptions> {
  const step = count === REGISTERS ? 1 : 2;
  return makeDevice({
    protocol: "modbus",
    id: "meter",
    options: modbusOptions.parse(options),
    points: Array.from({ length: count }, (_, i) => ({ name: `p${i}`, address: i * step, ...point })),
  });
}

// --- Polling ----------------------------------------------------------------------------------------

/** Somebody who can send one request and says when its answer is there. */
interface Client {
  poll(): Promise<void>;
  /** Sends requests, each as the answer to the last is there, until `more` says no. */
  saturate(more: () => boolean): Promise<void>;
  close(): void;
}

/** What any client on Node has to do: write twelve bytes, get a callback, write again. */
async function rawClients(ports: readonly number[]): Promise<Client[]> {
  return Promise.all(
    ports.map(async (port) => {
      let answered = (): void => undefined;
      const onread = {
        buffer: Buffer.allocUnsafeSlow(2048),
        callback: () => {
          answered();
          return true;
        },
      };
      const socket = net.connect({ port, host: "127.0.0.1", noDelay: true, onread });
      await once(socket, "connect");
      return {
        poll: () =>
          new Promise<void>((resolve) => {
            answered = resolve;
            socket.write(REQUEST);
          }),
        saturate: (more: () => boolean) =>
          new Promise<void>((resolve) => {
            answered = () => {
              if (more()) socket.write(REQUEST);
              else resolve();
            };
            socket.write(REQUEST);
          }),
        close: () => socket.destroy(),
      };
    }),
  );
}

/** What the adapter does without on TCP. */
async function modbusSerialClients(ports: readonly number[]): Promise<Client[]> {
  return Promise.all(
    ports.map(async (port) => {
      const client = new modbus.default();
      await client.connectTCP("127.0.0.1", { port });
      client.setID(1);
      const poll = async (): Promise<void> => {
        const { data } = await client.readHoldingRegisters(0, REGISTERS);
        if (data.length !== REGISTERS) throw new Error("a bad answer");
      };
      const saturate = async (more: () => boolean): Promise<void> => {
        do {
          await poll();
        } while (more());
      };
      return { poll, saturate, close: () => client.close() };
    }),
  );
}

async function sessions(
  ports: readonly number[],
  options: object = {},
): Promise<Client[] & { close(): Promise<void> }> {
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const source = createSource({ clock: realClock, log, data_dir: null });
  const { signal } = new AbortController();
  let readings = 0;
  const clients = await Promise.all(
    ports.map(async (port) => {
      const session: Session = source.open(meter({ host: "127.0.0.1", port, ...options }, {}, REGISTERS), {
        clock: realClock,
        log,
        sink: (frame) => {
          readings += frame.count;
          if (frame.quality[0] !== 0) throw new Error("a bad reading");
        },
        lost: (error) => {
          throw error;
        },
      });
      await session.connect(signal);
      return {
        poll: () => session.poll(0, signal),
        async saturate(more: () => boolean) {
          do {
            await session.poll(0, signal);
          } while (more());
        },
        close: () => undefined,
      };
    }),
  );
  return Object.assign(clients, {
    async close() {
      if (readings === 0) throw new Error("nothing was read");
      await source.close();
    },
  });
}

/** Microseconds of CPU time (user and system) that each request costs this process. */
async function saturated(clients: readonly Client[], duration_ms: number): Promise<number> {
  let requests = 0;
  const end_ms = performance.now() + duration_ms;
  const more = (): boolean => {
    requests += 1;
    return (requests & 63) !== 0 || performance.now() < end_ms;
  };
  const start = process.cpuUsage();
  await Promise.all(clients.map((client) => client.saturate(more)));
  const { user, system } = process.cpuUsage(start);
  return (user + system) / requests;
}

async function saturatedRow(name: string, floor: readonly Client[], ours: readonly Client[]): Promise<Row> {
  const [a, b] = [floor.slice(0, SATURATED_CONNECTIONS), ours.slice(0, SATURATED_CONNECTIONS)];
  await saturated(a, SATURATED_MS);
  await saturated(b, SATURATED_MS);
  const [floors, values]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round += 1) {
    floors.push(await saturated(a, SATURATED_MS));
    values.push(await saturated(b, SATURATED_MS));
  }
  return row(
    `saturated, 10 connections: ${name} (floor: onread ping-pong)`,
    median(values),
    "CPU us/request",
    median(floors),
  );
}

/**
 * All clients on one tick a second, as the agent's schedule does it. The two kinds take turns, half a
 * second apart, so that both see the same machine; each figure is the median of its ticks.
 */
async function pacedRow(floor: readonly Client[], ours: readonly Client[]): Promise<Row> {
  // What runs once a second is compiled after minutes; here it is warmed first.
  for (const clients of [floor, ours]) await saturated(clients, SATURATED_MS / 2);
  const ticks = new Map<readonly Client[], number[]>([
    [floor, []],
    [ours, []],
  ]);
  for (let tick = 0; tick < PACED_TICKS; tick += 1) {
    for (const [clients, figures] of ticks) {
      const next_ms = performance.now() + 500;
      const start = process.cpuUsage();
      await Promise.all(clients.map((client) => client.poll()));
      await realClock.sleep(Math.max(0, next_ms - performance.now()));
      const { user, system } = process.cpuUsage(start);
      figures.push((user + system) / clients.length);
    }
  }
  return row(
    "100 devices at 1 Hz, 125 registers each (floor: onread, one burst a second)",
    median(ticks.get(ours) ?? []),
    "CPU us/request",
    median(ticks.get(floor) ?? []),
  );
}

// --- The server, in a process of its own --------------------------------------------------------------

async function portsOf(server: ChildProcess): Promise<number[]> {
  if (server.stdout === null) throw new Error("no pipe from the server");
  const [line] = (await once(server.stdout, "data")) as [Buffer];
  return JSON.parse(line.toString()) as number[];
}

/** Answers whatever asks with 125 registers, under the transaction id of the request. */
async function serve(): Promise<void> {
  const ports: number[] = [];
  const rtuAnswer = rtuFrame(1, Uint8Array.from([3, REGISTERS * 2, ...Buffer.alloc(REGISTERS * 2, 0x41)]));
  for (let i = 0; i < PACED_CONNECTIONS; i += 1) {
    const server = net.createServer({ noDelay: true }, (socket) => {
      const answer = Buffer.alloc(ANSWER_BYTES, 0x41);
      answer.set([0, 0, 0, 0, 0, ANSWER_BYTES - 6, 1, 3, REGISTERS * 2]);
      socket.on("error", () => socket.destroy());
      socket.on("data", (request) => {
        if (request.length === RTU_REQUEST_BYTES) return socket.write(rtuAnswer);
        answer[0] = request[0] ?? 0;
        answer[1] = request[1] ?? 0;
        socket.write(answer);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (address !== null && typeof address === "object") ports.push(address.port);
  }
  process.stdout.write(`${JSON.stringify(ports)}\n`);
  // Ends with the bench, however that ends.
  process.stdin.on("end", () => process.exit(0)).resume();
}

if (import.meta.filename === process.argv[1]) {
  if (process.argv.includes("--serve")) await serve();
  else console.table(await bench());
}
