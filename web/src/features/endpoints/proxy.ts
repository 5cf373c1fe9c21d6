/** What a browser can see of a proxy file before it sends it: the service looks closer. */

export type ProxyProblem = "empty" | "large" | "binary" | "encrypted" | "noKey" | "noCertificate";

/** Characters; a proxy with a long chain and attributes has some 20,000. */
export const PROXY_LIMIT = 256 * 1024;

export function proxyProblem(text: string): ProxyProblem | null {
  if (!text.trim()) return "empty";
  if (text.length > PROXY_LIMIT) return "large";
  if (!text.includes("-----BEGIN ")) return "binary";
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: *4, *ENCRYPTED/.test(text)) return "encrypted";
  if (!/-----BEGIN (RSA |EC )?PRIVATE KEY-----/.test(text)) return "noKey";
  if (!/-----BEGIN (X509 )?CERTIFICATE-----/.test(text)) return "noCertificate";
  return null;
}
