/** The address of a server as people write it: a host, perhaps with a port, or gsiftp://. */

export const DEFAULT_PORT = 2811;

export type AddressProblem = "empty" | "scheme" | "path" | "port" | "host";

export type Address = { uri: string; problem?: undefined } | { problem: AddressProblem };

const SCHEME = /^([a-z][a-z0-9+.-]*):\/\//i;
const HOST = /^[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_-]+)*\.?$/i;

export function addressOf(text: string): Address {
  let rest = text.trim();
  if (!rest) return { problem: "empty" };
  const scheme = SCHEME.exec(rest);
  if (scheme) {
    if (scheme[1]?.toLowerCase() !== "gsiftp") return { problem: "scheme" };
    rest = rest.slice(scheme[0].length);
  }
  rest = rest.replace(/\/$/, "");
  if (rest.includes("/")) return { problem: "path" };
  // an address of IPv6 may lack its brackets
  if (/^[0-9a-f]*(:[0-9a-f]*){2,}$/i.test(rest)) rest = `[${rest}]`;
  const parts = /^(\[[0-9a-f:.]+\]|[^:]*)(?::(.*))?$/i.exec(rest);
  const host = parts?.[1] ?? "";
  const port = parts?.[2] ?? String(DEFAULT_PORT);
  if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535) return { problem: "port" };
  if (!host.startsWith("[") && !HOST.test(host)) return { problem: "host" };
  return { uri: `gsiftp://${host}:${Number(port)}` };
}

/** As short as it can be written. */
export function shortAddress(hostname: string, port: number): string {
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return port === DEFAULT_PORT ? host : `${host}:${port}`;
}
