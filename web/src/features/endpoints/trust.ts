/**
 * Which authorities an endpoint trusts, from what people have: the files of a trusted-certificates directory
 * (`<hash>.0`, `<hash>.signing_policy`, `<hash>.r0`), or certificates under any name.
 */

export interface TrustFile {
  name: string;
  text: string;
}

export interface Trust {
  files: TrustFile[];
  /** Names of what is neither: `.info`, `.namespaces`, pictures. */
  ignored: string[];
}

export const NO_TRUST: Trust = { files: [], ignored: [] };

const IN_DIRECTORY = /^([A-Za-z0-9][A-Za-z0-9._-]{0,99})\.(signing_policy|r?[0-9])$/;
const CERTIFICATE = /-----BEGIN (X509 )?CERTIFICATE-----/;

export type TrustKind = "authority" | "policy" | "revocations" | null;

export function kindOf({ name, text }: TrustFile): TrustKind {
  const ending = IN_DIRECTORY.exec(name)?.[2];
  if (ending === "signing_policy") return "policy";
  if (ending?.startsWith("r")) return "revocations";
  return CERTIFICATE.test(text) ? "authority" : null;
}

/** `trust` with more files; one of the same name replaces the earlier. */
export function withFiles(trust: Trust, more: TrustFile[]): Trust {
  const known = new Map(trust.files.map((file) => [file.name, file]));
  const ignored = new Set(trust.ignored);
  for (const file of more) {
    if (kindOf(file) === null) ignored.add(file.name);
    else known.set(file.name, file);
  }
  return { files: [...known.values()], ignored: [...ignored] };
}

export interface TrustBody {
  trust_roots?: Record<string, string>;
  ca_certificates?: string[];
}

/** As the API takes it: an authority without a signing policy goes by its certificate, and gets one. */
export function trustBody({ files }: Trust): TrustBody {
  const stems = new Set(
    files.filter((one) => kindOf(one) === "policy").map((one) => one.name.replace(/\.[^.]*$/, "")),
  );
  const roots: Record<string, string> = {};
  const certificates: string[] = [];
  let complete = false;
  for (const file of files) {
    const stem = IN_DIRECTORY.exec(file.name)?.[1];
    const kind = kindOf(file);
    if (kind === "authority" && (stem === undefined || !stems.has(stem))) certificates.push(file.text);
    else roots[file.name] = file.text;
    complete ||= kind === "authority" && file.name in roots;
  }
  return {
    // policies and revocation lists of nobody say nothing
    ...(complete ? { trust_roots: roots } : {}),
    ...(certificates.length > 0 ? { ca_certificates: certificates } : {}),
  };
}
