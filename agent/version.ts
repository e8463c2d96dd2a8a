/** What this build calls itself, in logs, scopes and `--version`. */
import manifest from "../package.json" with { type: "json" };

export const VERSION: string = manifest.version;
