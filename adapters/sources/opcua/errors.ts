/** What goes wrong on the way to a server, as LinesideError with a stable code and a way out. */
import { LinesideError } from "../../contract.ts";
import { snake } from "./status.ts";

/** Who is concerned, for messages. */
export interface Peer {
  readonly device: string;
  readonly endpoint: string;
}

interface Known {
  readonly code: string;
  readonly advice: string;
}

const access: Known = { code: "access_denied", advice: "check user and password" };
const distrust: Known = {
  code: "client_certificate_refused",
  advice: "the server does not trust the agent's certificate: accept it there",
};
const gone: Known = { code: "session_closed", advice: "the server ended the session" };

/** Status names that deserve a code of their own; any other becomes its own snake_case. */
const KNOWN: Readonly<Record<string, Known>> = {
  BadUserAccessDenied: access,
  BadIdentityTokenInvalid: access,
  BadIdentityTokenRejected: access,
  BadCertificateUntrusted: distrust,
  BadSecurityChecksFailed: distrust,
  BadCertificateUseNotAllowed: distrust,
  BadCertificateUriInvalid: distrust,
  BadTooManySessions: { code: "too_many_sessions", advice: "the server has no session to spare" },
  BadSessionClosed: gone,
  BadSessionIdInvalid: gone,
  BadSessionNotActivated: gone,
  BadSecureChannelClosed: gone,
  BadSecureChannelIdInvalid: gone,
  BadShutdown: { code: "server_shutdown", advice: "the server is shutting down" },
  BadServerHalted: { code: "server_shutdown", advice: "the server has stopped" },
};

/** Socket errors: the library keeps only their text. */
const SOCKET: readonly (readonly [RegExp, Known])[] = [
  [/ECONNREFUSED/, { code: "connect_refused", advice: "nothing listens there: check host and port" }],
  [/ENOTFOUND|EAI_AGAIN/, { code: "host_unknown", advice: "the host name cannot be resolved" }],
  [/EHOSTUNREACH|ENETUNREACH/, { code: "host_unreachable", advice: "there is no way to this network" }],
  [/ETIMEDOUT|[Tt]imeout|timed out/, { code: "timeout", advice: "it does not answer" }],
  [
    /Cannot find (?:ANONYMOUS|USERNAME) user token/,
    { code: "access_denied", advice: "the server does not offer this kind of login on this endpoint" },
  ],
];

/** Any failure of the library or the network, told by its status name or socket error. */
export function errorOf(cause: unknown, peer: Peer, fallback = "link_lost"): LinesideError {
  if (cause instanceof LinesideError) return cause;
  const text = cause instanceof Error ? cause.message : String(cause);
  const status = /\b(?:Bad|Uncertain)[A-Z][A-Za-z0-9]+/.exec(text)?.[0];
  const known =
    (status !== undefined ? KNOWN[status] : undefined) ?? SOCKET.find(([pattern]) => pattern.test(text))?.[1];
  if (known) return fail(known.code, peer, known.advice, cause);
  if (status !== undefined) return fail(snake(status), peer, status, cause);
  return fail(fallback, peer, firstLine(text), cause);
}

export function fail(code: string, peer: Peer, what: string, cause?: unknown): LinesideError {
  const options = cause === undefined ? undefined : { cause };
  return new LinesideError(code, `device ${peer.device}, ${peer.endpoint}: ${what}`, options);
}

function firstLine(text: string): string {
  return text.trim().split("\n", 1)[0]?.slice(0, 200) ?? "";
}
