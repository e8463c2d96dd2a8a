/** What a site file says of a device on a serial line: the way to it, and overrides of the profile. */
import { duration, serialBehaviour } from "#profiles/schema.ts";
import { z } from "zod";

const port = serialBehaviour.extend({
  port: z.string().min(1).describe("Device file, such as /dev/ttyUSB0 or /dev/serial/by-id/..."),
});

const tcp = serialBehaviour.extend({
  host: z.string().min(1).describe("Serial device server that gives the line as a raw TCP socket."),
  tcp_port: z.int().min(1).max(65535).describe("Its TCP port."),
  connect_timeout: duration.optional().describe("Wait for the connection. Default: 3s."),
});

export { port as serialPortOptions, tcp as serialTcpOptions };
/** Told apart by `port` (a line of this machine) or `host` (a serial device server). */
export const serialOptions = z.union([port, tcp]);
export type SerialOptions = z.output<typeof serialOptions>;
