import {
  type Attributes,
  type Descriptor,
  type Event,
  LinesideError,
  type Session,
  type SessionContext,
  type Source,
} from "#adapters/contract.ts";
import { createFrame } from "#adapters/frame.ts";
import { isoTime } from "#adapters/lines.ts";
import { isBad, reasonOf } from "#adapters/quality.ts";
import { VirtualClock } from "#test/virtual-clock.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { DeviceRunner } from "./device.ts";
import { Pipeline } from "./process/pipeline.ts";
import { Schedule } from "./schedule.ts";
import type { SiteDevice } from "./site/contract.ts";

const series = ["a", "b", "c"].map((name) => ({
  name,
  metric: name,
  unit: "1",
  description: "",
  kind: "gauge" as const,
  value: "double" as const,
  monotonic: false,
  attributes: {},
}));
const descriptor: Descriptor = {
  device: "d",
  source: "modbus",
  resource: {},
  scope: { name: "t", version: "1" },
  series,
};

/** A device whose link and polls do as the test says. */
function rig(groups: { every_ms: number; points: number[] }[], pushed: number[] = []) {
  const clock = new VirtualClock();
  const quiet = () => undefined;
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
  const readings: string[] = [];
  const events: Event[] = [];
  const link = {
    refuse: null as LinesideError | null,
    identity: {} as Attributes,
    poll: async (_group: number): Promise<void> => undefined,
    lose: (_error: LinesideError): void => undefined,
    emit: (_points: readonly number[]): void => undefined,
    polls: [] as string[],
    closes: 0,
    close: async (): Promise<void> => undefined,
  };
  const source: Source = {
    open: (_device, context: SessionContext): Session => {
      link.lose = context.lost;
      link.emit = (points) => {
        const frame = createFrame(Uint32Array.from(points));
        frame.time_us = clock.now_us();
        context.sink(frame);
      };
      return {
        groups: groups.map(({ every_ms, points }) => ({ every_ms, points: Uint32Array.from(points) })),
        pushed: Uint32Array.from(pushed),
        connect: async () => {
          if (link.refuse !== null) throw link.refuse;
          return link.identity;
        },
        poll: async (group) => {
          link.polls.push(`${clock.monotonic_ms()}:${group}`);
          await link.poll(group);
        },
        close: async () => {
          link.closes++;
          await link.close();
        },
      };
    },
    close: async () => undefined,
  };
  const device = {
    id: "d",
    protocol: "modbus",
    points: series.map(() => ({ every: 1000 })),
    descriptor,
  } as unknown as SiteDevice; // What the runner looks at.
  const pipeline = new Pipeline(device, new Map(), {
    push: (_, frame) => {
      for (let row = 0; row < frame.count; row++) {
        const q = frame.quality[row] ?? 0;
        readings.push(
          `${clock.monotonic_ms()} ${series[frame.points[row] ?? 0]?.name} ${isBad(q) ? reasonOf(q) : "good"}`,
        );
      }
    },
    counterChanged: quiet,
  });
  const context = {
    clock,
    log,
    schedule: new Schedule(clock),
    pipeline,
    event: (event: Event) => void events.push(event),
  };
  const runner = new DeviceRunner(device, source, context);
  return { clock, runner, link, readings, events, pipeline };
}

describe("a device", () => {
  test("is polled at once when it is up, then at its intervals", async () => {
    const { clock, runner, link } = rig([
      { every_ms: 1000, points: [0, 1] },
      { every_ms: 3000, points: [2] },
    ]);
    await clock.advance(100);
    runner.start();
    await clock.advance(3100);
    assert.deepEqual(link.polls.sort(), ["1000:0", "100:0", "100:1", "2000:0", "3000:0", "3000:1"].sort());
    await runner.stop();
    assert.equal(clock.pending, 0, "no timer is left");
  });

  test("polls never overlap; what is due meanwhile waits, and is counted when it is due again", async () => {
    const { clock, runner, link } = rig([{ every_ms: 1000, points: [0] }]);
    let running = 0;
    link.poll = async () => {
      assert.equal(++running, 1);
      await clock.sleep(2500);
      running--;
    };
    runner.start();
    await clock.advance(10_000);
    assert.equal(link.polls.length, 5, "at 0, 2.5, 5, 7.5 and 10 s");
    assert.ok(runner.status().overruns > 0);
    link.poll = async () => undefined;
    const stopped = runner.stop();
    await clock.advance(5000);
    await stopped;
  });

  test("that cannot be reached has bad readings with the reason, at its own pace, and a gap when it is back", async () => {
    const { clock, runner, link, readings, events } = rig([{ every_ms: 1000, points: [0, 1] }]);
    link.poll = async () => link.emit([0, 1]);
    link.refuse = new LinesideError("connect_refused", "nobody listens at 10.0.0.1:502");
    runner.start();
    await clock.advance(3500);
    assert.deepEqual(
      readings,
      [1000, 2000, 3000].flatMap((ms) => [`${ms} a connect_refused`, `${ms} b connect_refused`]),
    );
    assert.equal(runner.status().state, "down");
    link.refuse = null;
    await clock.advance(2000);
    assert.equal(runner.status().state, "up");
    assert.deepEqual(
      events.map(({ name }) => name),
      ["lineside.device.down", "lineside.device.up", "lineside.gap"],
    );
    const gap = events.at(-1)?.attributes;
    assert.equal(gap?.["gap.reason"], "connect_refused");
    assert.equal(gap?.["gap.points.count"], 3);
    await runner.stop();
  });

  test("whose link is lost during a poll reports each point once: good where it was read, bad where not", async () => {
    const { clock, runner, link, readings } = rig([{ every_ms: 1000, points: [0, 1, 2] }]);
    link.poll = async () => {
      link.emit([0]);
      throw new LinesideError("link_lost", "reset by peer");
    };
    link.refuse = null;
    runner.start();
    await clock.advance(10);
    assert.deepEqual(readings, ["0 a good", "0 b link_lost", "0 c link_lost"]);
    assert.equal(runner.status().state, "down");
    link.poll = async () => link.emit([0, 1, 2]);
    await clock.advance(1500);
    assert.equal(runner.status().state, "up");
    assert.ok(readings.includes("1000 c good") || readings.some((line) => line.endsWith("c good")));
    await runner.stop();
  });

  test("with pushed points has them marked bad once when the link is lost", async () => {
    const { clock, runner, link, readings } = rig([], [1, 2]);
    runner.start();
    await clock.advance(10);
    link.emit([1]);
    link.lose(new LinesideError("subscription_silent", "nothing for 10 s"));
    link.refuse = new LinesideError("connect_refused", "down");
    await clock.advance(5000);
    assert.deepEqual(readings, ["10 b good", "10 b subscription_silent", "10 c subscription_silent"]);
    await runner.stop();
    assert.equal(clock.pending, 0);
  });

  test("tells what it said of itself as resource attributes, in a descriptor that changes only then", async () => {
    const { clock, runner, link, pipeline } = rig([{ every_ms: 1000, points: [0] }]);
    link.identity = { "device.firmware.version": "2.6" };
    runner.start();
    await clock.advance(10);
    const named = pipeline.descriptor;
    assert.equal(named.resource["device.firmware.version"], "2.6");
    link.lose(new LinesideError("link_lost", "gone"));
    await clock.advance(3000);
    assert.equal(runner.status().connects, 2);
    assert.equal(pipeline.descriptor, named);
    await runner.stop();
  });

  test("that has lost its link is not polled while the link is closed, and every group that was due says why", async () => {
    const { clock, runner, link, readings } = rig([
      { every_ms: 1000, points: [0] },
      { every_ms: 1000, points: [1] },
    ]);
    runner.start();
    await clock.advance(10);
    link.poll = async () => await Promise.reject(new LinesideError("link_lost", "reset by peer"));
    link.close = async () => await clock.sleep(3500);
    await clock.advance(990);
    assert.deepEqual(link.polls, ["0:0", "0:1", "1000:0"]);
    await clock.advance(3000);
    assert.deepEqual(link.polls.length, 3, "no poll on a link that is being closed");
    assert.deepEqual(
      readings,
      [1000, 2000, 3000, 4000].flatMap((ms) => [`${ms} a link_lost`, `${ms} b link_lost`]),
    );
    link.close = async () => undefined;
    const stopped = runner.stop();
    await clock.advance(1000);
    await stopped;
  });

  test("tells each outage with its own ends, whatever the wall clock does, also when it is stopped in one", async () => {
    const { clock, runner, link, events } = rig([{ every_ms: 1000, points: [0, 1] }], [2]);
    link.poll = async () => link.emit([0, 1]);
    runner.start();
    await clock.advance(1500);
    const gaps = () => events.filter(({ name }) => name === "lineside.gap").map(({ attributes }) => attributes);
    const began_us = clock.wall_us;
    link.refuse = new LinesideError("connect_refused", "down");
    link.lose(new LinesideError("link_lost", "gone"));
    await clock.advance(8500);
    link.refuse = null;
    link.poll = async () => undefined;
    await clock.advance(1000);
    assert.equal(gaps()[0]?.["gap.from"], isoTime(began_us + 1e6));
    assert.equal(gaps()[0]?.["gap.readings"], 27, "three points, pushed ones too, over 9.x seconds");
    // Up again, and lost again before anything was read: its gap begins where the first one ended.
    link.refuse = new LinesideError("connect_refused", "down");
    link.lose(new LinesideError("link_lost", "gone"));
    await clock.advance(1000);
    clock.wall_us -= 3600e6;
    await clock.advance(9000);
    await runner.stop();
    assert.equal(gaps().length, 2, "the outage that was under way is told too");
    assert.ok(String(gaps()[1]?.["gap.from"]) >= String(gaps()[0]?.["gap.to"]));
    assert.equal(gaps()[1]?.["gap.to"], gaps()[1]?.["gap.from"], "a clock set back leaves no impossible end");
    assert.ok(Number(gaps()[1]?.["gap.readings"]) >= 27, "counted by a clock that was not set");
  });

  test("whose link never closes, or fails to, holds nobody up", async () => {
    const { clock, runner, link } = rig([{ every_ms: 1000, points: [0] }]);
    link.close = async () => await Promise.reject(new Error("no such file"));
    runner.start();
    await clock.advance(10);
    link.lose(new LinesideError("link_lost", "gone"));
    await clock.advance(3000);
    assert.equal(runner.status().connects, 2, "it is connected anew");
    link.close = async () => await new Promise<never>(() => undefined);
    const stopped = runner.stop();
    await clock.advance(6000);
    await stopped;
    assert.equal(runner.status().state, "stopped");
    assert.equal(clock.pending, 0);
  });

  test("that tells less of itself than before is not described by what it said then", async () => {
    const { clock, runner, link, pipeline } = rig([{ every_ms: 1000, points: [0] }]);
    link.identity = { "device.firmware.version": "2.6", "device.serial": "17" };
    runner.start();
    await clock.advance(10);
    link.identity = { "device.firmware.version": "2.6" };
    link.lose(new LinesideError("link_lost", "gone"));
    await clock.advance(3000);
    assert.deepEqual(pipeline.descriptor.resource, { "device.firmware.version": "2.6" });
    await runner.stop();
  });
});
