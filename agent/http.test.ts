import assert from "node:assert/strict";
import { connect } from "node:net";
import { text as textOf } from "node:stream/consumers";
import { test } from "node:test";
import { serveHttp, toJson } from "./http.ts";
import type { AgentStatus } from "./status.ts";

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

test("status, metrics, health and readiness over HTTP; a taken port is a clear error", async () => {
  let why = "starting";
  const status = { sources: {}, devices: [], targets: [], journal: {}, process: {} } as unknown as AgentStatus; // Only its shape matters.
  const view = { status: () => status, readings: () => null, notReady: () => why, redact: (text: string) => text };
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

test("no request line ends the agent, and no secret leaves it", async () => {
  const status = { sources: {}, targets: [{ reason: "401: token hunter22" }] } as unknown as AgentStatus; // Only its shape matters.
  const view = {
    status: () => status,
    readings: (device: string) => (device === "größe 1" ? { device, readings: [] } : null),
    notReady: () => "",
    redact: (text: string) => text.replaceAll("hunter22", "***"),
  };
  const server = await serveHttp({ host: "127.0.0.1", port: 0 }, view, log);
  const raw = async (target: string): Promise<string> => {
    const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
    socket.end(`GET ${target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
    return await textOf(socket);
  };
  for (const target of ["//", "/status/%E0%A4%A", "http://:0:0/", "*", "/%00"]) {
    assert.match(await raw(target), /^HTTP\/1\.1 404 /, target);
  }
  assert.match(await raw("/status/gr%C3%B6%C3%9Fe%201?x=1"), /^HTTP\/1\.1 200 /);
  const shown = await raw("/status");
  assert.match(shown, /401: token \*\*\*/);
  assert.doesNotMatch(shown, /hunter22/);
  await server.close();
});

test("JSON keeps an int64 exact", () => {
  assert.equal(toJson({ a: 5n, b: 9007199254740993n }), '{"a":5,"b":"9007199254740993"}\n');
});
