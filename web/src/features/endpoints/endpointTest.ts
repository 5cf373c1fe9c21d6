/** The connection test: what it says, and how it is asked for. */

import { useMutation } from "@tanstack/react-query";
import { client, data } from "@/api/client";
import type { components } from "@/api/schema";
import type { EndpointBody } from "@/features/endpoints/queries";

export type EndpointTest = components["schemas"]["EndpointTest"];
export type Step = components["schemas"]["EndpointTestStep"];

/** Of what a form says. */
export function useTestOf() {
  return useMutation({
    mutationFn: (body: EndpointBody) => data(client.POST("/v0.10/endpoint_test", { body })),
  });
}

/** Of a registered endpoint, with the person's credential. */
export function useTest(id: string) {
  return useMutation({
    mutationFn: () =>
      data(client.POST("/v0.10/endpoint/{endpoint_id}/test", { params: { path: { endpoint_id: id } } })),
  });
}
