/** What a server says of itself at the start of a session, in one read: namespaces, build, limits. */
import {
  AttributeIds,
  type DataValue,
  NodeId,
  ReadRequest,
  type ReadResponse,
  TimestampsToReturn,
} from "node-opcua-client";
import type { Attributes } from "../../contract.ts";
import { type Link, ServiceRefused } from "./link.ts";

/** NodeIds of namespace 0 (OPC 10000-6, annex A, NodeIds.csv). */
const NAMESPACE_ARRAY = 2255;
const BUILD_INFO: readonly (readonly [node: number, attribute: string])[] = [
  [2261, "opcua.server.product_name"],
  [2262, "opcua.server.product_uri"],
  [2263, "opcua.server.manufacturer"],
  [2264, "opcua.server.software_version"],
  [2265, "opcua.server.build_number"],
];
const MAX_NODES_PER_READ = 11705;
const MAX_MONITORED_ITEMS_PER_CALL = 11714;
const SERVER_STATE = 2259;
const TEXT_MAX = 256;

export interface ServerFacts {
  /** Empty where the server does not tell: then only addresses with an index up to 0 resolve. */
  readonly namespaces: readonly string[];
  readonly attributes: Attributes;
  /** Most nodes in one call; 0 where the server states no limit. */
  readonly nodesPerRead_max: number;
  readonly itemsPerCall_max: number;
}

export async function readServerFacts(link: Link, signal: AbortSignal): Promise<ServerFacts> {
  const nodes = [
    NAMESPACE_ARRAY,
    MAX_NODES_PER_READ,
    MAX_MONITORED_ITEMS_PER_CALL,
    ...BUILD_INFO.map(([node]) => node),
  ];
  let values: readonly DataValue[];
  try {
    values = await readStandard(link, nodes, signal);
  } catch (error) {
    if (!(error instanceof ServiceRefused)) throw error;
    // A server with a tiny limit: only what addresses depend on.
    values = await readStandard(link, [NAMESPACE_ARRAY], signal);
  }
  const [namespaces, readLimit, itemLimit, ...build] = values;
  const attributes: Record<string, string> = {};
  BUILD_INFO.forEach(([, name], i) => {
    const text: unknown = goodValue(build[i]);
    if (typeof text === "string" && text !== "") attributes[name] = text.slice(0, TEXT_MAX);
  });
  const uris: unknown = goodValue(namespaces);
  return {
    namespaces: Array.isArray(uris) ? uris.map((uri) => (typeof uri === "string" ? uri : "")) : [],
    attributes,
    nodesPerRead_max: limitOf(readLimit),
    itemsPerCall_max: limitOf(itemLimit),
  };
}

/** A read that only shows that the session lives, and keeps it alive. */
export async function touchServer(link: Link): Promise<void> {
  await readStandard(link, [SERVER_STATE]);
}

async function readStandard(link: Link, nodes: readonly number[], signal?: AbortSignal): Promise<readonly DataValue[]> {
  const request = new ReadRequest({
    maxAge: 0,
    timestampsToReturn: TimestampsToReturn.Neither,
    nodesToRead: nodes.map((node) => ({ nodeId: standardNode(node), attributeId: AttributeIds.Value })),
  });
  const response = await link.request<ReadResponse>(request, signal);
  return response.results ?? [];
}

const standardNode = (node: number): NodeId => new NodeId(NodeId.NodeIdType.NUMERIC, node, 0);

function goodValue(value: DataValue | undefined): unknown {
  return value?.statusCode.isGoodish() ? value.value?.value : undefined;
}

function limitOf(value: DataValue | undefined): number {
  const limit: unknown = goodValue(value);
  return typeof limit === "number" && limit > 0 ? limit : 0;
}
