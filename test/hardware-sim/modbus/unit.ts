/** One simulated unit and its faults: from a request to what goes back over the wire, and when. */
import type { Device } from "#adapters/contract.ts";
import type { ModbusOptions } from "#adapters/sources/modbus/options.ts";
import type { ModbusPoint } from "#profiles/schema.ts";
import type { Fault } from "../contract.ts";
import { ILLEGAL_FUNCTION, ILLEGAL_VALUE, Image } from "./image.ts";

/** An answer: whose name it bears, what it says, how often and how late it is sent. */
export interface Answer {
  readonly unit: number;
  readonly pdu: Uint8Array;
  readonly copies: number;
  readonly delay_ms: number;
  /** To be sent as it is, without a frame around it. */
  readonly isGarbage: boolean;
}

/** No protocol has a frame like this, and none of the bytes begins one. */
const GARBAGE = Uint8Array.from([0xde, 0xad, 0xbe, 0xef, 0x5a, 0xa5, 0xc3, 0x3c, 0xff, 0x00, 0xff]);

export class SimulatedUnit {
  readonly id: number;
  readonly device: string;
  readonly faults = new Set<Fault>();
  requests = 0;
  readonly #image: Image;
  readonly #now_us: () => number;

  constructor(device: Device<ModbusPoint, ModbusOptions>, now_us: () => number) {
    this.id = device.options.unit;
    this.device = device.id;
    this.#image = new Image(device);
    this.#now_us = now_us;
  }

  /** The answer to a request PDU; null for silence. */
  answer(pdu: Uint8Array): Answer | null {
    const faults = [...this.faults];
    if (faults.some(({ kind }) => kind === "silence")) return null;
    this.requests += 1;
    const delays = faults.map((fault) => (fault.kind === "delay" ? fault.ms : 0));
    return {
      unit: faults.some(({ kind }) => kind === "wrong_unit") ? (this.id + 1) & 0xff : this.id,
      pdu: faults.some(({ kind }) => kind === "garbage") ? GARBAGE : this.#read(pdu),
      copies: faults.some(({ kind }) => kind === "duplicate") ? 2 : 1,
      delay_ms: Math.max(0, ...delays),
      isGarbage: faults.some(({ kind }) => kind === "garbage"),
    };
  }

  #read(pdu: Uint8Array): Uint8Array {
    const view = new DataView(pdu.buffer, pdu.byteOffset, pdu.byteLength);
    const code = pdu[0] ?? 0;
    const refuse = (exception: number): Uint8Array => Uint8Array.from([code | 0x80, exception]);
    if (code < 1 || code > 4) return refuse(ILLEGAL_FUNCTION);
    if (pdu.length !== 5) return refuse(ILLEGAL_VALUE);
    const [address, count] = [view.getUint16(1), view.getUint16(3)];
    for (const fault of this.faults) {
      if (fault.kind !== "exception") continue;
      if (address <= fault.to && address + count > fault.from) return refuse(fault.code);
    }
    const data = this.#image.read(code, address, count, this.#now_us());
    return typeof data === "number" ? refuse(data) : Uint8Array.from([code, data.length, ...data]);
  }
}
