/**
 * A simulated OPC UA server with the address space of a device: a variable for each of its points,
 * values that move with the time, and faults.
 *
 *   points ─▶ namespaces by URI, variables ─▶ node-opcua server ◀─▶ Line (faults, port) ◀─▶ clients
 *
 * Endpoints: None and Basic256Sha256 SignAndEncrypt; anonymous, or USER with PASSWORD.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type DataType,
  DataValue,
  MessageSecurityMode,
  nodesets,
  OPCUACertificateManager,
  OPCUAServer,
  SecurityPolicy,
  setErrorLogger,
  setWarningLogger,
  StatusCode,
  StatusCodes,
  Variant,
  VariantArrayType,
} from "node-opcua";
import type { Device, Series } from "#adapters/contract.ts";
import type { OpcuaPoint } from "#profiles/schema.ts";
import type { Fault, Simulated, SimulateOptions } from "../contract.ts";
import { openLine } from "./line.ts";
import { valueOf } from "../values.ts";

export const USER = "operator";
export const PASSWORD = "lineside";
const SAMPLING_MIN_MS = 10;
const ROWS_PER_CALL_MAX = 1_000;
const SESSIONS_MAX = 100;

export interface OpcuaSimulateOptions extends SimulateOptions {
  /** Namespaces registered before those of the points, so that their indexes shift. */
  readonly extraNamespaces?: readonly string[];
  /** False: only USER with PASSWORD may come in. Default: true. */
  readonly allowAnonymous?: boolean;
  /** OPC UA data type of each point by name, where it is not the one that the point suggests. */
  readonly types?: Readonly<Record<string, keyof typeof DataType>>;
  /** What a point's variable holds, by name, instead of a moving value. */
  readonly values?: Readonly<Record<string, () => DataValue>>;
  /** Largest number of nodes or items in one call. Default: 1000. */
  readonly operations_max?: number;
}

export interface SimulatedOpcua extends Simulated {
  /** Stops the server and starts it anew at the same port, with other namespaces before the points'. */
  restart(extraNamespaces: readonly string[]): Promise<void>;
  /** Takes the variable of a point away, or brings it back. */
  setMissing(point: string, missing: boolean): void;
  /** Sessions that are open at the server. */
  sessions(): number;
  /** Subscriptions that are open at the server. */
  subscriptions(): number;
}

export async function simulate(device: Device<never, never>, options: OpcuaSimulateOptions): Promise<SimulatedOpcua> {
  // The contract serves all protocols; whoever calls this one gives it an OPC UA device.
  const { id, points, descriptor, options: reach } = device as unknown as Device<OpcuaPoint, Login>;
  quieten();
  const folder = await mkdtemp(join(tmpdir(), "lineside-sim-opcua-"));
  const statuses = new Map<string, StatusCode>();
  const missing = new Set<string>();
  const line = await openLine(options.port);
  const advertised = `opc.tcp://127.0.0.1:${line.port}`;
  const start = (extraNamespaces: readonly string[]): Promise<Inner> =>
    startServer({
      folder,
      device_id: id,
      points,
      series: descriptor.series,
      statuses,
      options,
      extraNamespaces,
      advertised,
      login: reach,
    });
  let inner = await start(options.extraNamespaces ?? []);
  line.target = inner.port;

  return {
    device: id,
    where: advertised,
    options: { endpoint: advertised },
    inject(fault) {
      return injectFault(fault, line, statuses, points);
    },
    cut: () => line.cut(),
    restore: () => line.restore(),
    stats: () => line.stats(),
    sessions: () => inner.server.engine.currentSessionCount,
    subscriptions: () => inner.server.engine.currentSubscriptionCount,
    setMissing(point, gone) {
      if (gone) missing.add(point);
      else missing.delete(point);
      inner.setMissing(missing);
    },
    async restart(extraNamespaces) {
      await line.cut();
      await inner.server.shutdown(0);
      inner = await start(extraNamespaces);
      inner.setMissing(missing);
      line.target = inner.port;
      await line.restore();
    },
    async stop() {
      await line.cut();
      await inner.server.shutdown(0);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Whom the site file means to log in as: the simulated device lets that one in. */
interface Login {
  readonly user?: string;
  readonly password?: string;
}

interface Inner {
  readonly server: OPCUAServer;
  readonly port: number;
  setMissing(names: ReadonlySet<string>): void;
}

interface Serving {
  readonly folder: string;
  readonly device_id: string;
  readonly points: readonly OpcuaPoint[];
  readonly series: readonly Series[];
  readonly statuses: ReadonlyMap<string, StatusCode>;
  readonly options: OpcuaSimulateOptions;
  readonly extraNamespaces: readonly string[];
  /** The URL that clients are told: that of the line, not the server's own. */
  readonly advertised: string;
  readonly login: Login;
}

async function startServer(serving: Serving): Promise<Inner> {
  const { folder, device_id, points, series, statuses, options, extraNamespaces, advertised, login } = serving;
  const certificates = (name: string): OPCUACertificateManager =>
    new OPCUACertificateManager({
      rootFolder: join(folder, name),
      automaticallyAcceptUnknownCertificate: true,
      disableFileWatchers: true,
    });
  const most = options.operations_max ?? ROWS_PER_CALL_MAX;
  const server = new OPCUAServer({
    port: 0,
    host: "127.0.0.1",
    advertisedEndpoints: advertised,
    nodeset_filename: [nodesets.standard],
    serverCertificateManager: certificates("server"),
    userCertificateManager: certificates("users"),
    securityPolicies: [SecurityPolicy.None, SecurityPolicy.Basic256Sha256],
    securityModes: [MessageSecurityMode.None, MessageSecurityMode.SignAndEncrypt],
    allowAnonymous: options.allowAnonymous ?? true,
    userManager: {
      isValidUser: (user: string, password: string) =>
        (user === USER && password === PASSWORD) || (user === login.user && password === login.password),
    },
    maxConnectionsPerEndpoint: SESSIONS_MAX,
    serverInfo: { applicationUri: "urn:lineside:simulator", productUri: "urn:lineside:simulator" },
    buildInfo: {
      productName: "Lineside simulator",
      productUri: "urn:lineside:simulator",
      manufacturerName: "Lineside",
      softwareVersion: "1.0.0",
      buildNumber: "1",
    },
    serverCapabilities: {
      maxSessions: SESSIONS_MAX,
      operationLimits: { maxNodesPerRead: most, maxMonitoredItemsPerCall: most },
    },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  if (!space) throw new Error("the OPC UA server has no address space");
  for (const uri of extraNamespaces) space.registerNamespace(uri);

  const gone = new Map<string, () => void>();
  let absent: ReadonlySet<string> = new Set();
  const add = (point: OpcuaPoint, meaning: Series): void => {
    const { uri, identifier } = split(point.address);
    // Namespace 0 is the standard's: such points read the server's own variables.
    if (uri === null) return;
    const namespace = space.registerNamespace(uri);
    const dataType = options.types?.[point.name] ?? typeOf(point);
    const variable = namespace.addVariable({
      browseName: point.name,
      nodeId: identifier,
      dataType,
      minimumSamplingInterval: SAMPLING_MIN_MS,
      organizedBy: space.rootFolder.objects,
      value: {
        timestamped_get: () => {
          const status = statuses.get(point.name) ?? StatusCodes.Good;
          const own = options.values?.[point.name];
          if (own && status === StatusCodes.Good) return own();
          const now_us = options.now_us();
          const raw = valueOf(point, meaning, device_id, now_us);
          return new DataValue({
            statusCode: status,
            sourceTimestamp: new Date(now_us / 1000),
            sourcePicoseconds: Math.floor(now_us % 1000) * 1e6,
            serverTimestamp: new Date(now_us / 1000),
            ...(status.value < 0x8000_0000 && {
              value: new Variant({ dataType, arrayType: VariantArrayType.Scalar, value: onWire(raw, point, dataType) }),
            }),
          });
        },
      },
    });
    gone.set(point.name, () => space.deleteNode(variable));
  };
  points.forEach((point, i) => {
    const meaning = series[i];
    if (meaning) add(point, meaning);
  });
  await server.start();
  return {
    server,
    port: server.endpoints[0]?.port ?? 0,
    setMissing(names) {
      points.forEach((point, i) => {
        const meaning = series[i];
        if (names.has(point.name) && !absent.has(point.name)) gone.get(point.name)?.();
        else if (!names.has(point.name) && absent.has(point.name) && meaning) add(point, meaning);
      });
      absent = new Set(names);
    },
  };
}

function injectFault(
  fault: Fault,
  line: Awaited<ReturnType<typeof openLine>>,
  statuses: Map<string, StatusCode>,
  points: readonly OpcuaPoint[],
): () => void {
  switch (fault.kind) {
    case "status": {
      const code: unknown = Reflect.get(StatusCodes, fault.code);
      if (!(code instanceof StatusCode)) throw new RangeError(`no OPC UA status code is named ${fault.code}`);
      const names = fault.points.length > 0 ? fault.points : points.map((point) => point.name);
      for (const name of names) statuses.set(name, code);
      return () => names.forEach((name) => statuses.delete(name));
    }
    case "silence":
      line.silent = true;
      return () => (line.silent = false);
    case "delay":
      line.delay_ms = fault.ms;
      return () => (line.delay_ms = 0);
    case "duplicate":
      line.double = true;
      return () => (line.double = false);
    case "garbage":
      line.garbled = true;
      return () => (line.garbled = false);
    case "connection_limit":
      line.connections_max = fault.connections;
      return () => (line.connections_max = Infinity);
    case "refuse":
      line.refusing = true;
      return () => (line.refusing = false);
    default:
      throw new RangeError(`an OPC UA server has no fault ${fault.kind}`);
  }
}

/** URI and identifier of an address; null where it stands in namespace 0. */
function split(address: string): { uri: string | null; identifier: string } {
  const match = /^nsu=([^;]+);(.+)$/s.exec(address);
  if (match) return { uri: match[1] ?? null, identifier: match[2] ?? "" };
  if (/^(?:ns=0;)?[isgb]=/.test(address)) return { uri: null, identifier: address };
  throw new RangeError(`address ${address}: a simulated server needs the namespace by its URI`);
}

function typeOf(point: OpcuaPoint): keyof typeof DataType {
  if (point.kind === "text" || point.type === "string") return "String";
  if (point.type === "bool") return "Boolean";
  if (point.type === "i64") return "Int64";
  return point.kind === "state" && point.type === undefined ? "Int32" : "Double";
}

/** A value of the series as the variable's type holds it: before scaling, 64 bits as [high, low]. */
function onWire(value: number | string, point: OpcuaPoint, dataType: keyof typeof DataType): unknown {
  if (typeof value === "string") return value;
  const raw = (value - point.offset) / point.scale;
  switch (dataType) {
    case "Boolean":
      return Math.round(raw) !== 0;
    case "Int64":
    case "UInt64": {
      const whole = BigInt(Math.round(raw));
      return [Number(BigInt.asUintN(32, whole >> 32n)), Number(BigInt.asUintN(32, whole))];
    }
    case "Float":
    case "Double":
      return raw;
    case "String":
      return String(value);
    default:
      return Math.round(raw);
  }
}

/** The server's warnings would drown what a demo or a test says. */
function quieten(): void {
  setWarningLogger(() => undefined);
  setErrorLogger(() => undefined);
}
