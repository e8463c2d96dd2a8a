/** What a site file says of readings printed to standard output. */
import { z } from "zod";

export const consoleOptions = z.strictObject({
  format: z
    .enum(["text", "json"])
    .default("text")
    .describe("text: a line a reading for people. json: the lines of the file target."),
});

export type ConsoleOptions = z.output<typeof consoleOptions>;
