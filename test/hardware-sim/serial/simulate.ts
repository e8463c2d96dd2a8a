/**
 * A simulated device on a serial line, from the same Device that the source reads: it answers the
 * profile's requests with the profile's examples, and sends by itself what has no request.
 *
 *   bytes ─▶ which request? ─▶ example with values ─▶ frame ─▶ faults ─▶ bytes
 *                    timers ─┘ (messages without a request)
 */
import type { Device } from "#adapters/contract.ts";
import type { SerialOptions } from "#adapters/sources/serial/options.ts";
import type { SerialPoint } from "#profiles/schema.ts";
import type { Fault, Simulated, SimulateOptions } from "../contract.ts";
import { compileAnswer, type Speak } from "./answer.ts";
import { type Place, servePort, servePty } from "./place.ts";

/** More than the longest request, and nothing that anybody sends. */
const UNREAD_BYTES_MAX = 1024;
const UNSOLICITED_MS = 1000;

interface Request {
  readonly bytes: Buffer;
  readonly speak: Speak;
}

/** Faults that are switched on now. */
interface Faults {
  silence: number;
  duplicate: number;
  garbage: number;
  delay_ms: number;
}

/** Serves on a pty where the device's options name a port, else on a TCP port. */
export async function simulateSerial(
  device: Device<SerialPoint, SerialOptions>,
  options: SimulateOptions,
): Promise<Simulated> {
  const read = new Set(device.points.map((point) => point.address.split(".")[0]));
  const spoken = (device.options.messages ?? []).filter((message) => read.has(message.name));
  const requests: Request[] = [];
  const timers: NodeJS.Timeout[] = [];
  const delayed = new Set<NodeJS.Timeout>();
  const faults: Faults = { silence: 0, duplicate: 0, garbage: 0, delay_ms: 0 };
  let unread = Buffer.alloc(0);
  let answered = 0;
  let garbled = 0;

  const send = (place: Place, speak: Speak) => {
    if (faults.silence > 0) return;
    // The value is the one of now, however late it is sent.
    let bytes = speak(options.now_us());
    if (faults.garbage > 0) bytes = garbage(garbled++);
    if (faults.duplicate > 0) bytes = Buffer.concat([bytes, bytes]);
    if (faults.delay_ms === 0) return place.write(bytes);
    const timer = setTimeout(() => {
      delayed.delete(timer);
      place.write(bytes);
    }, faults.delay_ms);
    delayed.add(timer);
  };

  const received = (bytes: Buffer) => {
    unread = Buffer.concat([unread, bytes]).subarray(-UNREAD_BYTES_MAX);
    while (unread.length > 0) {
      const request = requests.find((known) => unread.subarray(0, known.bytes.length).equals(known.bytes));
      if (request !== undefined) {
        unread = unread.subarray(request.bytes.length);
        answered += 1;
        send(place, request.speak);
      } else if (requests.some((known) => known.bytes.subarray(0, unread.length).equals(unread))) return;
      else unread = unread.subarray(1);
    }
  };

  // What cannot be answered is found out before anything is open.
  const answers = spoken.map((message) => ({ message, speak: compileAnswer(message, device) }));
  const place = "port" in device.options ? servePty(received) : await servePort(options.port, received);
  for (const { message, speak } of answers) {
    if (message.request !== undefined) {
      const encoding = device.options.encoding === "utf8" ? "utf8" : "latin1";
      requests.push({ bytes: Buffer.from(message.request, encoding), speak });
    } else timers.push(setInterval(() => send(place, speak), message.every ?? UNSOLICITED_MS));
  }
  // S before SI would answer the one for the other.
  requests.sort((a, b) => b.bytes.length - a.bytes.length);

  return {
    device: device.id,
    where: place.where,
    options: place.options,
    inject: (fault) => inject(fault, faults, place),
    cut: () => place.cut(),
    async restore() {
      unread = Buffer.alloc(0);
      await place.restore();
    },
    stats: () => ({ requests: answered, connections: place.connections() }),
    async stop() {
      for (const timer of timers) clearInterval(timer);
      for (const timer of delayed) clearTimeout(timer);
      await place.stop();
    },
  };
}

/** With an end of line and without one, in turns. */
const garbage = (turn: number): Buffer => Buffer.from(turn % 2 === 0 ? "\xfe\x00#7?\r\n" : "\xfe\x00#7?", "latin1");

function inject(fault: Fault, faults: Faults, place: Place): () => void {
  switch (fault.kind) {
    case "silence":
    case "duplicate":
    case "garbage": {
      const { kind } = fault;
      faults[kind] += 1;
      return () => void (faults[kind] -= 1);
    }
    case "delay":
      faults.delay_ms = fault.ms;
      return () => void (faults.delay_ms = 0);
    case "refuse": {
      // Until the way is closed it cannot be opened again.
      const refused = place.refuse();
      return () => void refused.then(() => place.admit());
    }
    case "connection_limit":
      place.limit(fault.connections);
      return () => place.limit(Number.POSITIVE_INFINITY);
    default:
      throw new Error(`a serial device has no fault ${fault.kind}`);
  }
}
