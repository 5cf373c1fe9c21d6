import { expect, it } from "vitest";
import { PROXY_LIMIT, proxyProblem } from "@/features/endpoints/proxy";

const CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n";

it.each([
  ["a proxy", CERTIFICATE + KEY + CERTIFICATE, null],
  ["another kind of key", CERTIFICATE + KEY.replaceAll("RSA ", ""), null],
  ["nothing", " \n", "empty"],
  ["a PKCS#12 file", "0\u0082\u0003", "binary"],
  ["a certificate alone", CERTIFICATE, "noKey"],
  ["a key alone", KEY, "noCertificate"],
  ["an encrypted key", CERTIFICATE + KEY.replaceAll("RSA ", "ENCRYPTED "), "encrypted"],
  [
    "an encrypted key of the old kind",
    CERTIFICATE + KEY.replace("MIIB", "Proc-Type: 4,ENCRYPTED\nDEK-Info: DES-EDE3-CBC,00\n\nMIIB"),
    "encrypted",
  ],
  ["a disk image", CERTIFICATE.repeat(PROXY_LIMIT / 50), "large"],
])("%s", (_, text, problem) => expect(proxyProblem(text)).toBe(problem));
