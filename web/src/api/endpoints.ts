/** What an endpoint is, as far as pages say it: a server with an address, or a computer behind a relay. */

import type { components } from "@/api/schema";

type Schemas = components["schemas"];
type Kind = Pick<Schemas["Endpoint"], "entity_type">;
type Servers<Field extends keyof Schemas["Server"]> = { DATA: Pick<Schemas["Server"], Field>[] };

export type ConnectionState = "connected" | "paused" | "away";

/** Whether it is reached through a relay (towpath connect), and not a server with an address. */
export function isComputer(endpoint: Kind): boolean {
  return !endpoint.entity_type.startsWith("GCSv4");
}

/** Whether a computer is there just now. */
export function connectionOf({ DATA: [server] }: Servers<"is_connected" | "is_paused">): ConnectionState {
  if (!server?.is_connected) return "away";
  return server.is_paused ? "paused" : "connected";
}

/** Whether there are files in it, and not only in its collections: a server of many accounts has none itself. */
export function hasFiles(endpoint: Kind): boolean {
  return endpoint.entity_type !== "GCSv5_endpoint";
}

/** Whether what it is called, and what it shows, is said on its server and nowhere else. */
export function isServersOwn(endpoint: Kind): boolean {
  return endpoint.entity_type === "GCSv5_mapped_collection";
}
