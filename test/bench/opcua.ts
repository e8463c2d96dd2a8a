/**
 * OPC UA subscription: CPU of our source for each notification, down to the row of a frame, beside
 * the bare node-opcua client, whose listeners only count. The server runs in a process of its own.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OPCUACertificateManager } from "node-opcua";
import { AttributeIds, ClientSubscription, OPCUAClient, TimestampsToReturn } from "node-opcua-client";
import { createSource } from "#adapters/sources/opcua/source.ts";
import { opcuaDevice, Recorder, testClock } from "#test/hardware-sim/opcua/rig.ts";
import { row, type Row } from "./stage.ts";

const ITEMS = 4_000;
const EVERY_MS = 400;
const PUBLISHING_MS = 200;
const WARM_MS = 1_500;
const MEASURE_MS = 5_000;
const QUEUE = 10;
const CHUNK = 500;

const pause = (delay_ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, delay_ms));

interface Cost {
  /** CPU microseconds for each notification. */
  readonly each_us: number;
  readonly per_second: number;
}

/** Warm-up, then CPU of this process over the notifications that `count` tells of. */
async function measure(count: () => number): Promise<Cost> {
  await pause(WARM_MS);
  const [cpu, counted, start_ms] = [process.cpuUsage(), count(), performance.now()];
  await pause(MEASURE_MS);
  const used = process.cpuUsage(cpu);
  const notifications = count() - counted;
  if (notifications === 0) throw new Error("no notifications came");
  return {
    each_us: (used.user + used.system) / notifications,
    per_second: (notifications * 1000) / (performance.now() - start_ms),
  };
}

async function bareClient(endpoint: string): Promise<Cost> {
  const folder = await mkdtemp(join(tmpdir(), "lineside-bench-opcua-"));
  // Without one of its own the client would keep its certificates in the home folder.
  const certificates = new OPCUACertificateManager({ rootFolder: folder, disableFileWatchers: true });
  const client = OPCUAClient.create({ endpointMustExist: false, clientCertificateManager: certificates });
  await client.connect(endpoint);
  const session = await client.createSession();
  const index = (await session.readNamespaceArray()).indexOf("urn:lineside:bench");
  const subscription = ClientSubscription.create(session, {
    requestedPublishingInterval: PUBLISHING_MS,
    requestedLifetimeCount: 1_000,
    requestedMaxKeepAliveCount: 10,
    maxNotificationsPerPublish: 4_096,
    publishingEnabled: true,
    priority: 0,
  });
  await once(subscription, "started");
  let counted = 0;
  for (let from = 0; from < ITEMS; from += CHUNK) {
    const group = await subscription.monitorItems(
      Array.from({ length: CHUNK }, (_, i) => ({
        nodeId: `ns=${index};i=${1000 + from + i}`,
        attributeId: AttributeIds.Value,
      })),
      { samplingInterval: EVERY_MS, queueSize: QUEUE, discardOldest: true },
      TimestampsToReturn.Both,
    );
    group.on("changed", () => counted++);
  }
  const cost = await measure(() => counted);
  await session.close(true);
  await client.disconnect();
  await rm(folder, { recursive: true, force: true });
  return cost;
}

async function ourSource(endpoint: string): Promise<Cost> {
  const points = Array.from({ length: ITEMS }, (_, i) => ({
    name: `item_${i}`,
    address: `nsu=urn:lineside:bench;i=${1000 + i}`,
  }));
  const device = opcuaDevice(points, { endpoint, publishing: `${PUBLISHING_MS}ms`, queue: QUEUE }, EVERY_MS);
  const recorder = new Recorder(device, testClock());
  const source = createSource(recorder.adapter);
  let counted = 0;
  const session = source.open(device, { ...recorder.context, sink: (frame) => (counted += frame.count) });
  await session.connect(new AbortController().signal);
  const cost = await measure(() => counted);
  await session.close();
  await source.close();
  return cost;
}

export async function bench(): Promise<readonly Row[]> {
  const script = join(import.meta.dirname, "opcua-server.ts");
  const child = spawn(process.execPath, [script, String(ITEMS), String(EVERY_MS)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  try {
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    const { port } = JSON.parse(line.toString()) as { port: number };
    const endpoint = `opc.tcp://127.0.0.1:${port}`;
    const bare = await bareClient(endpoint);
    const ours = await ourSource(endpoint);
    return [
      row("opcua/notification", ours.each_us, "us/notification", bare.each_us),
      row("opcua/notifications", ours.per_second, "notifications/s", bare.per_second),
    ];
  } finally {
    child.stdin.end();
    await once(child, "exit");
  }
}
