/** What a site file says of JSON lines in a rotated file. */
import { z } from "zod";

export const fileOptions = z.strictObject({
  path: z.string().min(1).describe("File that is appended to; rotated files stand beside it as PATH.1, PATH.2, ..."),
  rotate_bytes: z
    .int()
    .min(1024)
    .default(64 * 1024 * 1024)
    .describe("A file of this size is rotated."),
  keep: z.int().min(0).max(1000).default(8).describe("Rotated files kept; older ones are deleted."),
});

export type FileOptions = z.output<typeof fileOptions>;
