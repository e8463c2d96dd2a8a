import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { SerialPort } from "serialport";
import { openPty } from "./pty.ts";

const BYTES = Buffer.from([0x00, 0x03, 0x04, 0x0a, 0x0d, 0x11, 0x13, 0x1a, 0x7f, 0xff]);

async function openPort(path: string): Promise<SerialPort> {
  const port = new SerialPort({ path, baudRate: 9600 });
  await once(port, "open");
  return port;
}

test("every byte passes as it is, both ways; nothing is echoed", async () => {
  const got: Buffer[] = [];
  const pty = openPty((bytes) => {
    got.push(bytes);
    pty.write(BYTES);
  });
  const port = await openPort(pty.path);
  assert.equal(pty.clients(), 1);
  port.write(BYTES);
  const [answer] = (await once(port, "data")) as [Buffer];
  assert.deepEqual(Buffer.concat(got), BYTES);
  assert.deepEqual(answer, BYTES);
  port.close();
  await once(port, "close");
  assert.equal(pty.clients(), 0);
  await pty.close();
});

test("unplugging hangs up on the port; plugging in brings the same path back", async () => {
  const pty = openPty((bytes) => pty.write(bytes));
  const { path } = pty;
  const first = await openPort(path);
  // A hang-up is noticed by reading, once the read waits in poll: the binding takes the end of file
  // that a read itself meets for "nothing yet" and reads again, without end.
  first.resume();
  await new Promise((resolve) => setTimeout(resolve, 30));
  const hangup = once(first, "close");
  await pty.unplug();
  await hangup;
  assert.equal(existsSync(path), false);
  assert.equal(pty.plugged, false);

  pty.plug();
  const second = await openPort(path);
  second.write(Buffer.from("S\r\n"));
  const [echo] = (await once(second, "data")) as [Buffer];
  assert.equal(echo.toString(), "S\r\n");
  second.close();
  await once(second, "close");
  await pty.close();
  await pty.close();
  assert.equal(existsSync(path), false);
});
