/**
 * Simulated devices: real sockets and ptys that answer as the device of a profile would, with moving
 * values, and with faults that can be switched on. The demo, `lineside sim` and the tests share them.
 */
/** A fault that can be switched on and off while the device is served. */
export type Fault =
  /** Modbus: answers a read that touches these addresses with this exception code. */
  | { readonly kind: "exception"; readonly code: number; readonly from: number; readonly to: number }
  /** Takes requests and never answers. */
  | { readonly kind: "silence" }
  /** Answers so much later. */
  | { readonly kind: "delay"; readonly ms: number }
  /** Sends each answer twice. */
  | { readonly kind: "duplicate" }
  /** Answers in the name of another unit. */
  | { readonly kind: "wrong_unit" }
  /** Answers with bytes that mean nothing. */
  | { readonly kind: "garbage" }
  /** Accepts so many connections and closes any further one. */
  | { readonly kind: "connection_limit"; readonly connections: number }
  /** Refuses to let anybody in (listener closed, password wrong, session limit). */
  | { readonly kind: "refuse" }
  /** OPC UA: these points (all, where empty) have this status code name. */
  | { readonly kind: "status"; readonly code: string; readonly points: readonly string[] };

/** One simulated device, being served. */
export interface Simulated {
  readonly device: string;
  /** For people: `tcp 127.0.0.1:15020 unit 1`, `/dev/pts/4`, `opc.tcp://127.0.0.1:48400`. */
  readonly where: string;
  /** What to put over the device's section of the site file (`modbus`, `opcua`, `serial`) to reach it. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Switches a fault on; the returned function switches it off. */
  inject(fault: Fault): () => void;
  /** Drops every connection (unplugs the line) and refuses new ones until `restore`. */
  cut(): Promise<void>;
  /** Serves again at the same place. */
  restore(): Promise<void>;
  /** Requests answered, and connections open, since the start: tests count round trips and leaks. */
  stats(): { readonly requests: number; readonly connections: number };
  stop(): Promise<void>;
}

/** What a simulator needs to know besides the device. */
export interface SimulateOptions {
  /** Where to listen; 0 takes a free port. */
  readonly port: number;
  /** Wall time in microseconds: values move with it. */
  readonly now_us: () => number;
}
