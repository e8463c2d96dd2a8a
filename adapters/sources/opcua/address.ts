/**
 * NodeIds as people write them (OPC UA Part 6, 5.3.1.10): `nsu=URI;s=...`, `ns=3;i=5`, `i=2258`.
 *
 *   text ──parseAddress──▶ Address ──resolve(NamespaceArray of this session)──▶ NodeId | null
 *
 * The index behind a URI belongs to one session: servers number their namespaces anew at each start.
 */
import { NodeId } from "node-opcua-client";
import { LinesideError } from "../../contract.ts";

const { NodeIdType } = NodeId;
const STANDARD = "http://opcfoundation.org/UA/";
const UINT32_MAX = 0xffff_ffff;
const GUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

export interface Address {
  /** URI, or the index where the address gives one (0, the standard's own, where it gives neither). */
  readonly namespace: string | number;
  readonly type: (typeof NodeIdType)[keyof typeof NodeIdType];
  readonly identifier: string | number | Buffer;
}

/** Everything after the identifier's `=` belongs to it: S7 identifiers hold quotes, dots and semicolons. */
export function parseAddress(text: string): Address {
  const match = /^(?:nsu=([^;]+);|ns=(\d+);)?([isgb])=(.+)$/s.exec(text);
  if (!match) throw invalid(text, "expected a NodeId such as nsu=http://acme.example/oven;s=Zone1.PV or i=2258");
  const [, uri, index, kind, id = ""] = match;
  const namespace = uri !== undefined ? unescapeUri(uri) : Number(index ?? 0);
  if (typeof namespace === "number" && namespace > 0xffff) throw invalid(text, "a namespace index has 16 bits");
  switch (kind) {
    case "i":
      if (!/^\d+$/.test(id) || Number(id) > UINT32_MAX) throw invalid(text, "i= takes an unsigned 32-bit number");
      return { namespace, type: NodeIdType.NUMERIC, identifier: Number(id) };
    case "g":
      if (!GUID.test(id)) throw invalid(text, "g= takes a GUID such as 72962b91-fa75-4ae6-8d28-b404dc7daf63");
      return { namespace, type: NodeIdType.GUID, identifier: id };
    case "b":
      if (!BASE64.test(id)) throw invalid(text, "b= takes base64");
      return { namespace, type: NodeIdType.BYTESTRING, identifier: Buffer.from(id, "base64") };
    default:
      return { namespace, type: NodeIdType.STRING, identifier: id };
  }
}

/** null where the server does not know the namespace. */
export function resolve(address: Address, namespaces: readonly string[]): NodeId | null {
  const index = indexOf(address.namespace, namespaces);
  return index < 0 ? null : new NodeId(address.type, address.identifier, index);
}

function indexOf(namespace: string | number, namespaces: readonly string[]): number {
  if (typeof namespace === "string") return namespace === STANDARD ? 0 : namespaces.indexOf(namespace);
  return namespace === 0 || namespace < namespaces.length ? namespace : -1;
}

/** `;` and `%` are the two characters that a URI inside a NodeId escapes (Part 6, 5.3.1.11). */
function unescapeUri(uri: string): string {
  return uri.replace(/%3b/gi, ";").replace(/%25/g, "%");
}

function invalid(text: string, expected: string): LinesideError {
  return new LinesideError("config", `address ${text}: ${expected}`);
}
