/** pino, as the agent uses it: JSON lines for machines, a readable form for people, secrets replaced. */
import pino, { type DestinationStream, type Logger } from "pino";
import pretty from "pino-pretty";

export interface LogOptions {
  readonly level: "debug" | "info" | "warn" | "error" | "silent";
  readonly format: "json" | "pretty";
  /** Replaces known secrets in a finished line. */
  readonly redact?: (line: string) => string;
  /** Where lines go; standard error by default, for standard output belongs to what a command prints. */
  readonly destination?: DestinationStream;
}

export function createLog(options: LogOptions): Logger {
  const destination = options.destination ?? pino.destination({ dest: 2, sync: true });
  // No pino.transport: it needs worker threads and does not survive bundling.
  const sink: DestinationStream =
    options.format === "pretty"
      ? pretty({
          destination: destination as never,
          colorize: false,
          ignore: "pid,hostname",
          translateTime: "SYS:HH:MM:ss.l",
          singleLine: true,
        })
      : destination;
  const redact = options.redact;
  const stream: DestinationStream = redact === undefined ? sink : { write: (line) => sink.write(redact(line)) };
  const formatters = { level: (label: string) => ({ level: label }) };
  const timestamp = pino.stdTimeFunctions.isoTime;
  return pino({ level: options.level, base: null, formatters, timestamp, serializers: { err: errorOf } }, stream);
}

/** What happens to devices, disks and networks has a code, and needs no stack; a defect of ours has one. */
function errorOf(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  if (!("code" in error)) return pino.stdSerializers.err(error);
  const { code, message, cause } = error;
  return { code, message, ...(cause instanceof Error && { cause: cause.message }) };
}
