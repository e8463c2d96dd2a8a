/**
 * Certificates for tests of TLS: an authority and what it signs, made on the spot, so that no key lies
 * in the repository and none expires. X.509 v3 in DER (RFC 5280), with P-256 keys.
 */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";

export interface Identity {
  readonly certificate: string;
  readonly key: string;
}

export interface Authority extends Identity {
  /** A certificate for a server or client of this name, which is an IPv4 address or a DNS name. */
  issue(name: string, validity?: { readonly from: Date; readonly to: Date }): Identity;
}

const DAY_MS = 24 * 60 * 60 * 1000;

const tlv = (tag: number, ...parts: readonly Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts);
  const length =
    body.length < 128
      ? Buffer.of(body.length)
      : body.length < 256
        ? Buffer.of(0x81, body.length)
        : Buffer.of(0x82, body.length >> 8, body.length & 255);
  return Buffer.concat([Buffer.of(tag), length, body]);
};
const sequence = (...parts: readonly Uint8Array[]): Buffer => tlv(0x30, ...parts);
const octets = (bytes: Uint8Array): Buffer => tlv(0x04, bytes);
const bits = (bytes: Uint8Array): Buffer => tlv(0x03, Buffer.of(0), bytes);
const TRUE = Buffer.of(0x01, 0x01, 0xff);

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split(".").map(Number);
  const bytes = rest.flatMap((part) => {
    const digits = [part & 127];
    for (let left = part >> 7; left > 0; left >>= 7) digits.unshift((left & 127) | 128);
    return digits;
  });
  return tlv(0x06, Buffer.of(first * 40 + second, ...bytes));
}

const ECDSA_SHA256 = sequence(oid("1.2.840.10045.4.3.2"));
const nameOf = (common_name: string): Buffer =>
  sequence(tlv(0x31, sequence(oid("2.5.4.3"), tlv(0x0c, Buffer.from(common_name)))));
/** GeneralizedTime, YYYYMMDDHHMMSSZ. */
const timeOf = (date: Date): Buffer =>
  tlv(0x18, Buffer.from(`${date.toISOString().replace(/[-:T]/g, "").slice(0, 14)}Z`));
const extension = (id: string, critical: boolean, value: Uint8Array): Buffer =>
  sequence(oid(id), ...(critical ? [TRUE] : []), octets(value));

function alternativeName(name: string): Buffer {
  const parts = name.split(".").map(Number);
  const address = parts.length === 4 && parts.every((part) => part >= 0 && part < 256);
  return sequence(address ? tlv(0x87, Buffer.from(parts)) : tlv(0x82, Buffer.from(name)));
}

interface Request {
  readonly subject: string;
  readonly issuer: string;
  readonly issuer_key: KeyObject;
  readonly public_key: KeyObject;
  readonly from: Date;
  readonly to: Date;
  readonly extensions: readonly Buffer[];
}

function certify(request: Request): string {
  const { subject, issuer, issuer_key, public_key, from, to, extensions } = request;
  const serial = Buffer.concat([Buffer.of(1), randomBytes(8)]);
  const body = sequence(
    tlv(0xa0, tlv(0x02, Buffer.of(2))), // version 3
    tlv(0x02, serial),
    ECDSA_SHA256,
    nameOf(issuer),
    sequence(timeOf(from), timeOf(to)),
    nameOf(subject),
    public_key.export({ type: "spki", format: "der" }),
    tlv(0xa3, sequence(...extensions)),
  );
  const der = sequence(body, ECDSA_SHA256, bits(sign("sha256", body, issuer_key)));
  const lines = der.toString("base64").replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}

const keyPair = (): { publicKey: KeyObject; privateKey: KeyObject } =>
  generateKeyPairSync("ec", { namedCurve: "P-256" });
const pem = (key: KeyObject): string => key.export({ type: "pkcs8", format: "pem" }).toString();

export function createAuthority(subject = "Lineside test authority"): Authority {
  const own = keyPair();
  const around = { from: new Date(Date.now() - DAY_MS), to: new Date(Date.now() + DAY_MS) };
  const common = { issuer: subject, issuer_key: own.privateKey };
  const certificate = certify({
    ...common,
    ...around,
    subject,
    public_key: own.publicKey,
    extensions: [extension("2.5.29.19", true, sequence(TRUE))],
  });
  return {
    certificate,
    key: pem(own.privateKey),
    issue(name, validity = around) {
      const pair = keyPair();
      const extensions = [extension("2.5.29.17", false, alternativeName(name))];
      const issued = certify({ ...common, ...validity, subject: name, public_key: pair.publicKey, extensions });
      return { certificate: issued, key: pem(pair.privateKey) };
    },
  };
}
