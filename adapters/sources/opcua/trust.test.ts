import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { crypto_utils } from "node-opcua-client";
import { opcuaDevice, Recorder, testClock } from "#test/hardware-sim/opcua/rig.ts";
import { createTrustStore } from "./trust.ts";

const FOR_APPLICATION = 2;
const DAY_MS = 86_400_000;
const peer = { device: "oven", endpoint: "opc.tcp://plc.example:4841/x" };
const folder = await mkdtemp(join(tmpdir(), "lineside-trust-"));
after(() => rm(folder, { recursive: true, force: true }));
const key = await crypto_utils.generatePrivateKey(2048);

async function certificate(fromDays: number, toDays: number): Promise<Buffer> {
  const { cert } = await crypto_utils.createSelfSignedCertificate({
    privateKey: key,
    purpose: FOR_APPLICATION,
    subject: "CN=plc",
    notBefore: new Date(Date.now() + fromDays * DAY_MS),
    notAfter: new Date(Date.now() + toDays * DAY_MS),
  });
  return new X509Certificate(cert).raw;
}

function store(data_dir: string | null): { trust: ReturnType<typeof createTrustStore>; recorder: Recorder } {
  const recorder = new Recorder(opcuaDevice([], { endpoint: peer.endpoint }), testClock(), data_dir);
  return { trust: createTrustStore(recorder.adapter), recorder };
}

test("the own certificate is made once, its key readable by the owner alone", async () => {
  const { trust } = store(folder);
  const [first, second] = await Promise.all([trust.own(null), trust.own(null)]);
  assert.equal(first, second);
  assert.deepEqual((await readdir(join(folder, "opcua"))).sort(), ["own.key", "own.pem", "servers"]);
  assert.equal((await stat(join(folder, "opcua", "own.key"))).mode & 0o777, 0o600);
  const again = await store(folder).trust.own(null);
  assert.deepEqual(again.getCertificate(), first.getCertificate());
  const made = new X509Certificate(first.getCertificate());
  assert.match(made.subjectAltName ?? "", /URI:urn:.*Lineside/);
  assert.ok(made.validToDate.getTime() > Date.now() + 3000 * DAY_MS);
});

test("a certificate of the site's own is used instead; an unreadable one is named", async () => {
  const { trust } = store(folder);
  const files = { certificate: join(folder, "opcua", "own.pem"), private_key: join(folder, "opcua", "own.key") };
  const own = await trust.own(files);
  assert.deepEqual(own.getCertificate(), new X509Certificate(await readFile(files.certificate)).raw);
  await assert.rejects(trust.own({ ...files, certificate: "/nowhere.pem" }), {
    code: "certificate_unreadable",
    message: /\/nowhere\.pem/,
  });
});

test("a server's certificate is pinned; another one is refused with the file to remove", async () => {
  const { trust, recorder } = store(folder);
  const [first, other] = [await certificate(-1, 10), await certificate(-1, 20)];
  assert.equal(await trust.check(first, peer), true);
  await trust.pin(first, peer);
  const file = join(folder, "opcua", "servers", "plc.example_4841.pem");
  assert.match(recorder.logs[0]?.message ?? "", /compare the thumbprint/);
  assert.deepEqual(recorder.logs[0]?.fields, {
    device: "oven",
    endpoint: peer.endpoint,
    file,
    thumbprint: new X509Certificate(first).fingerprint.replaceAll(":", "").toLowerCase(),
  });
  assert.equal(await trust.check(first, peer), false);
  await assert.rejects(trust.check(other, peer), (error: Error & { code?: string }) => {
    assert.equal(error.code, "certificate_changed");
    assert.ok(error.message.includes(file), error.message);
    return true;
  });
  await rm(file);
  assert.equal(await trust.check(other, peer), true);
});

test("devices of one server may pin its certificate at the same time", async () => {
  const { trust } = store(folder);
  const der = await certificate(-1, 10);
  const same = { device: "oven", endpoint: "opc.tcp://shared.example:4840" };
  await Promise.all(Array.from({ length: 8 }, () => trust.pin(der, same)));
  assert.equal(await trust.check(der, same), false);
  assert.deepEqual(
    (await readdir(join(folder, "opcua", "servers"))).filter((name) => name.includes(".new")),
    [],
  );
});

test("certificates out of date are refused, also pinned ones", async () => {
  const { trust } = store(folder);
  await assert.rejects(trust.check(await certificate(-20, -1), peer), { code: "certificate_expired" });
  await assert.rejects(trust.check(await certificate(1, 20), peer), { code: "certificate_not_yet_valid" });
});

test("a damaged pin is an error, not a first use", async () => {
  const { trust } = store(folder);
  await writeFile(join(folder, "opcua", "servers", "plc.example_4841.pem"), "rubbish");
  await assert.rejects(trust.check(await certificate(-1, 10), peer), {
    code: "certificate_unreadable",
    message: /plc\.example_4841\.pem/,
  });
});

test("without a data directory everything goes into a temporary one, removed at the end", async () => {
  const { trust } = store(null);
  const before = new Set(await readdir(tmpdir()));
  await trust.own(null);
  const made = (await readdir(tmpdir())).filter((name) => name.startsWith("lineside-opcua-") && !before.has(name));
  assert.ok(made.length >= 1);
  await trust.close();
  const left = new Set(await readdir(tmpdir()));
  assert.ok(made.some((name) => !left.has(name)));
});
