import { expect, it } from "vitest";
import { ApiProblem } from "@/api/client";
import { requestIdOf, troubleOf } from "@/features/files/problems";

it.each([
  [400, "ClientError.ActivationRequired", "credential"],
  [502, "ExternalError.DirListingFailed.CredentialExpired", "credential"],
  [502, "ExternalError.DirListingFailed.LoginFailed", "credential"],
  [404, "ClientError.NotFound", "missing"],
  [502, "ExternalError.DirListingFailed.NotDirectory", "file"],
  [403, "EndpointPermissionDenied", "permission"],
  [404, "EndpointNotFound", "gone"],
  [502, "ExternalError.DirListingFailed.UntrustedHost", "trust"],
  [502, "ExternalError.DirListingFailed.ConnectFailed", "silent"],
  [0, "TooSlow", "silent"],
  [0, "Unreachable", "offline"],
  [500, "Surprise", "unknown"],
] as const)("%d %s is %s", (status, code, trouble) => {
  const error = new ApiProblem(status, code, "", "abc");
  expect(troubleOf(error)).toBe(trouble);
  expect(requestIdOf(error)).toBe("abc");
});

it("knows nothing of other errors", () => {
  expect(troubleOf(new Error("x"))).toBe("unknown");
  expect(requestIdOf(new Error("x"))).toBeNull();
});
