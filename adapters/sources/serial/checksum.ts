/** Checksums of line protocols: pure, over a range of bytes. Check values are those of "123456789". */
import type { SerialBehaviour } from "#profiles/schema.ts";

export type Checksum = NonNullable<NonNullable<SerialBehaviour["framing"]>["checksum"]>;

interface Kind {
  /** Bytes of the sum itself. */
  readonly bytes: 1 | 2;
  /** Order of the bytes of a binary sum. */
  readonly low_first: boolean;
  readonly sum: (bytes: Uint8Array, from: number, to: number) => number;
}

function fold(start: number, step: (sum: number, byte: number) => number): Kind["sum"] {
  return (bytes, from, to) => {
    let sum = start;
    for (let i = from; i < to; i += 1) sum = step(sum, bytes[i] ?? 0);
    return sum;
  };
}

const sum8 = fold(0, (sum, byte) => (sum + byte) & 0xff);

const KINDS: Readonly<Record<Checksum["kind"], Kind>> = {
  /** Longitudinal redundancy: 0x31. */
  xor: { bytes: 1, low_first: false, sum: fold(0, (sum, byte) => sum ^ byte) },
  /** Modulo 256: 0xdd. */
  sum8: { bytes: 1, low_first: false, sum: sum8 },
  /** What makes the sum of all bytes 0 modulo 256: 0x23. */
  sum8_complement: { bytes: 1, low_first: false, sum: (bytes, from, to) => -sum8(bytes, from, to) & 0xff },
  /** Polynomial 0x8005 reflected, start 0xffff (MODBUS over serial line V1.02, 6.2.2): 0x4b37. */
  crc16_modbus: {
    bytes: 2,
    low_first: true,
    sum: fold(0xffff, (sum, byte) => {
      let crc = sum ^ byte;
      for (let bit = 0; bit < 8; bit += 1) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0xa001 : crc >>> 1;
      return crc;
    }),
  },
  /** Polynomial 0x1021, start 0xffff, not reflected ("CCITT-FALSE"): 0x29b1. */
  crc16_ccitt: {
    bytes: 2,
    low_first: false,
    sum: fold(0xffff, (sum, byte) => {
      let crc = sum ^ (byte << 8);
      for (let bit = 0; bit < 8; bit += 1) crc = ((crc & 0x8000) !== 0 ? (crc << 1) ^ 0x1021 : crc << 1) & 0xffff;
      return crc;
    }),
  },
};

/** How many bytes it takes on the line. */
export function checksumLength({ kind, coding }: Checksum): number {
  return coding === "hex" ? KINDS[kind].bytes * 2 : KINDS[kind].bytes;
}

/** The checksum of `bytes[from..to)`, as it stands on the line. */
export function checksumOf({ kind, coding }: Checksum, bytes: Uint8Array, from: number, to: number): Uint8Array {
  const { bytes: width, low_first, sum } = KINDS[kind];
  const value = sum(bytes, from, to);
  if (coding === "hex")
    return Buffer.from(
      value
        .toString(16)
        .toUpperCase()
        .padStart(width * 2, "0"),
      "latin1",
    );
  if (width === 1) return Uint8Array.of(value);
  return low_first ? Uint8Array.of(value & 0xff, value >>> 8) : Uint8Array.of(value >>> 8, value & 0xff);
}

/** Whether the checksum at `at` is that of `bytes[from..to)`; hexadecimal digits in either case. */
export function checksumHolds(checksum: Checksum, bytes: Uint8Array, from: number, to: number, at: number): boolean {
  const expected = checksumOf(checksum, bytes, from, to);
  return expected.every((byte, i) => {
    const found = bytes[at + i] ?? -1;
    // a to f, as A to F.
    return found === byte || (checksum.coding === "hex" && byte >= 0x41 && found === byte + 0x20);
  });
}
