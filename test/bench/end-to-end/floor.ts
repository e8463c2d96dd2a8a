/**
 * The measured process of the floor: the same input and output as the agent's, and nothing else.
 *
 *   interval ─▶ one request a device, all at once ─▶ answers are counted, not looked at
 *                 └ the last one is in ─▶ append + fdatasync of as many bytes as the journal took
 *                                    └──▶ POST of as many bytes as the target sent
 *
 * interval 0: every answer is followed by the next request, and whatever has gathered meanwhile is written
 * and posted as soon as the last write and post are through.
 */
import { open } from "node:fs/promises";
import net from "node:net";
import { join } from "node:path";
import { anonymousMb, deviceBytes, type FloorTask, type Measured, READINGS, REGISTERS, report } from "./setup.ts";

const task = JSON.parse(process.argv[2] ?? "") as FloorTask;
const { interval_ms, ports } = task;
const ANSWER_BYTES = 9 + REGISTERS * 2;
const REQUEST = Buffer.from([0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, REGISTERS]);
/** More than a few seconds' worth is not written at once. */
const READINGS_MAX = 8 * READINGS;

function connect(port: number, bytes: Buffer, take: (count: number) => void): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const callback = (count: number): boolean => {
      take(count);
      return true;
    };
    const socket = net.connect({ port, host: "127.0.0.1", noDelay: true, onread: { buffer: bytes, callback } });
    socket.once("error", reject);
    socket.once("connect", () => resolve(socket));
  });
}

const file = await open(join(task.folder, "floor"), "a");
const content = Buffer.alloc(Math.ceil(READINGS_MAX * Math.max(task.file_bytes, task.post_bytes)), "floor");

let answered: () => void = () => undefined;
const post = await connect(task.receiver_port, Buffer.allocUnsafe(4096), () => answered());

async function postBytes(count: number): Promise<void> {
  // The receiver answers 400 to what is no OTLP: it has read the whole body by then, as it would.
  const head = `POST /v1/metrics HTTP/1.1\r\nhost: floor\r\ncontent-type: application/x-protobuf\r\ncontent-length: ${count}\r\n\r\n`;
  const answer = new Promise<void>((resolve) => (answered = resolve));
  post.cork();
  post.write(head);
  post.write(content.subarray(0, count));
  post.uncork();
  await answer;
}

let readings = 0;
let kept = 0;
let keeping = false;

function keep(): void {
  if (keeping || kept === 0) return;
  keeping = true;
  const count = Math.min(kept, READINGS_MAX);
  kept = 0;
  const write = file.write(content, 0, Math.round(count * task.file_bytes)).then(() => file.datasync());
  void Promise.all([write, postBytes(Math.round(count * task.post_bytes))]).then(() => {
    keeping = false;
    if (interval_ms === 0) keep();
  });
}

let waiting = 0;
const devices: net.Socket[] = [];
for (const port of ports) {
  let missing = ANSWER_BYTES;
  const index = devices.length;
  const take = (count: number): void => {
    missing -= count;
    if (missing > 0) return;
    missing += ANSWER_BYTES;
    readings += REGISTERS;
    kept += REGISTERS;
    if (interval_ms === 0) {
      devices[index]?.write(REQUEST);
      keep();
    } else if (--waiting === 0) keep();
  };
  devices.push(await connect(port, Buffer.allocUnsafeSlow(2048), take));
}
function burst(): void {
  waiting = devices.length;
  for (const socket of devices) socket.write(REQUEST);
}
burst();
if (interval_ms > 0) setInterval(burst, interval_ms);

const sleep = (delay_ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, delay_ms));
await sleep(task.warm_ms + interval_ms / 2);
const before = { readings, cpu: process.cpuUsage(), at_ms: performance.now(), device_bytes: deviceBytes() };
await sleep(task.window_ms);
const { user, system } = process.cpuUsage(before.cpu);
const taken = readings - before.readings;
await report({
  readings: taken,
  delivered: taken,
  cpu_us: user + system,
  elapsed_ms: performance.now() - before.at_ms,
  anonymous_mb: anonymousMb(),
  journal_bytes: taken * task.file_bytes,
  device_bytes: deviceBytes() - before.device_bytes,
  overruns: 0,
  bad: 0,
  collections: 0,
} satisfies Measured);
process.exit();
