/** What the pages of endpoints ask the API. */

import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { client, data } from "@/api/client";
import { isComputer } from "@/api/endpoints";
import type { components } from "@/api/schema";
import type { TrustBody } from "@/features/endpoints/trust";

type Schemas = components["schemas"];
export type Endpoint = Pick<
  Schemas["Endpoint"],
  | "id"
  | "display_name"
  | "owner_id"
  | "owner_string"
  | "public"
  | "description"
  | "organization"
  | "contact_email"
  | "my_effective_roles"
  | "data_hosts"
  | "entity_type"
> & {
  DATA: Pick<Schemas["Server"], "hostname" | "port" | "uri" | "subject" | "is_connected" | "is_paused">[];
};
export type Credential = Schemas["Credential"];
export type ListedCredential = Schemas["ListedCredential"];
export type CredentialState = Credential["state"];

/** What a form says of an endpoint. */
export interface EndpointBody extends TrustBody {
  display_name: string;
  description: string | null;
  public: boolean;
  data_hosts?: string[];
  DATA?: { uri: string; subject: string | null }[];
}

/** What was made for a computer that is to join. */
export interface Created {
  id: string;
  setupKey: string;
}

const PAGE = 100;
const CREDENTIALS_EVERY_MS = 60_000;
/** Somebody types two commands on another computer, and looks here whether they have worked. */
const COMPUTER_EVERY_MS = 2_000;
const KEYS = {
  list: ["endpoints", "list"],
  one: (id: string) => ["endpoints", "one", id],
  credentials: ["endpoints", "credentials"],
  credential: (id: string) => ["endpoints", "credential", id],
} as const;

export type Scope = "my-endpoints" | "recently-used" | "all";

export function useEndpoints(scope: Scope, words: string, pages = 1) {
  return useQuery({
    queryKey: [...KEYS.list, scope, words, pages],
    queryFn: ({ signal }) =>
      data(
        client.GET("/v0.10/endpoint_search", {
          params: { query: { filter_scope: scope, filter_fulltext: words, limit: PAGE * pages, offset: 0 } },
          signal,
        }),
      ),
    enabled: scope !== "all" || words !== "",
    placeholderData: keepPreviousData,
  });
}

/** All credentials of the person, by endpoint. Asked for again now and then: they expire. */
export function useCredentials() {
  return useQuery({
    queryKey: KEYS.credentials,
    queryFn: async ({ signal }) => (await data(client.GET("/v0.10/credential_list", { signal }))).DATA,
    refetchInterval: CREDENTIALS_EVERY_MS,
  });
}

export function useEndpoint(id: string) {
  return useQuery({
    queryKey: KEYS.one(id),
    queryFn: ({ signal }) =>
      data(client.GET("/v0.10/endpoint/{endpoint_id}", { params: { path: { endpoint_id: id } }, signal })),
    refetchInterval: ({ state }) => (state.data && isComputer(state.data) ? COMPUTER_EVERY_MS : false),
  });
}

export function useCredential(id: string) {
  return useQuery({
    queryKey: KEYS.credential(id),
    queryFn: ({ signal }) =>
      data(
        client.GET("/v0.10/endpoint/{endpoint_id}/credential", {
          params: { path: { endpoint_id: id } },
          signal,
        }),
      ),
    refetchInterval: CREDENTIALS_EVERY_MS,
  });
}

function useForget() {
  const queries = useQueryClient();
  return () => queries.invalidateQueries({ queryKey: ["endpoints"] });
}

export function useCreate() {
  const forget = useForget();
  return useMutation({
    mutationFn: (body: EndpointBody) => data(client.POST("/v0.10/endpoint", { body })),
    onSuccess: forget,
  });
}

/** An endpoint for a computer that is to join, with the key for it. */
export function useCreateComputer() {
  const forget = useForget();
  return useMutation({
    mutationFn: async (name: string): Promise<Created> => {
      const made = await data(
        client.POST("/v0.10/endpoint", {
          body: { display_name: name, is_globus_connect: true, public: false },
        }),
      );
      return { id: made.id, setupKey: made.globus_connect_setup_key ?? "" };
    },
    onSuccess: forget,
  });
}

/** Another key for a computer's endpoint: the one that uses it takes the place of the one before. */
export function useSetupKey(id: string) {
  return useMutation({
    mutationFn: async () =>
      (
        await data(
          client.POST("/v0.10/endpoint/{endpoint_id}/setup_key", { params: { path: { endpoint_id: id } } }),
        )
      ).globus_connect_setup_key,
  });
}

export function useUpdate(id: string) {
  const forget = useForget();
  return useMutation({
    mutationFn: (body: EndpointBody) =>
      data(client.PUT("/v0.10/endpoint/{endpoint_id}", { params: { path: { endpoint_id: id } }, body })),
    onSuccess: forget,
  });
}

export function useDelete(id: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: () =>
      data(client.DELETE("/v0.10/endpoint/{endpoint_id}", { params: { path: { endpoint_id: id } } })),
    // all but itself: it is not there any more, and its page is about to be left
    onSuccess: () =>
      queries.invalidateQueries({
        queryKey: ["endpoints"],
        predicate: ({ queryKey }) => !queryKey.includes(id),
      }),
  });
}

export function useGiveProxy(id: string) {
  const forget = useForget();
  return useMutation({
    mutationFn: (proxy: string) =>
      data(
        client.PUT("/v0.10/endpoint/{endpoint_id}/credential", {
          params: { path: { endpoint_id: id } },
          body: { proxy },
        }),
      ),
    onSuccess: forget,
  });
}

export function useLogon(id: string) {
  const forget = useForget();
  return useMutation({
    mutationFn: (body: Schemas["LogonDocument"]) =>
      data(
        client.POST("/v0.10/endpoint/{endpoint_id}/credential/myproxy", {
          params: { path: { endpoint_id: id } },
          body,
        }),
      ),
    onSuccess: forget,
  });
}

export function useForgetCredential(id: string) {
  const forget = useForget();
  return useMutation({
    mutationFn: () =>
      data(
        client.DELETE("/v0.10/endpoint/{endpoint_id}/credential", { params: { path: { endpoint_id: id } } }),
      ),
    onSuccess: forget,
  });
}
