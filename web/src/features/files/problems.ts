/** What went wrong in a pane, and so what can be done about it. */

import { ApiProblem } from "@/api/client";

export type Trouble =
  | "credential"
  | "missing"
  | "file"
  | "permission"
  | "gone"
  | "trust"
  | "silent"
  | "busy"
  | "offline"
  | "unknown";

const BY_END: Record<string, Trouble> = {
  ActivationRequired: "credential",
  CredentialExpired: "credential",
  LoginFailed: "credential",
  NotFound: "missing",
  NotDirectory: "file",
  EndpointPermissionDenied: "permission",
  EndpointNotFound: "gone",
  EndpointDeleted: "gone",
  UntrustedHost: "trust",
  ConnectFailed: "silent",
  ConnectionLost: "silent",
  Timeout: "silent",
  TooBusy: "busy",
  Unreachable: "offline",
  TooSlow: "silent",
};

export function troubleOf(error: Error): Trouble {
  if (!(error instanceof ApiProblem)) return "unknown";
  return BY_END[error.code.split(".").at(-1) ?? ""] ?? "unknown";
}

export function requestIdOf(error: Error): string | null {
  return error instanceof ApiProblem ? error.requestId : null;
}
