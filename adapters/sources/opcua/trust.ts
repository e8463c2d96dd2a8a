/**
 * Certificates: the agent's own, made at the first secured connection, and those of the servers,
 * pinned at the first use. Everything lies in one folder that this file alone writes:
 *
 *   <data dir>/opcua/own.pem, own.key            the agent's certificate and private key
 *   <data dir>/opcua/servers/<host>_<port>.pem   the one certificate that this server may show
 *
 * A guided first trust with a trust list will stand where `check` is called.
 */
import { randomUUID, X509Certificate } from "node:crypto";
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { crypto_utils, makeApplicationUrn, type OPCUAClientBaseOptions } from "node-opcua-client";
import { type AdapterContext, LinesideError } from "../../contract.ts";
import { fail, type Peer } from "./errors.ts";

export const APPLICATION_NAME = "Lineside";
const VALIDITY_DAYS = 3650;
const KEY_BITS = 2048;
/** X509Certificate's ForApplication; the library's enum is not part of its client package. */
const FOR_APPLICATION = 2;

export type OwnCertificate = NonNullable<OPCUAClientBaseOptions["certificateKeyPairProvider"]>;

/** Files of a device that brings its own certificate. */
export interface CertificateFiles {
  readonly certificate: string;
  readonly private_key: string;
}

export interface TrustStore {
  /** The agent's certificate and key: those of `files`, else its own, made where there is none yet. */
  own(files: CertificateFiles | null): Promise<OwnCertificate>;
  /** Refuses a server's certificate that is out of date or not the pinned one. True where it is new. */
  check(certificate: Buffer, peer: Peer): Promise<boolean>;
  /** Trusts it from now on; called once a session has proven that the server holds its key. */
  pin(certificate: Buffer, peer: Peer): Promise<void>;
  close(): Promise<void>;
}

export function createTrustStore(context: AdapterContext): TrustStore {
  const { clock, log } = context;
  let folder: Promise<string> | null = null;
  let made: Promise<OwnCertificate> | null = null;
  const inFolder = (): Promise<string> => (folder ??= makeFolder(context.data_dir));

  return {
    own(files) {
      if (files) return load(files);
      made ??= inFolder().then(loadOrMake);
      // A failure (a full disk) is not kept for ever.
      made.catch(() => (made = null));
      return made;
    },

    async check(der, peer) {
      const now_ms = clock.now_us() / 1000;
      const certificate = new X509Certificate(der);
      if (certificate.validToDate.getTime() <= now_ms) {
        throw fail(
          "certificate_expired",
          peer,
          `the server's certificate ended on ${certificate.validTo}: renew it on the server`,
        );
      }
      if (certificate.validFromDate.getTime() > now_ms) {
        throw fail(
          "certificate_not_yet_valid",
          peer,
          `the server's certificate begins on ${certificate.validFrom}: check both clocks`,
        );
      }
      const file = pinFile(await inFolder(), peer.endpoint);
      const pinned = await readIfThere(file);
      if (pinned === null) return true;
      if (Buffer.compare(pinnedDer(pinned, file), der) === 0) return false;
      throw fail(
        "certificate_changed",
        peer,
        `the server shows another certificate (thumbprint ${thumbprint(der)}) than the one trusted so far; if that is right, remove ${file}`,
      );
    },

    async pin(der, peer) {
      const file = pinFile(await inFolder(), peer.endpoint);
      await writeWhole(file, new X509Certificate(der).toString(), 0o644);
      log.warn(
        { device: peer.device, endpoint: peer.endpoint, thumbprint: thumbprint(der), file },
        "trusting this server's certificate from now on: compare the thumbprint with the server's",
      );
    },

    async close() {
      if (folder !== null && context.data_dir === null) await rm(await folder, { recursive: true, force: true });
      folder = null;
      made = null;
    },
  };
}

/** SHA-1 of the certificate: what OPC UA tools and servers show (Part 6, 6.2.2). */
export function thumbprint(der: Buffer): string {
  return crypto_utils.makeSHA1Thumbprint(der).toString("hex");
}

/** The first certificate of a chain: an endpoint may describe its issuers behind it. */
export function leafOf(chain: Buffer): Buffer | null {
  return crypto_utils.split_der(chain)[0] ?? null;
}

async function makeFolder(data_dir: string | null): Promise<string> {
  const folder = data_dir === null ? await mkdtemp(join(tmpdir(), "lineside-opcua-")) : join(data_dir, "opcua");
  await mkdir(join(folder, "servers"), { recursive: true, mode: 0o700 });
  return folder;
}

function pinFile(folder: string, endpoint: string): string {
  const { hostname: host, port } = new URL(endpoint.replace(/^opc\.tcp:/i, "http:"));
  return join(folder, "servers", `${host.replace(/[^A-Za-z0-9.-]/g, "-")}_${port || "4840"}.pem`);
}

async function loadOrMake(folder: string): Promise<OwnCertificate> {
  const files = { certificate: join(folder, "own.pem"), private_key: join(folder, "own.key") };
  if ((await readIfThere(files.certificate)) === null) {
    const key = await crypto_utils.generatePrivateKey(KEY_BITS);
    const { privPem } = await crypto_utils.privateKeyToPEM(key);
    const { cert } = await crypto_utils.createSelfSignedCertificate({
      privateKey: key,
      purpose: FOR_APPLICATION,
      applicationUri: makeApplicationUrn(hostname(), APPLICATION_NAME),
      subject: `CN=${APPLICATION_NAME}`,
      dns: [hostname()],
      validity: VALIDITY_DAYS,
    });
    await writeWhole(files.private_key, privPem, 0o600);
    // Last: where the certificate is, the key is.
    await writeWhole(files.certificate, cert, 0o644);
  }
  return load(files);
}

async function load(files: CertificateFiles): Promise<OwnCertificate> {
  try {
    const certificate = new X509Certificate(await readFile(files.certificate)).raw;
    const key = crypto_utils.makePrivateKeyFromPem(await readFile(files.private_key, "utf8"));
    return { getCertificate: () => certificate, getCertificateChain: () => [certificate], getPrivateKey: () => key };
  } catch (cause) {
    const message = `cannot read certificate ${files.certificate} with key ${files.private_key}; both are PEM files`;
    throw new LinesideError("certificate_unreadable", message, { cause });
  }
}

function pinnedDer(pem: Buffer, file: string): Buffer {
  try {
    return new X509Certificate(pem).raw;
  } catch (cause) {
    throw new LinesideError(
      "certificate_unreadable",
      `cannot read the trusted certificate ${file}: restore or remove it`,
      { cause },
    );
  }
}

async function readIfThere(file: string): Promise<Buffer | null> {
  try {
    return await readFile(file);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
}

/** A crash leaves the old file or the new one, never half of it. */
async function writeWhole(file: string, text: string, mode: number): Promise<void> {
  // A name of its own: devices of one server write the same file at the same time.
  const whole = `${file}.${randomUUID()}.new`;
  try {
    await writeFile(whole, text, { mode, flush: true });
    await rename(whole, file);
  } catch (error) {
    await rm(whole, { force: true });
    throw error;
  }
}
