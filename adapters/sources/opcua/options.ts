/** What a site file says of an OPC UA server: the way to it, and overrides of the profile's behaviour. */
import { opcuaBehaviour } from "#profiles/schema.ts";
import { z } from "zod";

export const opcuaOptions = opcuaBehaviour
  .extend({
    endpoint: z
      .string()
      .regex(/^opc\.tcp:\/\/[^\s/]+/, "expected an endpoint such as opc.tcp://10.0.3.20:4840")
      .describe("Endpoint URL of the server."),
    security: z
      .enum(["None", "Basic256Sha256"])
      .default("None")
      .describe("Security policy; anything but None signs and encrypts."),
    user: z.string().min(1).optional().describe("User name; without it the session is anonymous."),
    password: z.string().min(1).optional().describe("As ${env:NAME} or ${file:PATH}, never in clear."),
    certificate: z
      .string()
      .min(1)
      .optional()
      .describe("PEM file of the agent's own certificate. Default: made at the first start, under the data directory."),
    private_key: z.string().min(1).optional().describe("PEM file of its private key."),
  })
  .superRefine(({ certificate, private_key, user, password }, context) => {
    const missing = (path: string, message: string): void =>
      context.addIssue({ code: "custom", path: [path], message });
    if (certificate !== undefined && private_key === undefined)
      missing("private_key", "certificate and private_key go together");
    if (private_key !== undefined && certificate === undefined)
      missing("certificate", "certificate and private_key go together");
    if (password !== undefined && user === undefined) missing("user", "a password goes with a user");
  });

export type OpcuaOptions = z.output<typeof opcuaOptions>;
