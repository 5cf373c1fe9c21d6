/** The connection test: what it says, and how it is asked for. */

import { useMutation } from "@tanstack/react-query";
import { authorizedFetch, problemOf } from "@/api/client";
import type { EndpointBody } from "@/features/endpoints/queries";

export type StepName =
  | "name"
  | "address"
  | "port"
  | "greeting"
  | "certificate"
  | "login"
  | "mapping"
  | "listing"
  | "data";

export interface Step {
  step: StepName;
  state: "ok" | "failed" | "skipped";
  message: string;
  details: string | null;
  advice: string | null;
  ms: number | null;
}

export interface EndpointTest {
  ok: boolean;
  DATA: Step[];
  host_subject: string | null;
  features: string[];
}

/** The service takes 20 s at most, and some more to be asked. */
const LIMIT_MS = 30_000;

async function ask(path: string, body: unknown): Promise<EndpointTest> {
  const response = await authorizedFetch(
    new Request(path, {
      method: "POST",
      signal: AbortSignal.timeout(LIMIT_MS),
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }),
    }),
  );
  const document: unknown = await response.json().catch(() => null);
  if (!response.ok) throw problemOf(response, document);
  return document as EndpointTest;
}

/** Of what a form says. */
export function useTestOf() {
  return useMutation({ mutationFn: (body: EndpointBody) => ask("/v0.10/endpoint_test", body) });
}

/** Of a registered endpoint, with the person's credential. */
export function useTest(id: string) {
  return useMutation({
    mutationFn: () => ask(`/v0.10/endpoint/${encodeURIComponent(id)}/test`, undefined),
  });
}
