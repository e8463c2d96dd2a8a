/** What the shared contract cannot see: whose a line is, late answers, checksums, shared ports. */
import { makeDevice } from "#test/contract/device.ts";
import { realClock } from "#test/contract/clock.ts";
import { createRecorder, type Recorder } from "#test/contract/recorder.ts";
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { describe, test, type TestContext } from "node:test";
import type { z } from "zod";
import { LinesideError, type Session } from "../../contract.ts";
import { serialPortOptions, serialTcpOptions } from "./options.ts";
import { createSource } from "./source.ts";

type Section = Omit<z.input<typeof serialTcpOptions>, "host" | "tcp_port" | "connect_timeout">;
type Input = Parameters<typeof makeDevice<"serial", object>>[0]["points"][number];

const { signal } = new AbortController();

interface Peer {
  readonly session: Session;
  readonly recorder: Recorder;
  /** Everything that the source has sent. */
  readonly sent: string[];
  /** What the device says, and when asked what. */
  say(text: string): void;
  onRequest: (request: string, say: (text: string) => void) => void;
  /** Name, and value or reason, of what has come since the last call. */
  news(): string[];
}

/** A device of bytes written by hand. */
async function connectPeer(t: TestContext, section: Section, points: readonly Input[]): Promise<Peer> {
  let socket: Socket | null = null;
  const sent: string[] = [];
  const server = createServer((accepted) => {
    socket = accepted;
    accepted.on("data", (bytes) => {
      const request = bytes.toString("latin1");
      sent.push(request);
      peer.onRequest(request, peer.say);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const options = serialTcpOptions.parse({ timeout: "50ms", ...section, host: "127.0.0.1", tcp_port: port });
  const device = makeDevice({ protocol: "serial", id: "scale", options, points });
  const recorder = createRecorder(device);
  const source = createSource({ clock: realClock, log: recorder.context.log, data_dir: null });
  const session = source.open(device, recorder.context);
  let told = 0;
  const peer: Peer = {
    session,
    recorder,
    sent,
    say: (text) => void socket?.write(Buffer.from(text, "latin1")),
    onRequest: () => {},
    news() {
      const readings = recorder.readings.slice(told);
      told = recorder.readings.length;
      return readings.map(({ name, quality, reason, value }) => `${name} ${quality === "bad" ? reason : value}`);
    },
  };
  t.after(async () => {
    await source.close();
    server.close();
  });
  const accepted = once(server, "connection");
  await session.connect(signal);
  await accepted;
  return peer;
}

async function until(check: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !check(); i += 1) await realClock.sleep(5);
  assert.ok(check());
}

const weighing: Section = {
  messages: [
    { name: "weight", request: "W\r\n", pattern: "W (?<value>\\S+)", errors: { "^E(?=\\d)": "device_error" } },
    { name: "tare", request: "T\r\n", pattern: "T (?<value>\\S+)" },
    { name: "scan", pattern: "SCAN (?<code>.+)", errors: { "^NOREAD$": "no_read" } },
  ],
};
const points: readonly Input[] = [
  { name: "weight", address: "weight.value", unit: "g" },
  { name: "tare", address: "tare.value", unit: "g" },
  { name: "code", address: "scan.code", kind: "text" },
];

describe("serial session", () => {
  test("lines that come between request and answer go to their own message", async (t) => {
    const peer = await connectPeer(t, weighing, points);
    peer.onRequest = (_, say) => say("SCAN 4006381333931\r\nT 9\r\nW 1.5\r\nSCAN a b\r\n");
    await peer.session.poll(0, signal);
    await until(() => peer.recorder.readings.length === 3);
    assert.deepEqual(peer.news(), ["code 4006381333931", "weight 1.5", "code a b"]);
    peer.say("NOREAD\r\n");
    await until(() => peer.recorder.readings.length === 4);
    assert.deepEqual(peer.news(), ["code no_read"]);
  });

  test("an answer that comes after its timeout is dropped, and the next request waits for it", async (t) => {
    const peer = await connectPeer(t, weighing, points);
    await peer.session.poll(0, signal);
    assert.deepEqual(peer.news(), ["weight timeout"]);
    const start_ms = realClock.monotonic_ms();
    const polling = peer.session.poll(0, signal);
    peer.onRequest = (_, say) => say("W 2\r\n");
    peer.say("W 1\r\n");
    await polling;
    assert.deepEqual(peer.news(), ["weight 2"]);
    assert.ok(realClock.monotonic_ms() - start_ms < 45, "the line is free as soon as the late answer is there");
  });

  test("an answer that nobody asked for is no reading", async (t) => {
    const peer = await connectPeer(t, weighing, points);
    peer.say("W 1\r\nSCAN x\r\n");
    await until(() => peer.recorder.readings.length > 0);
    assert.deepEqual(peer.news(), ["code x"]);
  });

  test("says why there is no value: error answers, garbage, wrong checksums, silence", async (t) => {
    const framing = { end: "\r", checksum: { kind: "xor", coding: "hex" } } as const;
    const message = { name: "weight", request: "W\r", pattern: "W(?<value>\\S+)", errors: { "^E": "device_error" } };
    const peer = await connectPeer(t, { framing, messages: [message] }, points.slice(0, 1));
    const replies: [string, string][] = [
      // W ^ 1 = 0x66, E ^ 3 = 0x76, X = 0x58.
      ["W166\r", "weight 1"],
      ["E376\r", "weight device_error"],
      ["X58\r", "weight garbage"],
      ["W167\r", "weight checksum"],
      ["", "weight timeout"],
      ["W166\r", "weight 1"],
    ];
    for (const [reply, expected] of replies) {
      peer.onRequest = (_, say) => say(reply);
      await peer.session.poll(0, signal);
      assert.deepEqual(peer.news(), [expected]);
    }
  });

  test("what is left of a broken frame does not spoil the next answer", async (t) => {
    const peer = await connectPeer(t, { messages: weighing.messages?.slice(0, 1) }, points.slice(0, 1));
    peer.onRequest = (_, say) => say("W 12");
    await peer.session.poll(0, signal);
    peer.onRequest = (_, say) => say("W 3\r\n");
    await peer.session.poll(0, signal);
    assert.deepEqual(peer.news(), ["weight timeout", "weight 3"]);
  });

  test("keeps the pause that the device wants between two requests", async (t) => {
    const peer = await connectPeer(t, { ...weighing, pause: "40ms" }, points);
    peer.onRequest = (request, say) => say(`${request.slice(0, 1)} 1\r\n`);
    const start_ms = realClock.monotonic_ms();
    for (let i = 0; i < 3; i += 1) await peer.session.poll(i % 2, signal);
    const took_ms = realClock.monotonic_ms() - start_ms;
    assert.ok(took_ms >= 79, `three requests took ${took_ms} ms`);
    assert.deepEqual(peer.sent, ["W\r\n", "T\r\n", "W\r\n"]);
  });

  test("a device that sends by itself is silent once it has been so for long enough, message by message", async (t) => {
    const messages = [
      { name: "a", pattern: "A(?<value>\\d)" },
      { name: "b", pattern: "B(?<value>\\d)" },
    ];
    const peer = await connectPeer(t, { silent_after: "60ms", framing: { gap: "5ms" }, messages }, [
      { name: "a", address: "a.value" },
      { name: "b", address: "b.value" },
    ]);
    for (let i = 0; i < 6; i += 1) {
      peer.say("A1");
      await realClock.sleep(20);
    }
    const news = peer.news();
    assert.ok(news.includes("b silent"), news.join());
    assert.ok(!news.includes("a silent"), news.join());
  });

  test("poll intervals come from the message, else from the fastest of its points", async () => {
    const device = makeDevice({
      protocol: "serial",
      id: "d",
      options: serialPortOptions.parse({
        port: "/dev/null",
        messages: [
          { name: "fast", request: "F", pattern: "(?<a>x)(?<b>y)" },
          { name: "slow", request: "S", pattern: "(?<a>x)", every: "1h" },
          { name: "unused", request: "U", pattern: "(?<a>x)" },
        ],
      }),
      points: [
        { name: "a", address: "fast.a", every: "5s" },
        { name: "b", address: "fast.b", every: "2s" },
        { name: "c", address: "slow.a" },
      ],
    });
    const recorder = createRecorder(device);
    const source = createSource({ clock: realClock, log: recorder.context.log, data_dir: null });
    const { groups } = source.open(device, recorder.context);
    assert.deepEqual(
      groups.map(({ every_ms, points: members }) => [every_ms, [...members]]),
      [
        [2000, [0, 1]],
        [3_600_000, [2]],
      ],
    );
    await source.close();
  });

  test("a line has one user: the second is told who has it", async (t) => {
    const server = createServer(() => {});
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const options = serialTcpOptions.parse({ ...weighing, host: "127.0.0.1", tcp_port: port });
    const recorder = createRecorder(makeDevice({ protocol: "serial", id: "one", options, points }));
    const source = createSource({ clock: realClock, log: recorder.context.log, data_dir: null });
    t.after(async () => {
      await source.close();
      server.close();
    });
    const open = (id: string) => source.open(makeDevice({ protocol: "serial", id, options, points }), recorder.context);
    const [one, two] = [open("one"), open("two")];
    await one.connect(signal);
    await assert.rejects(two.connect(signal), { code: "port_in_use", message: /device two: .* device one/ });
    await one.close();
    await two.connect(signal);
  });

  test("what cannot be opened says what to do", async () => {
    const connect = async (options: ReturnType<typeof serialPortOptions.parse>) => {
      const device = makeDevice({ protocol: "serial", id: "d", options, points: [] });
      const recorder = createRecorder(device);
      const source = createSource({ clock: realClock, log: recorder.context.log, data_dir: null });
      try {
        await source.open(device, recorder.context).connect(signal);
      } finally {
        await source.close();
      }
    };
    await assert.rejects(connect(serialPortOptions.parse({ port: "/dev/serial/none" })), { code: "port_missing" });
    await assert.rejects(connect(serialPortOptions.parse({ port: "/etc/hostname" })), (error) => {
      assert.ok(error instanceof LinesideError);
      return error.code === "port_failed" || error.code === "port_denied";
    });
  });

  test("a device that contradicts itself cannot be opened", () => {
    const open =
      (section: Section, given: readonly Input[] = points) =>
      () => {
        const options = serialPortOptions.parse({ port: "/dev/null", ...section });
        const device = makeDevice({ protocol: "serial", id: "scale", options, points: given });
        const recorder = createRecorder(device);
        createSource({ clock: realClock, log: recorder.context.log, data_dir: null }).open(device, recorder.context);
      };
    assert.doesNotThrow(open(weighing));
    const config = (message: RegExp) => ({ code: "config", message });
    assert.throws(
      open({ ...weighing, framing: { start: "\x02" } }),
      config(/device scale: serial.framing: nothing ends/),
    );
    assert.throws(open({ ...weighing, framing: { length: 2, end: "\r\n" } }), config(/leaves nothing/));
    assert.throws(open({ messages: [] }), config(/point weight: there is no message 'weight'/));
    assert.throws(
      open({ messages: [{ name: "weight", pattern: "(?<other>x)" }] }, points.slice(0, 1)),
      config(/no group 'value'/),
    );
    assert.throws(
      open({ messages: [{ name: "weight", pattern: "(?<value>(a+)+)" }] }, points.slice(0, 1)),
      config(/repetition/),
    );
  });
});
