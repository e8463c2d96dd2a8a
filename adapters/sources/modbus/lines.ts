/** Where RTU frames travel: a serial port, or a socket of a serial device server. */
import { SerialPort } from "serialport";
import { type Clock, LinesideError } from "../../contract.ts";
import { mendHangup } from "../../hangup.ts";
import { aborted } from "./aborted.ts";
import { closeSocket, openSocket, type SocketOptions } from "./socket.ts";

export interface Line {
  write(bytes: Uint8Array): void;
  close(): Promise<void>;
}

export interface LineEvents {
  /** Lent. */
  readonly bytes: (bytes: Uint8Array) => void;
  readonly lost: (error: LinesideError) => void;
}

export type OpenLine = (events: LineEvents, signal: AbortSignal) => Promise<Line>;

export interface SerialSettings {
  readonly port: string;
  readonly baud: number;
  readonly data_bits: 7 | 8;
  readonly parity: "none" | "even" | "odd";
  readonly stop_bits: 1 | 2;
}

/** A request has 8 bytes: so much unsent means that nobody takes them, and each one ends as a timeout. */
const UNSENT_BYTES_MAX = 256;

/** A serial port of this machine. */
export function serialLine(settings: SerialSettings): OpenLine {
  return (events, signal) =>
    new Promise((resolve, reject) => {
      if (signal.aborted) return reject(aborted(`opening ${settings.port}`, signal.reason));
      const port = new SerialPort({
        path: settings.port,
        baudRate: settings.baud,
        dataBits: settings.data_bits,
        parity: settings.parity,
        stopBits: settings.stop_bits,
        autoOpen: false,
      });
      mendHangup(port);
      let cause: Error | null = null;
      let isClosing = false;
      port.on("error", (error) => (cause = error));
      port.on("data", events.bytes);
      port.on("close", (error: Error | null) => {
        if (isClosing) return;
        isClosing = true;
        const how = (error ?? cause)?.message ?? "closed";
        events.lost(
          new LinesideError("link_lost", `${settings.port} is gone (${how}): unplugged?`, { cause: error ?? cause }),
        );
      });
      port.open((error) => {
        if (error) return reject(portError(settings.port, error));
        resolve({
          write: (bytes) => {
            // A hung adapter takes nothing any more: what it has not taken is not to be heaped up for days.
            if (port.writableLength <= UNSENT_BYTES_MAX) port.write(Buffer.from(bytes));
          },
          close: () =>
            new Promise((closed) => {
              isClosing = true;
              if (!port.isOpen) return closed();
              port.close(() => closed());
            }),
        });
      });
    });
}

function portError(port: string, cause: Error): LinesideError {
  const [code, advice] = /no such file|cannot find|ENOENT/i.test(cause.message)
    ? ["port_missing", "there is no such device file: is the adapter plugged in?"]
    : /permission|denied|EACCES/i.test(cause.message)
      ? ["port_denied", "not allowed: add the user to the group dialout"]
      : /busy|lock|temporarily unavailable/i.test(cause.message)
        ? ["port_busy", "another program has it open"]
        : ["connect_failed", cause.message];
  return new LinesideError(code ?? "connect_failed", `cannot open ${port}: ${advice}`, { cause });
}

/** A socket that carries RTU frames as they are. */
export function socketLine(options: SocketOptions, clock: Clock): OpenLine {
  return async (events, signal) => {
    const buffer = Buffer.allocUnsafeSlow(2048);
    let isClosing = false;
    const socket = await openSocket(
      options,
      clock,
      buffer,
      {
        bytes: (count) => events.bytes(buffer.subarray(0, count)),
        lost: (error) => {
          if (!isClosing) events.lost(error);
        },
      },
      signal,
    );
    return {
      write: (bytes) => void socket.write(bytes),
      close: () => {
        isClosing = true;
        return closeSocket(socket);
      },
    };
  };
}
