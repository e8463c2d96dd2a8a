/** CRC-16/MODBUS (MODBUS over Serial Line V1.02, 6.2.2), by table. It is sent low byte first. */
const TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xa001 : crc >>> 1;
  return crc;
});

/** The CRC of `bytes[start]` up to, but not with, `bytes[end]`. */
export function crc16(bytes: Uint8Array, start: number, end: number): number {
  let crc = 0xffff;
  for (let i = start; i < end; i += 1) crc = (crc >>> 8) ^ (TABLE[(crc ^ (bytes[i] ?? 0)) & 0xff] ?? 0);
  return crc;
}

/** Whether the two bytes before `end` are the CRC of those from `start`. */
export const crcFits = (bytes: Uint8Array, start: number, end: number): boolean =>
  crc16(bytes, start, end - 2) === ((bytes[end - 2] ?? 0) | ((bytes[end - 1] ?? 0) << 8));
