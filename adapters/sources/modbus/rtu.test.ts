/** Modbus RTU byte for byte, and what keeps its answers apart although they carry no id. */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { describe, test } from "node:test";
import { realClock } from "#test/contract/clock.ts";
import { makeDevice } from "#test/contract/device.ts";
import { createRecorder } from "#test/contract/recorder.ts";
import { scripted } from "#test/contract/scripted.ts";
import { openPty } from "#test/hardware-sim/serial/pty.ts";
import { rtuFrame, rtuSplitter } from "#test/hardware-sim/modbus/frames.ts";
import { crc16 } from "./crc.ts";
import { Doubt } from "./doubt.ts";
import { requestOf } from "./link.ts";
import { modbusOptions } from "./options.ts";
import { createSource } from "./source.ts";

const log = { debug() {}, info() {}, warn() {}, error() {} };
const { signal } = new AbortController();
const TIMEOUT_MS = 80;

/** The data of a right answer: each register holds three times its address, plus one. */
function goodPdu(pdu: Uint8Array): Buffer {
  const request = Buffer.from(pdu);
  const [code, address, count] = [request.readUInt8(0), request.readUInt16BE(1), request.readUInt16BE(3)];
  const answer = Buffer.alloc(2 + count * 2);
  answer.writeUInt8(code, 0);
  answer.writeUInt8(count * 2, 1);
  for (let i = 0; i < count; i += 1) answer.writeUInt16BE(((address + i) * 3 + 1) & 0xffff, 2 + i * 2);
  return answer;
}

interface Asked {
  readonly unit: number;
  readonly pdu: Uint8Array;
  readonly bytes: Buffer;
  readonly good: Buffer;
}

interface Rig {
  /** One poll: values by address, or the reason. */
  readonly poll: () => Promise<Record<string, unknown>>;
  /** The same; a link that is given up is connected anew, and gives nothing this time. */
  readonly again: () => Promise<Record<string, unknown>>;
}

async function withRig(
  answer: (asked: Asked, write: (bytes: Uint8Array) => void) => void,
  body: (rig: Rig) => Promise<void>,
  given: { addresses?: readonly number[]; options?: object } = {},
): Promise<void> {
  const split = rtuSplitter();
  let last: Socket;
  const server = await scripted((bytes, socket) => {
    last = socket;
    for (const { unit, pdu } of split(bytes)) {
      // To whoever is connected by then, as a serial device server does it.
      const write = (out: Uint8Array): void => void (last.destroyed || last.write(out));
      answer({ unit, pdu, bytes: rtuFrame(unit, pdu), good: rtuFrame(unit, goodPdu(pdu)) }, write);
    }
  });
  const source = createSource({ clock: realClock, log, data_dir: null });
  const device = makeDevice({
    protocol: "modbus",
    id: "meter",
    options: modbusOptions.parse({
      host: "127.0.0.1",
      port: server.port,
      framing: "rtu",
      timeout: `${TIMEOUT_MS}ms`,
      ...given.options,
    }),
    points: (given.addresses ?? [0, 1]).map((address) => ({ name: `p${address}`, address })),
  });
  const recorder = createRecorder(device);
  const session = source.open(device, recorder.context);
  const poll = async (): Promise<Record<string, unknown>> => {
    const mark = recorder.readings.length;
    await session.poll(0, signal);
    const readings = recorder.readings.slice(mark);
    return Object.fromEntries(readings.map(({ name, value, reason }) => [name, value ?? reason]));
  };
  const again = async (): Promise<Record<string, unknown>> => {
    try {
      return await poll();
    } catch {
      await session.close();
      await session.connect(signal);
      return {};
    }
  };
  try {
    await session.connect(signal);
    await body({ poll, again });
  } finally {
    await session.close();
    await source.close();
    await server.close();
  }
}

/** Sends answers in the order in which they were given, each after the time that it takes. */
function inTurn(): (bytes: Uint8Array, takes_ms: number, write: (bytes: Uint8Array) => void) => void {
  const waiting: Uint8Array[] = [];
  let busy_until_ms = 0;
  return (bytes, takes_ms, write) => {
    const now_ms = realClock.monotonic_ms();
    busy_until_ms = Math.max(busy_until_ms, now_ms) + takes_ms;
    waiting.push(bytes);
    setTimeout(() => write(waiting.shift() ?? bytes), busy_until_ms - now_ms);
  };
}

const GOOD = { p0: 1n, p1: 4n };
const all = (reason: string) => ({ p0: reason, p1: reason });

describe("Modbus RTU on the wire", () => {
  test("the checksum is that of the specification's example", () => {
    // MODBUS over Serial Line V1.02, 6.2.2: the CRC of 02 07 is 0x1241, sent 41 12.
    assert.equal(crc16(Uint8Array.of(2, 7), 0, 2), 0x1241);
  });

  test("the request, byte for byte", () =>
    withRig(
      ({ bytes, good }, write) => {
        assert.deepEqual([...bytes], [1, 3, 0, 0, 0, 2, 0xc4, 0x0b]);
        write(good);
      },
      async ({ poll }) => assert.deepEqual(await poll(), GOOD),
    ));

  test("noise, an echo and another unit's frame before the answer are skipped; pieces are put together", async () => {
    const befores: ((asked: Asked) => Uint8Array)[] = [
      () => Uint8Array.of(0),
      () => Uint8Array.of(0xff, 0x01, 0x03),
      ({ bytes }) => bytes,
      () => rtuFrame(2, Uint8Array.of(3, 4, 9, 9, 9, 9)),
      () => rtuFrame(1, Uint8Array.of(3, 2, 9, 9)),
      () => rtuFrame(1, Uint8Array.of(4, 4, 9, 9, 9, 9)),
    ];
    for (const before of befores) {
      await withRig(
        (asked, write) => {
          write(before(asked));
          for (const byte of asked.good) write(Uint8Array.of(byte));
        },
        async ({ poll }) => {
          assert.deepEqual(await poll(), GOOD);
          assert.deepEqual(await poll(), GOOD);
        },
      );
    }
  });

  test("a broken checksum is said at once, and costs one poll", () => {
    let requests = 0;
    return withRig(
      ({ good }, write) => {
        requests += 1;
        if (requests === 1) good[4] = (good[4] ?? 0) ^ 1;
        write(good);
      },
      async ({ poll }) => {
        const start_ms = realClock.monotonic_ms();
        assert.deepEqual(await poll(), all("checksum"));
        assert.ok(realClock.monotonic_ms() - start_ms < TIMEOUT_MS);
        assert.deepEqual(await poll(), GOOD);
      },
    );
  });

  test("a wrong byte count is no answer", () => {
    let requests = 0;
    return withRig(
      ({ good }, write) => {
        requests += 1;
        write(requests === 1 ? rtuFrame(1, Uint8Array.of(3, 6, 0, 1, 0, 4)) : good);
      },
      async ({ poll }) => {
        assert.deepEqual(await poll(), all("timeout"));
        assert.deepEqual(await poll(), GOOD);
      },
    );
  });

  test("exceptions keep their number", async () => {
    for (const code of [2, 4, 6, 11]) {
      await withRig(
        ({ unit, pdu }, write) => write(rtuFrame(unit, Uint8Array.of((pdu[0] ?? 0) | 0x80, code))),
        async ({ poll }) => assert.deepEqual(await poll(), all(`exception_${code}`)),
      );
    }
  });
});

describe("answers that come late", () => {
  test("one late answer: the next poll is right, whatever the lateness", async () => {
    for (const late_ms of [TIMEOUT_MS + 5, TIMEOUT_MS * 2, TIMEOUT_MS * 4]) {
      let requests = 0;
      const send = inTurn();
      await withRig(
        ({ good }, write) => {
          requests += 1;
          send(good, requests === 2 ? late_ms : 0, write);
        },
        async ({ poll, again }) => {
          const right = { p0: 1n, p100: 301n, p200: 601n };
          assert.deepEqual(await poll(), { ...right, p100: "timeout", p200: "timeout" });
          for (let i = 0; i < 8; i += 1) {
            for (const [name, value] of Object.entries(await again())) {
              if (value !== "timeout") assert.equal(value, right[name as keyof typeof right], name);
            }
          }
          assert.deepEqual(await poll(), right);
        },
        { addresses: [0, 100, 200] },
      );
    }
  });

  test("a unit that answers in turn, but late at random: no value is ever another register's", () => {
    // Park and Miller's generator: the same lateness in every run.
    let seed = 7;
    const random = (): number => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
    const send = inTurn();
    let healthy = false;
    return withRig(
      ({ good }, write) => send(good, healthy || random() < 0.6 ? 0 : random() * TIMEOUT_MS * 3, write),
      async ({ poll, again }) => {
        let good = 0;
        const end_ms = realClock.monotonic_ms() + 2000;
        while (realClock.monotonic_ms() < end_ms) {
          for (const [name, value] of Object.entries(await again())) {
            if (typeof value !== "bigint") continue;
            assert.equal(value, BigInt(Number(name.slice(1)) * 3 + 1), name);
            good += 1;
          }
        }
        assert.ok(good > 5, `${good} good readings`);
        healthy = true;
        await realClock.sleep(TIMEOUT_MS * 6);
        await again();
        await poll();
        assert.deepEqual(await poll(), { p0: 1n, p100: 301n, p200: 601n, p201: 604n });
      },
      { addresses: [0, 100, 200, 201] },
    );
  });
});

test("a serial line that never falls silent is spoken to all the same", async (t) => {
  const pty = openPty(() => undefined);
  t.after(() => pty.close());
  const babble = setInterval(() => pty.write(Uint8Array.of(0x55)), 1);
  t.after(() => clearInterval(babble));
  const source = createSource({ clock: realClock, log, data_dir: null });
  t.after(() => source.close());
  const device = makeDevice({
    protocol: "modbus",
    id: "meter",
    options: modbusOptions.parse({ serial: { port: pty.path, baud: 9600 }, timeout: `${TIMEOUT_MS}ms` }),
    points: [{ name: "p0", address: 0 }],
  });
  const recorder = createRecorder(device);
  const session = source.open(device, recorder.context);
  await session.connect(signal);
  await session.poll(0, signal);
  assert.equal(recorder.readings[0]?.reason, "garbage");
  await session.close();
});

describe("doubt", () => {
  const clock = { ...realClock, now_ms: 1000, monotonic_ms: () => clock.now_ms };
  const request = (function_code: 3 | 4, address: number, count: number) =>
    requestOf(1, { area: function_code === 3 ? "holding" : "input", function_code, address, count });

  test("a unit without timeouts is never probed", () => {
    assert.equal(new Doubt(clock).probeFor(request(3, 0, 2)), null);
  });

  test("after a timeout, the same shape waits for a probe of another function; another shape may go", () => {
    const doubt = new Doubt(clock);
    doubt.unanswered(request(3, 0, 2), 100);
    assert.equal(doubt.probeFor(request(3, 50, 4)), null);
    assert.equal(doubt.probeFor(request(4, 50, 2)), null);
    const probe = doubt.probeFor(request(3, 50, 2));
    assert.deepEqual([probe?.function_code, probe?.address, probe?.count], [4, 50, 2]);
    assert.ok(probe && doubt.answered(probe, true), "an exception of that function is certain too");
    assert.equal(doubt.probeFor(request(3, 50, 2)), null);
  });

  test("each unanswered probe makes the next one differ, and never reads beyond what was wanted", () => {
    const doubt = new Doubt(clock);
    const wanted = request(3, 7, 3);
    const shapes = new Set<string>();
    doubt.unanswered(wanted, 100);
    for (let probe = doubt.probeFor(wanted); probe !== null; probe = doubt.probeFor(wanted)) {
      assert.ok(probe.address === 7 && probe.count <= 3);
      const shape = `${probe.function_code}:${probe.count}`;
      assert.ok(!shapes.has(shape));
      shapes.add(shape);
      doubt.unanswered(probe, 100);
    }
    assert.equal(shapes.size, 5);
    // Nothing differs any more: the wanted read is sent, and its answer is not believed.
    assert.equal(doubt.answered(wanted, false), false);
    assert.equal(doubt.holdUntil_ms(1), clock.now_ms + 200);
    clock.now_ms += 200;
    assert.equal(doubt.answered(wanted, false), true);
  });

  test("an exception that an older request may have caused is not believed", () => {
    const doubt = new Doubt(clock);
    doubt.unanswered(request(3, 0, 2), 100);
    assert.equal(doubt.answered(request(3, 50, 4), true), false);
    assert.ok(doubt.holdUntil_ms(1) > clock.now_ms);
    assert.equal(doubt.holdUntil_ms(2), 0, "other units go on");
  });

  test("what is older than any answer could be is forgotten", () => {
    const doubt = new Doubt(clock);
    doubt.unanswered(request(3, 0, 2), 100);
    clock.now_ms += 10_000;
    assert.equal(doubt.probeFor(request(3, 0, 2)), null);
  });
});
