/** `lineside buffer`: looks into a journal from outside, whether its agent runs or not. */
import type { Descriptor } from "#adapters/contract.ts";
import { jsonLines } from "#adapters/lines.ts";
import { type CursorStats, JournalError } from "#buffer/contract.ts";
import { exportRecords, inspectStatus, verify, type VerifyFault } from "#buffer/inspect.ts";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { decodePayload } from "../batch/reader.ts";
import { EXIT } from "./exit.ts";
import { bytesText, type Column, counted, table } from "./table.ts";

type Verb = "status" | "verify" | "export";

export async function bufferCommand(verb: Verb, dir: string, options: { json?: boolean }): Promise<number> {
  // The agent's data directory is what people know; the journal's own folder is taken as well.
  const journal = existsSync(join(dir, "journal")) ? join(dir, "journal") : dir;
  try {
    if (verb === "status") return await status(journal, options.json === true);
    if (verb === "verify") return await verifyAll(journal, options.json === true);
    return await exportAll(journal);
  } catch (error) {
    if (!(error instanceof JournalError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return EXIT.input;
  }
}

const CURSORS: readonly Column<CursorStats>[] = [
  { title: "target", text: ({ name }) => name },
  { title: "read", align: "right", text: ({ committed }) => String(committed) },
  { title: "delivered", align: "right", text: ({ delivered }) => String(delivered) },
  { title: "queued", align: "right", text: ({ queued }) => String(queued) },
  { title: "dropped", align: "right", text: ({ dropped }) => String(dropped) },
  { title: "sum", text: ({ imbalance }) => (imbalance === 0 ? "exact" : `off by ${imbalance}`) },
];

async function status(dir: string, json: boolean): Promise<number> {
  const found = await inspectStatus(dir);
  if (json) {
    process.stdout.write(`${JSON.stringify(found)}\n`);
    return EXIT.done;
  }
  const { bytes_on_disk, segments, quarantined, head_weight, cursors } = found;
  process.stdout.write(
    `${dir}: ${bytesText(bytes_on_disk)} in ${counted(segments.length, "segment")}, ${counted(head_weight, "reading")} ever written\n`,
  );
  for (const name of quarantined) process.stdout.write(`put aside, unreadable: ${name}\n`);
  process.stdout.write(cursors.length === 0 ? "no target has read from it\n" : `\n${table(CURSORS, cursors)}`);
  return EXIT.done;
}

const FAULTS: readonly Column<VerifyFault>[] = [
  { title: "segment", text: ({ segment }) => segment ?? "-" },
  { title: "record", align: "right", text: ({ seq }) => String(seq) },
  { title: "fault", text: ({ code }) => code },
  { title: "", text: ({ message }) => message },
];

async function verifyAll(dir: string, json: boolean): Promise<number> {
  const result = await verify(dir);
  if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
  else {
    const { records, weight, faults } = result;
    process.stdout.write(
      `${counted(records, "record")}, ${counted(weight, "reading")}: ${faults.length === 0 ? "all sound" : counted(faults.length, "fault")}\n`,
    );
    if (faults.length > 0) process.stdout.write(`\n${table(FAULTS, faults)}`);
  }
  return result.faults.length === 0 ? EXIT.done : EXIT.input;
}

/** JSON lines in the shape of the file target, oldest first. */
async function exportAll(dir: string): Promise<number> {
  const descriptors = new Map<number, Descriptor>();
  const descriptorOf = (id: number): Descriptor => {
    const descriptor = descriptors.get(id);
    if (descriptor === undefined) throw new JournalError("journal_description", `${dir}: description ${id} is missing`);
    return descriptor;
  };
  for await (const one of exportRecords(dir)) {
    if (one.kind === "description") {
      descriptors.set(one.id, JSON.parse(new TextDecoder().decode(one.bytes)) as Descriptor);
      continue;
    }
    const { frames, events, readings } = decodePayload(one.payload, descriptorOf);
    if (!process.stdout.write(jsonLines({ frames, events, readings }))) {
      await new Promise((resolve) => process.stdout.once("drain", resolve));
    }
  }
  return EXIT.done;
}
