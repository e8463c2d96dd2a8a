/** Reads the PEM files that a target names, at start, so that a wrong path is found before any data. */
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import { LinesideError } from "../../../contract.ts";
import type { OtlpOptions } from "../options.ts";
import type { TlsFiles } from "./transport.ts";

export async function readTls(options: OtlpOptions["tls"], endpoint: string): Promise<TlsFiles | null> {
  const { ca, certificate, private_key, server_name } = options;
  if (!endpoint.startsWith("https:")) {
    const given = Object.entries(options).find(([, value]) => value !== undefined);
    if (given) throw fault(given[0], `is set, but ${endpoint} is not https`);
    return null;
  }
  if ((certificate === undefined) !== (private_key === undefined)) {
    throw fault(
      certificate === undefined ? "certificate" : "private_key",
      "is missing: mTLS needs certificate and private_key",
    );
  }
  const files: TlsFiles = {
    ca: await read("ca", ca),
    certificate: await read("certificate", certificate),
    private_key: await read("private_key", private_key),
    server_name: server_name ?? null,
  };
  check("ca", files.ca && { ca: files.ca });
  check("certificate", files.certificate && { cert: files.certificate });
  check("private_key", files.private_key && { key: files.private_key });
  if (files.certificate && files.private_key) {
    check("private_key", { cert: files.certificate, key: files.private_key });
  }
  return files;
}

async function read(field: string, path: string | undefined): Promise<Buffer | null> {
  if (path === undefined) return null;
  try {
    return await readFile(path);
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "unreadable";
    throw fault(field, `cannot read ${path} (${code})`, cause);
  }
}

/** OpenSSL says whether a file is what it should be. */
function check(field: string, context: Parameters<typeof createSecureContext>[0] | null): void {
  if (context === null) return;
  if (context?.ca instanceof Buffer && !context.ca.includes("-----BEGIN")) throw fault(field, "is not a PEM file");
  try {
    createSecureContext(context);
  } catch (cause) {
    throw fault(field, `cannot be used: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
}

function fault(field: string, message: string, cause?: unknown): LinesideError {
  return new LinesideError("config", `otlp: tls.${field} ${message}`, { cause });
}
