import { describe, expect, it } from "vitest";
import { NO_TRUST, type TrustFile, trustBody, withFiles } from "@/features/endpoints/trust";

const PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const authority: TrustFile = { name: "1a2b3c4d.0", text: PEM };
const policy: TrustFile = { name: "1a2b3c4d.signing_policy", text: "access_id_CA X509 '/CN=CA'" };
const revoked: TrustFile = { name: "1a2b3c4d.r0", text: "-----BEGIN X509 CRL-----" };
const loose: TrustFile = { name: "GridCA.pem", text: PEM };

describe("trusted authorities", () => {
  it("of a directory go as they are", () => {
    const trust = withFiles(NO_TRUST, [authority, policy, revoked, { name: "1a2b3c4d.info", text: "x" }]);
    expect(trust.ignored).toEqual(["1a2b3c4d.info"]);
    expect(trustBody(trust)).toEqual({
      trust_roots: { [authority.name]: PEM, [policy.name]: policy.text, [revoked.name]: revoked.text },
    });
  });

  it("without a policy go as certificates", () => {
    expect(trustBody(withFiles(NO_TRUST, [authority, loose]))).toEqual({ ca_certificates: [PEM, PEM] });
  });

  it("of both kinds go together", () => {
    expect(trustBody(withFiles(NO_TRUST, [authority, policy, loose]))).toEqual({
      trust_roots: { [authority.name]: PEM, [policy.name]: policy.text },
      ca_certificates: [PEM],
    });
  });

  it("are not made of policies alone", () => {
    expect(trustBody(withFiles(NO_TRUST, [policy, revoked]))).toEqual({});
  });

  it("are replaced by a file of the same name", () => {
    const trust = withFiles(withFiles(NO_TRUST, [loose]), [{ ...loose, text: `${PEM}${PEM}` }]);
    expect(trust.files).toHaveLength(1);
  });
});
