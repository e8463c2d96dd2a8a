/**
 * The plant, a process of its own: a Modbus TCP server a device, whose answers cost next to nothing, so
 * that the reader is what is measured. Every register walks at random by up to two counts at each read.
 *
 *   plant.ts ──▶ { ports }          ends with its parent
 */
import net from "node:net";
import { DEVICES, REGISTERS } from "./setup.ts";

const REQUEST_BYTES = 12;
const HEAD_BYTES = 9;

let seed = 1;
/** xorshift32: Math.random would be the plant's whole cost. */
function random(): number {
  seed ^= seed << 13;
  seed ^= seed >>> 17;
  seed ^= seed << 5;
  return seed >>> 0;
}

/** -2, -1, 0, 0, 0, 0, 1 or 2 counts. */
const STEPS = [-2, -1, 0, 0, 0, 0, 1, 2];

function answerOf(request: Buffer, registers: Uint16Array): Buffer {
  const count = request.readUInt16BE(10);
  const answer = Buffer.allocUnsafe(HEAD_BYTES + count * 2);
  request.copy(answer, 0, 0, 8);
  answer.writeUInt16BE(3 + count * 2, 4);
  answer[8] = count * 2;
  const first = request.readUInt16BE(8);
  for (let i = 0; i < count; i++) {
    const at = first + i;
    registers[at] = (registers[at] ?? 0) + (STEPS[random() & 7] ?? 0);
    answer.writeUInt16BE(registers[at] ?? 0, HEAD_BYTES + i * 2);
  }
  return answer;
}

function device(): net.Server {
  const registers = Uint16Array.from({ length: REGISTERS }, () => 1000 + (random() % 4000));
  return net.createServer({ noDelay: true }, (socket) => {
    let rest = Buffer.alloc(0);
    socket.on("error", () => socket.destroy());
    socket.on("data", (part) => {
      let bytes = rest.length === 0 ? part : Buffer.concat([rest, part]);
      for (; bytes.length >= REQUEST_BYTES; bytes = bytes.subarray(REQUEST_BYTES)) {
        socket.write(answerOf(bytes, registers));
      }
      rest = Buffer.from(bytes);
    });
  });
}

const ports: number[] = [];
for (let index = 0; index < DEVICES; index++) {
  const server = device();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address !== null && typeof address === "object") ports.push(address.port);
}
process.on("disconnect", () => process.exit());
process.send?.({ ports });
