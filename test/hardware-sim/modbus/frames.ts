/** The two ways to frame a PDU, as a server sees them. */
import { crc16, crcFits } from "#adapters/sources/modbus/crc.ts";

export interface RequestFrame {
  readonly unit: number;
  readonly pdu: Uint8Array;
  /** Frames an answer to this request. */
  readonly frame: (unit: number, pdu: Uint8Array) => Buffer;
}

/** Takes bytes as they come and gives whole requests. */
export type Splitter = (bytes: Uint8Array) => RequestFrame[];

const HEADER_BYTES = 7;

/** Modbus TCP. Throws for what is no Modbus TCP. */
export function tcpSplitter(): Splitter {
  let rest: Buffer = Buffer.alloc(0);
  return (bytes) => {
    const all = rest.length === 0 ? Buffer.from(bytes) : Buffer.concat([rest, bytes]);
    const requests: RequestFrame[] = [];
    let at = 0;
    while (all.length - at >= HEADER_BYTES) {
      const length = all.readUInt16BE(at + 4);
      if (all.readUInt16BE(at + 2) !== 0 || length < 2 || length > 254) throw new Error("no Modbus TCP");
      const end = at + 6 + length;
      if (end > all.length) break;
      const id = all.readUInt16BE(at);
      requests.push({
        unit: all[at + 6] ?? 0,
        pdu: all.subarray(at + HEADER_BYTES, end),
        frame: (unit, pdu) => tcpFrame(id, unit, pdu),
      });
      at = end;
    }
    rest = all.subarray(at);
    return requests;
  };
}

function tcpFrame(id: number, unit: number, pdu: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + pdu.length);
  frame.writeUInt16BE(id, 0);
  frame.writeUInt16BE(0, 2);
  frame.writeUInt16BE(pdu.length + 1, 4);
  frame[6] = unit;
  frame.set(pdu, HEADER_BYTES);
  return frame;
}

/** Reads are eight bytes. What has no valid checksum is skipped byte by byte. */
const READ_BYTES = 8;

export function rtuSplitter(): Splitter {
  let rest: Buffer = Buffer.alloc(0);
  return (bytes) => {
    rest = Buffer.concat([rest, bytes]);
    const requests: RequestFrame[] = [];
    let at = 0;
    while (rest.length - at >= READ_BYTES) {
      if (!crcFits(rest, at, at + READ_BYTES)) at += 1;
      else {
        requests.push({
          unit: rest[at] ?? 0,
          pdu: Buffer.from(rest.subarray(at + 1, at + READ_BYTES - 2)),
          frame: rtuFrame,
        });
        at += READ_BYTES;
      }
    }
    rest = rest.subarray(at);
    return requests;
  };
}

export function rtuFrame(unit: number, pdu: Uint8Array): Buffer {
  const frame = Buffer.from([unit, ...pdu, 0, 0]);
  frame.writeUInt16LE(crc16(frame, 0, frame.length - 2), frame.length - 2);
  return frame;
}
