/** The OTLP target against our receiver and against odd ones, on real sockets. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import type { AdapterContext, Batch, Event, Outcome, Target } from "../../contract.ts";
import { batchOf, descriptor, frameOf, series } from "#test/contract/batches.ts";
import { realClock } from "#test/contract/clock.ts";
import { createAuthority } from "#test/receiver/certificates.ts";
import { type Receiver, type ReceiverOptions, startReceiver } from "#test/receiver/receiver.ts";
import type { z } from "zod";
import { otlpOptions } from "./options.ts";
import { createTarget } from "./target.ts";

type Input = z.input<typeof otlpOptions>;
const PROTOCOLS = ["grpc", "http/protobuf", "http/json"] as const;

const device = descriptor("d", [series("t"), series("order", { kind: "text", value: "text" })]);
const event: Event = {
  name: "lineside.gap",
  time_us: 5,
  severity: "warn",
  body: "b",
  attributes: {},
  descriptor: device,
};
const numbers = (): Batch => batchOf([{ descriptor: device, frame: frameOf(device, 1, [{ series: 0, value: 1 }]) }]);
/** Two readings, one of them a text, and an event: two requests. */
const mixed = (): Batch =>
  batchOf(
    [
      {
        descriptor: device,
        frame: frameOf(device, 1, [
          { series: 0, value: 1 },
          { series: 1, value: "x" },
        ]),
      },
    ],
    [event],
  );

interface Warning {
  readonly fields: object;
  readonly message: string;
}

async function make(t: TestContext, input: Input, warnings: Warning[] = []): Promise<Target> {
  const ignore = (): void => {};
  const warn = (fields: object, message: string): void => void warnings.push({ fields, message });
  const context: AdapterContext = {
    clock: realClock,
    log: { debug: ignore, info: ignore, warn, error: ignore },
    data_dir: null,
  };
  const target = await createTarget(otlpOptions.parse({ timeout: "2s", ...input }), context);
  t.after(() => target.close());
  return target;
}

async function receive(t: TestContext, options: ReceiverOptions = {}): Promise<Receiver> {
  const receiver = await startReceiver({ requests_kept: 50, ...options });
  t.after(() => receiver.stop());
  return receiver;
}

const endpointOf = (receiver: Receiver, protocol: (typeof PROTOCOLS)[number]): string =>
  protocol === "grpc" ? receiver.grpc_endpoint : receiver.http_endpoint;
const deliver = (target: Target, batch: Batch): Promise<Outcome> => target.deliver(batch, new AbortController().signal);

for (const protocol of PROTOCOLS) {
  describe(`otlp target, ${protocol}`, { timeout: 30_000 }, () => {
    test("sends again only the request that was not taken, when the same batch comes again", async (t) => {
      const receiver = await receive(t);
      const target = await make(t, { endpoint: endpointOf(receiver, protocol), protocol });
      receiver.behave({ kind: "unavailable" }, { only: "logs" });
      const batch = mixed();
      const outcome = await deliver(target, batch);
      assert.equal(outcome.kind, "retry");
      assert.match(outcome.reason ?? "", /^logs: /);
      receiver.behave(null);
      assert.deepEqual(await deliver(target, batch), { kind: "delivered", rejected: 0 });
      const { metrics_requests, logs_requests, points, logs } = receiver.totals();
      assert.deepEqual(
        { metrics_requests, logs_requests, points, logs },
        { metrics_requests: 1, logs_requests: 2, points: 1, logs: 2 },
      );
      // A batch that was read anew starts from the beginning.
      assert.equal((await deliver(target, mixed())).kind, "delivered");
      assert.equal(receiver.totals().metrics_requests, 2);
    });

    test("counts what a partial success rejects, warns once, and does not send it again", async (t) => {
      const receiver = await receive(t);
      const warnings: Warning[] = [];
      const target = await make(t, { endpoint: endpointOf(receiver, protocol), protocol }, warnings);
      receiver.behave({ kind: "partial", rejected: 1, message: "too old" });
      const expected = { kind: "delivered", rejected: 1, reason: "metrics: partial success, 1 rejected: too old" };
      assert.deepEqual(await deliver(target, numbers()), expected);
      assert.deepEqual(await deliver(target, numbers()), expected);
      assert.deepEqual(
        warnings.map(({ fields }) => fields),
        [{ rejected: 1, reason: expected.reason }],
      );
      receiver.behave({ kind: "partial", rejected: 0, message: "use TLS" });
      assert.deepEqual(await deliver(target, numbers()), {
        kind: "delivered",
        rejected: 0,
        reason: "metrics: warning of the receiver: use TLS",
      });
      assert.equal(warnings.length, 2);
      assert.equal(receiver.totals().requests, 3);
    });

    test("never counts more readings as rejected than the batch has", async (t) => {
      const receiver = await receive(t);
      const target = await make(t, { endpoint: endpointOf(receiver, protocol), protocol });
      receiver.behave({ kind: "partial", rejected: 1000, message: "" });
      const outcome = await deliver(target, mixed());
      assert.deepEqual(outcome.kind === "delivered" && outcome.rejected, 2);
      const alone = await deliver(target, numbers());
      assert.deepEqual(alone.kind === "delivered" && alone.rejected, 1);
    });

    test("delivers the numbers where the receiver has no logs, and counts the texts as rejected", async (t) => {
      const receiver = await receive(t);
      const target = await make(t, { endpoint: endpointOf(receiver, protocol), protocol });
      // 12 is UNIMPLEMENTED.
      receiver.behave({ kind: "status", http: 404, grpc: 12 }, { only: "logs" });
      const outcome = await deliver(target, mixed());
      assert.deepEqual([outcome.kind, outcome.kind === "delivered" && outcome.rejected], ["delivered", 1]);
      assert.match(outcome.reason ?? "", /^logs: (HTTP 404|UNIMPLEMENTED)/);
    });

    test("refuses the batch where the numbers are refused", async (t) => {
      const receiver = await receive(t);
      const target = await make(t, { endpoint: endpointOf(receiver, protocol), protocol });
      receiver.behave({ kind: "refused" }, { only: "metrics" });
      const outcome = await deliver(target, mixed());
      assert.equal(outcome.kind, "refused");
      assert.match(outcome.reason ?? "", /^metrics: .*not acceptable/);
    });

    test("parks where the credentials are wrong, and goes on where the connection breaks", async (t) => {
      const receiver = await receive(t);
      const target = await make(t, { endpoint: endpointOf(receiver, protocol), protocol });
      receiver.behave({ kind: "unauthenticated" });
      const outcome = await deliver(target, numbers());
      assert.deepEqual(outcome, { kind: "retry", reason: outcome.reason });
      assert.match(outcome.reason ?? "", /check the credentials/);
      receiver.behave({ kind: "disconnect" });
      assert.equal((await deliver(target, numbers())).kind, "retry");
      receiver.behave(null);
      assert.equal((await deliver(target, numbers())).kind, "delivered");
    });

    test("sends headers, and gzip or nothing as configured", async (t) => {
      const receiver = await receive(t);
      const endpoint = endpointOf(receiver, protocol);
      for (const compression of ["gzip", "none"] as const) {
        const target = await make(t, {
          endpoint,
          protocol,
          compression,
          headers: { Authorization: "Bearer x", "x-tenant": "lyon" },
        });
        assert.equal((await deliver(target, numbers())).kind, "delivered");
        const headers = receiver.requests().at(-1)?.headers ?? {};
        assert.deepEqual([headers.authorization, headers["x-tenant"]], ["Bearer x", "lyon"]);
        if (protocol === "grpc") continue; // grpc-js takes its own headers off before a server sees them.
        assert.equal(headers["content-encoding"], compression === "gzip" ? "gzip" : undefined);
        assert.equal(headers["content-type"], protocol === "http/json" ? "application/json" : "application/x-protobuf");
      }
    });

    test("trusts the authority that it was given, and no other", async (t) => {
      const folder = await mkdtemp(join(tmpdir(), "lineside-tls-"));
      t.after(() => rm(folder, { recursive: true }));
      const [ours, theirs] = [createAuthority(), createAuthority("somebody else")];
      const server = ours.issue("127.0.0.1");
      const client = ours.issue("gateway");
      const stranger = theirs.issue("gateway");
      const files = {
        ours: ours.certificate,
        theirs: theirs.certificate,
        client: client.certificate,
        client_key: client.key,
        stranger: stranger.certificate,
        stranger_key: stranger.key,
      };
      const path = (name: keyof typeof files): string => join(folder, `${name}.pem`);
      for (const [name, text] of Object.entries(files)) await writeFile(join(folder, `${name}.pem`), text);
      const receiver = await receive(t, { tls: { ...server, client_ca: ours.certificate } });
      const endpoint = endpointOf(receiver, protocol);
      const outcomeWith = async (tls: Input["tls"]): Promise<string> => {
        const target = await make(t, { endpoint, protocol, tls });
        return (await deliver(target, numbers())).kind;
      };
      const mine = { certificate: path("client"), private_key: path("client_key") };
      assert.equal(await outcomeWith({ ca: path("ours"), ...mine }), "delivered");
      assert.equal(await outcomeWith({ ca: path("theirs"), ...mine }), "retry");
      assert.equal(await outcomeWith({ ...mine }), "retry");
      assert.equal(await outcomeWith({ ca: path("ours") }), "retry");
      assert.equal(
        await outcomeWith({ ca: path("ours"), certificate: path("stranger"), private_key: path("stranger_key") }),
        "retry",
      );
      assert.equal(await outcomeWith({ ca: path("ours"), ...mine, server_name: "otel.plant.example" }), "retry");
      assert.equal(receiver.totals().accepted, 1);
    });

    test("expects the name that it was told in the receiver's certificate, and an unexpired one", async (t) => {
      const folder = await mkdtemp(join(tmpdir(), "lineside-tls-"));
      t.after(() => rm(folder, { recursive: true }));
      const authority = createAuthority();
      await writeFile(join(folder, "ca.pem"), authority.certificate);
      const tls = { ca: join(folder, "ca.pem"), server_name: "otel.plant.example" };
      const named = await receive(t, { tls: authority.issue("otel.plant.example") });
      assert.equal(
        (await deliver(await make(t, { endpoint: endpointOf(named, protocol), protocol, tls }), numbers())).kind,
        "delivered",
      );
      const past = { from: new Date("2020-01-01"), to: new Date("2021-01-01") };
      const expired = await receive(t, { tls: authority.issue("otel.plant.example", past) });
      const outcome = await deliver(
        await make(t, { endpoint: endpointOf(expired, protocol), protocol, tls }),
        numbers(),
      );
      assert.equal(outcome.kind, "retry");
      assert.match(outcome.reason ?? "", /expired/i);
    });
  });
}

describe("otlp target, options", () => {
  const rejects = (t: TestContext, input: Input, message: RegExp): Promise<void> =>
    assert.rejects(
      () => make(t, input),
      (error: Error) => {
        assert.equal("code" in error && error.code, "config");
        assert.match(error.message, message);
        return true;
      },
    );

  test("names the field of a TLS file that is missing or is none", async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "lineside-tls-"));
    t.after(() => rm(folder, { recursive: true }));
    const [empty, pem, other] = ["empty.pem", "pem.pem", "other.pem"].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    const authority = createAuthority();
    await writeFile(empty, "");
    await writeFile(pem, authority.certificate);
    await writeFile(other, createAuthority().key);
    const endpoint = "https://127.0.0.1:4317";
    await rejects(
      t,
      { endpoint, tls: { ca: "/nowhere/ca.pem" } },
      /^otlp: tls\.ca cannot read \/nowhere\/ca\.pem \(ENOENT\)$/,
    );
    await rejects(t, { endpoint, tls: { ca: empty } }, /^otlp: tls\.ca is not a PEM file$/);
    await rejects(t, { endpoint, tls: { certificate: pem } }, /^otlp: tls\.private_key is missing/);
    await rejects(t, { endpoint, tls: { private_key: pem } }, /^otlp: tls\.certificate is missing/);
    await rejects(
      t,
      { endpoint, tls: { certificate: pem, private_key: pem } },
      /^otlp: tls\.private_key cannot be used/,
    );
    await rejects(
      t,
      { endpoint, tls: { certificate: pem, private_key: other } },
      /^otlp: tls\.private_key cannot be used/,
    );
    await rejects(
      t,
      { endpoint: "http://127.0.0.1:4317", tls: { ca: pem } },
      /^otlp: tls\.ca is set, but http:.* is not https$/,
    );
  });

  test("says which header cannot be sent, and not what is in it", async (t) => {
    for (const endpoint of ["http://127.0.0.1:4317", "http://127.0.0.1:4318"]) {
      await rejects(
        t,
        { endpoint, headers: { authorization: "secret\n" } },
        /^otlp: headers\.authorization: the value contains a line break/,
      );
      await rejects(t, { endpoint, headers: { "x-site": "Köln" } }, /^otlp: headers\.x-site: .* beyond ASCII$/);
      await rejects(t, { endpoint, headers: { "x-site-bin": "a" } }, /^otlp: headers\.x-site-bin: /);
    }
  });

  test("says what is wrong with the endpoint, and shows no password", async (t) => {
    await rejects(t, { endpoint: "http://[::1" }, /^otlp: endpoint: http:\/\/\[::1 is not a URL$/);
    await rejects(
      t,
      { endpoint: "https://user:secret@otel.example" },
      /^otlp: endpoint: user and password belong into headers/,
    );
  });

  test("takes the protocol from the port, and knows that gRPC has no zstd", async (t) => {
    const { error } = otlpOptions.safeParse({ endpoint: "http://127.0.0.1:4317", compression: "zstd" });
    assert.deepEqual(
      error?.issues.map(({ path, message }) => [path, message]),
      [[["compression"], "zstd needs protocol http/protobuf or http/json; gRPC has gzip or none"]],
    );
    await make(t, { endpoint: "http://127.0.0.1:4318", compression: "zstd" });
  });
});

describe("otlp target, odd receivers over HTTP", { timeout: 30_000 }, () => {
  async function odd(t: TestContext, answer: http.RequestListener): Promise<string> {
    const server = http.createServer((request, response) => {
      request.resume().on("end", () => answer(request, response));
    });
    return listen(t, server);
  }

  async function listen(t: TestContext, server: Server): Promise<string> {
    const sockets = new Set<Socket>();
    server.on("connection", (socket) => sockets.add(socket));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.after(() => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(resolve));
    });
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  const outcomeAt = async (t: TestContext, endpoint: string): Promise<Outcome> =>
    deliver(await make(t, { endpoint, protocol: "http/protobuf" }), numbers());

  test("appends the signal's path, unless the endpoint already has one", async (t) => {
    const paths: string[] = [];
    const endpoint = await odd(t, (request, response) => {
      paths.push(request.url ?? "");
      response.end();
    });
    for (const base of ["", "/", "/otlp", "/otlp/", "/otlp/v1/metrics", "/v1/metrics?key=a"]) {
      assert.equal(
        (await deliver(await make(t, { endpoint: endpoint + base, protocol: "http/protobuf" }), mixed())).kind,
        "delivered",
      );
    }
    assert.deepEqual(paths, [
      ...["/v1/metrics", "/v1/logs", "/v1/metrics", "/v1/logs"],
      ...["/otlp/v1/metrics", "/otlp/v1/logs", "/otlp/v1/metrics", "/otlp/v1/logs"],
      ...["/otlp/v1/metrics", "/otlp/v1/logs", "/v1/metrics?key=a", "/v1/logs?key=a"],
    ]);
  });

  test("a login page is not a receiver: nothing is taken for delivered", async (t) => {
    const endpoint = await odd(t, (_request, response) => {
      response.writeHead(200, { "content-type": "text/html" }).end("<html>Please log in</html>");
    });
    const outcome = await outcomeAt(t, endpoint);
    assert.equal(outcome.kind, "retry");
    assert.match(outcome.reason ?? "", /text\/html: this is not an OTLP receiver/);
  });

  test("an answer beyond 4 MiB is not retried", async (t) => {
    const endpoint = await odd(t, (_request, response) => {
      response.on("error", () => {});
      response.writeHead(200, { "content-type": "application/x-protobuf" }).end(Buffer.alloc(5 * 1024 * 1024));
    });
    const outcome = await outcomeAt(t, endpoint);
    assert.equal(outcome.kind, "refused");
    assert.match(outcome.reason ?? "", /answer larger than/);
  });

  test("Retry-After as a date", async (t) => {
    const endpoint = await odd(t, (_request, response) => {
      const date = new Date(Date.now() + 30_000).toUTCString();
      response.writeHead(503, { "retry-after": date, "content-type": "text/plain" }).end("later\n");
    });
    const outcome = await outcomeAt(t, endpoint);
    assert.equal(outcome.kind, "retry");
    assert.match(outcome.reason ?? "", /^metrics: HTTP 503: later$/);
    const wait_ms = outcome.kind === "retry" ? (outcome.wait_ms ?? 0) : 0;
    assert.ok(wait_ms > 25_000 && wait_ms <= 30_000, `${wait_ms}`);
  });

  test("a kept connection that was closed in the meantime costs no retry", async (t) => {
    let requests = 0;
    // Answers, and hangs up with RST when the next request begins: what a load balancer does after its idle time.
    const server = createServer((socket) => {
      let answered = false;
      socket.on("error", () => {});
      socket.on("data", () => {
        if (answered) return void socket.resetAndDestroy();
        answered = true;
        requests++;
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n");
      });
    });
    const target = await make(t, { endpoint: await listen(t, server), protocol: "http/protobuf" });
    for (let count = 1; count <= 3; count++) {
      assert.deepEqual(await deliver(target, numbers()), { kind: "delivered", rejected: 0 });
      assert.equal(requests, count);
    }
  });

  test("keeps one connection over many deliveries", async (t) => {
    const receiver = await receive(t);
    const target = await make(t, { endpoint: receiver.http_endpoint, protocol: "http/protobuf" });
    for (let count = 0; count < 20; count++) await deliver(target, mixed());
    assert.equal(receiver.totals().accepted, 40);
    assert.equal(receiver.connections(), 1);
  });

  test("speaks HTTP to what speaks something else, and says so", async (t) => {
    const server = createServer((socket) => socket.on("error", () => {}).end("220 mail.example ESMTP\r\n"));
    const outcome = await outcomeAt(t, await listen(t, server));
    assert.equal(outcome.kind, "retry");
    assert.match(outcome.reason ?? "", /HPE_|ECONNRESET|EPIPE/);
  });
});

describe("otlp target, limits", { timeout: 30_000 }, () => {
  test("a batch beyond 64 MiB is too large, and is not sent", async (t) => {
    const receiver = await receive(t, { mode: "count" });
    const target = await make(t, { endpoint: receiver.http_endpoint, protocol: "http/protobuf" });
    const wide = descriptor("d", [series("t", { attributes: { note: "x".repeat(100_000) } })]);
    const rows = Array.from({ length: 700 }, () => ({ series: 0, value: 1 }));
    const outcome = await deliver(target, batchOf([{ descriptor: wide, frame: frameOf(wide, 1, rows) }]));
    assert.equal(outcome.kind, "too_large");
    assert.equal(receiver.totals().requests, 0);
  });

  test("a receiver's own limit is too_large over gRPC and HTTP", async (t) => {
    const receiver = await receive(t, { bytes_max: 2000 });
    const rows = Array.from({ length: 200 }, () => ({ series: 0, value: 1 }));
    for (const protocol of PROTOCOLS) {
      const target = await make(t, { endpoint: endpointOf(receiver, protocol), protocol, compression: "none" });
      const batch = batchOf([{ descriptor: device, frame: frameOf(device, 1, rows) }]);
      assert.equal((await deliver(target, batch)).kind, "too_large", protocol);
      assert.equal((await deliver(target, numbers())).kind, "delivered", protocol);
    }
  });

  test("gRPC failures print nothing", async (t) => {
    const written: unknown[] = [];
    t.mock.method(console, "error", (...text: unknown[]) => void written.push(text));
    const target = await make(t, { endpoint: "http://127.0.0.1:1", protocol: "grpc" });
    assert.equal((await deliver(target, numbers())).kind, "retry");
    assert.deepEqual(written, []);
  });
});
