/** `lineside schema`: the JSON Schema of site files or profiles, from the schemas that check them. */
import { profileJsonSchema, siteJsonSchema } from "../site/json-schema.ts";
import { EXIT } from "./exit.ts";

export async function schemaCommand(options: { profile?: boolean }): Promise<number> {
  const schema = options.profile === true ? profileJsonSchema() : siteJsonSchema();
  process.stdout.write(`${JSON.stringify(schema, null, 2)}\n`);
  return EXIT.done;
}
