/** Modbus TCP byte for byte: what an answer has to be, and what happens to all else. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { realClock } from "#test/contract/clock.ts";
import { makeDevice } from "#test/contract/device.ts";
import { createRecorder, type Recorder } from "#test/contract/recorder.ts";
import { type Scripted, scripted } from "#test/contract/scripted.ts";
import type { Session } from "../../contract.ts";
import { modbusOptions } from "./options.ts";
import { createSource } from "./source.ts";

const log = { debug() {}, info() {}, warn() {}, error() {} };
const { signal } = new AbortController();

interface Rig {
  readonly session: Session;
  readonly recorder: Recorder;
  readonly server: Scripted;
  /** One poll; reasons and values by point. */
  readonly poll: () => Promise<Record<string, unknown>>;
}

type Answer = Parameters<typeof scripted>[0];

/** Two registers at 0 of unit 1: one read of two registers. */
async function withRig(answer: Answer, body: (rig: Rig) => Promise<void>, given: object = {}): Promise<void> {
  const server = await scripted(answer);
  const source = createSource({ clock: realClock, log, data_dir: null });
  const device = makeDevice({
    protocol: "modbus",
    id: "meter",
    options: modbusOptions.parse({ host: "127.0.0.1", port: server.port, timeout: "300ms", ...given }),
    points: [
      { name: "a", address: 0 },
      { name: "b", address: 1 },
    ],
  });
  const recorder = createRecorder(device);
  const session = source.open(device, recorder.context);
  const poll = async (): Promise<Record<string, unknown>> => {
    const mark = recorder.readings.length;
    await session.poll(0, signal);
    return Object.fromEntries(
      recorder.readings
        .slice(mark)
        .map(({ name, value, reason, quality }) => [name, quality === "good" ? value : reason]),
    );
  };
  try {
    await session.connect(signal);
    await body({ session, recorder, server, poll });
  } finally {
    await session.close();
    await source.close();
    await server.close();
  }
}

/** An answer to `request` that says 0x1234 and 0x5678. */
function good(request: Buffer): Buffer {
  const [high = 0, low = 0] = request;
  return Buffer.from([high, low, 0, 0, 0, 7, 1, 3, 4, 0x12, 0x34, 0x56, 0x78]);
}

function changed(request: Buffer, at: number, value: number): Buffer {
  const answer = good(request);
  answer[at] = value;
  return answer;
}

const GOOD = { a: 0x1234n, b: 0x5678n };
const all = (reason: string) => ({ a: reason, b: reason });

describe("Modbus TCP on the wire", () => {
  test("the request, byte for byte, with an id of its own each time", () =>
    withRig(
      (request, socket) => socket.write(good(request)),
      async ({ poll, server }) => {
        assert.deepEqual(await poll(), GOOD);
        assert.deepEqual(await poll(), GOOD);
        assert.deepEqual([...(server.received[0] ?? [])], [0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 2]);
        assert.deepEqual([...(server.received[1] ?? [])], [0, 2, 0, 0, 0, 6, 1, 3, 0, 0, 0, 2]);
      },
    ));

  test("an answer in pieces, and one behind another", () =>
    withRig(
      (request, socket) => {
        // Nobody asked for the first one; the second comes byte by byte.
        socket.write(changed(request, 0, 0x77));
        for (const byte of good(request)) socket.write(Buffer.from([byte]));
      },
      async ({ poll }) => {
        for (let i = 0; i < 5; i += 1) assert.deepEqual(await poll(), GOOD);
      },
    ));

  test("late and doubled answers are dropped, and the wait for the right one goes on", () => {
    let last: Buffer | null = null;
    return withRig(
      (request, socket) => {
        // The answer to the request before this one, twice, with other values: then the right one.
        if (last !== null) {
          const late = changed(last, 10, 0xff);
          socket.write(Buffer.concat([late, late]));
        }
        last = request;
        setTimeout(() => socket.write(good(request)), 5);
      },
      async ({ poll }) => {
        for (let i = 0; i < 4; i += 1) assert.deepEqual(await poll(), GOOD);
      },
    );
  });

  test("an answer after its timeout never becomes the answer to a later request", () => {
    let requests = 0;
    return withRig(
      (request, socket) => {
        requests += 1;
        if (requests === 1) setTimeout(() => socket.write(changed(request, 10, 0xff)), 350);
        else setTimeout(() => socket.write(good(request)), 150);
      },
      async ({ poll }) => {
        assert.deepEqual(await poll(), all("timeout"));
        assert.deepEqual(await poll(), GOOD);
      },
    );
  });

  test("another unit, function, byte count or length is no value, and the stream goes on", async () => {
    const faults: [(request: Buffer) => Buffer, string][] = [
      [(request) => changed(request, 6, 9), "wrong_unit"],
      [(request) => changed(request, 7, 4), "garbage"],
      [(request) => changed(request, 8, 0), "garbage"],
      [(request) => changed(request, 8, 6), "garbage"],
      [(request) => Buffer.from([request[0] ?? 0, request[1] ?? 0, 0, 0, 0, 5, 1, 3, 2, 0x12, 0x34]), "garbage"],
      [(request) => Buffer.from([request[0] ?? 0, request[1] ?? 0, 0, 0, 0, 4, 1, 0x83, 2, 0]), "garbage"],
    ];
    for (const [fault, reason] of faults) {
      let requests = 0;
      await withRig(
        (request, socket) => socket.write((requests += 1) === 1 ? fault(request) : good(request)),
        async ({ poll, recorder }) => {
          assert.deepEqual(await poll(), all(reason));
          assert.deepEqual(await poll(), GOOD);
          assert.deepEqual(recorder.losses, []);
        },
      );
    }
  });

  test("every exception is a quality of that poll", async () => {
    for (const code of [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 99]) {
      let fails = true;
      await withRig(
        (request, socket) => {
          const [high = 0, low = 0] = request;
          socket.write(fails ? Buffer.from([high, low, 0, 0, 0, 3, 1, 0x83, code]) : answerOf(request));
        },
        async ({ poll }) => {
          assert.deepEqual(await poll(), all(code === 99 ? "exception_other" : `exception_${code}`));
          fails = false;
          await poll();
          assert.deepEqual(await poll(), GOOD, `exception ${code}: good again within two polls`);
        },
      );
    }
  });

  test("what is no Modbus TCP ends the link: there is no finding back into the stream", async () => {
    for (const [at, value] of [
      [2, 1],
      [4, 0xff],
      [5, 2],
    ] as const) {
      await withRig(
        (request, socket) => socket.write(changed(request, at, value)),
        async ({ session, recorder, server }) => {
          await assert.rejects(session.poll(0, signal), { code: "garbage" });
          assert.deepEqual(
            recorder.losses.map(({ code }) => code),
            ["garbage"],
          );
          while (server.sockets.size > 0) await realClock.sleep(1);
          // A new connection starts afresh.
          await session.close();
          await session.connect(signal);
        },
      );
    }
  });

  test("a reset during a request loses the link at once", () =>
    withRig(
      (_, socket) => socket.resetAndDestroy(),
      async ({ session, recorder }) => {
        const start_ms = realClock.monotonic_ms();
        await assert.rejects(session.poll(0, signal), { code: "link_lost" });
        assert.ok(realClock.monotonic_ms() - start_ms < 250);
        assert.equal(recorder.losses.length, 1);
      },
    ));

  test("a read that alone is never answered costs its own points, from the second poll on", () =>
    withRig(
      (request, socket) => {
        if (request.readUInt16BE(8) === 1) socket.write(answerOf(request));
      },
      async ({ poll }) => {
        assert.deepEqual(await poll(), all("timeout"));
        for (let i = 0; i < 3; i += 1) assert.deepEqual(await poll(), { a: "timeout", b: 0x5678n });
      },
      { timeout: "100ms", registers_max: 1 },
    ));

  test("a peer that answered once and is silent now is given up after three requests", () => {
    let requests = 0;
    return withRig(
      (request, socket) => {
        requests += 1;
        if (requests === 1) socket.write(good(request));
      },
      async ({ session, poll, recorder }) => {
        assert.deepEqual(await poll(), GOOD);
        assert.deepEqual(await poll(), all("timeout"));
        assert.deepEqual(await poll(), all("timeout"));
        await assert.rejects(session.poll(0, signal), { code: "link_lost" });
        assert.equal(recorder.losses.length, 1);
      },
      { timeout: "80ms" },
    );
  });
});

/** Right for whatever registers were asked for. */
function answerOf(request: Buffer): Buffer {
  const values = [0x1234, 0x5678].slice(request.readUInt16BE(8), request.readUInt16BE(8) + request.readUInt16BE(10));
  const data = values.flatMap((value) => [value >> 8, value & 0xff]);
  const [high = 0, low = 0] = request;
  return Buffer.from([high, low, 0, 0, 0, 3 + data.length, 1, 3, data.length, ...data]);
}
