import assert from "node:assert/strict";
import { test } from "node:test";
import { serveHttp, toJson } from "./http.ts";
import type { AgentStatus } from "./status.ts";

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

test("status, metrics, health and readiness over HTTP; a taken port is a clear error", async () => {
  let why = "starting";
  const status = { sources: {}, devices: [], targets: [], journal: {}, process: {} } as unknown as AgentStatus; // Only its shape matters.
  const view = { status: () => status, readings: () => null, notReady: () => why };
  const server = await serveHttp({ host: "127.0.0.1", port: 0 }, view, log);
  const get = async (path: string, method = "GET") => {
    const response = await fetch(server.url + path, { method });
    return [response.status, await response.text()] as const;
  };
  assert.deepEqual(await get("/healthz"), [200, "ok\n"]);
  assert.deepEqual(await get("/readyz"), [503, "starting\n"]);
  why = "";
  assert.deepEqual(await get("/readyz"), [200, "ready\n"]);
  assert.equal((await get("/metrics"))[0], 200);
  assert.deepEqual(JSON.parse((await get("/status"))[1]), status);
  assert.equal((await get("/status/nothing"))[0], 404);
  assert.equal((await get("/healthz", "POST"))[0], 405);
  const port = Number(new URL(server.url).port);
  await assert.rejects(serveHttp({ host: "127.0.0.1", port }, view, log), {
    code: "http_port",
    message: /another program/,
  });
  await server.close();
});

test("JSON keeps an int64 exact", () => {
  assert.equal(toJson({ a: 5n, b: 9007199254740993n }), '{"a":5,"b":"9007199254740993"}\n');
});
