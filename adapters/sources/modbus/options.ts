/** What a site file says of a Modbus device: the way to it, and overrides of the profile's behaviour. */
import { duration, modbusBehaviour, serialLine } from "#profiles/schema.ts";
import { z } from "zod";

const unit = z.int().min(0).max(255).default(1).describe("Unit id (slave address).");

const tcp = modbusBehaviour.extend({
  host: z.string().min(1).describe("Host name or address of the device or gateway."),
  port: z.int().min(1).max(65535).default(502),
  framing: z.enum(["tcp", "rtu"]).default("tcp").describe("rtu: RTU frames over a TCP socket (serial device servers)."),
  unit,
  connect_timeout: duration.optional().describe("Wait for the connection. Default: 3s."),
});

const rtu = modbusBehaviour.extend({
  serial: serialLine
    .extend({ port: z.string().min(1).describe("Device file, such as /dev/ttyUSB0 or /dev/serial/by-id/...") })
    .describe("RS-485 or RS-232 line; devices on one line share it."),
  unit,
});

export { rtu as modbusRtuOptions, tcp as modbusTcpOptions };
/** Told apart by `host` (TCP) or `serial` (RTU). */
export const modbusOptions = z.union([tcp, rtu]);
export type ModbusOptions = z.output<typeof modbusOptions>;
