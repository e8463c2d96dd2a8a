/** node-opcua writes warnings to the console; here they go to the agent's log, as what they are: details. */
import { setDebugLogger, setErrorLogger, setWarningLogger } from "node-opcua-client";
import type { Log } from "../../contract.ts";

const TEXT_MAX = 500;

/** For the whole process: the library has one logger of each kind. The latest source gets them. */
export function quieten(log: Log): void {
  // The library calls them with where it happened, then what console.log would get.
  const pass = (_where: unknown, ...words: readonly unknown[]): void => {
    log.debug({ library: "node-opcua" }, words.map(String).join(" ").slice(0, TEXT_MAX));
  };
  setWarningLogger(pass);
  setErrorLogger(pass);
  setDebugLogger(pass);
}
