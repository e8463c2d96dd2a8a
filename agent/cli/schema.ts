/** `lineside schema`: the JSON Schema of site files or profiles, from the schemas that check them. */
import { profileSchemas } from "#profiles/profile.ts";
import { z } from "zod";
import { siteSchema } from "../site/schema.ts";
import { EXIT } from "./exit.ts";

export async function schemaCommand(options: { profile?: boolean }): Promise<number> {
  const schema = options.profile === true ? z.union(Object.values(profileSchemas)) : siteSchema;
  process.stdout.write(`${JSON.stringify(z.toJSONSchema(schema, { io: "input" }), null, 2)}\n`);
  return EXIT.done;
}
