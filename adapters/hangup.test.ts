import { openPty } from "#test/hardware-sim/serial/pty.ts";
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { SerialPort } from "serialport";
import { mendHangup } from "./hangup.ts";

test("a port says that it is gone, also when the hang-up is met by a read", async () => {
  // The read that meets it is the first one: nothing waits in poll yet.
  for (let i = 0; i < 10; i += 1) {
    const pty = openPty(() => {});
    const port = new SerialPort({ path: pty.path, baudRate: 9600, autoOpen: false });
    mendHangup(port);
    const opened = once(port, "open");
    port.open();
    await opened;
    const gone = once(port, "close");
    port.on("data", () => {});
    await pty.unplug();
    const [error] = (await gone) as [Error | null];
    assert.ok(error instanceof Error);
    await pty.close();
  }
});

test("bytes pass, and closing ends a read that waits", async () => {
  const pty = openPty((bytes) => pty.write(bytes));
  const port = new SerialPort({ path: pty.path, baudRate: 9600, autoOpen: false });
  mendHangup(port);
  const opened = once(port, "open");
  port.open();
  await opened;
  for (const text of ["one", "two"]) {
    port.write(text);
    const [bytes] = (await once(port, "data")) as [Buffer];
    assert.equal(bytes.toString(), text);
  }
  const closed = once(port, "close");
  port.close();
  const [error] = (await closed) as [Error | null];
  assert.equal(error, null);
  await pty.close();
});
