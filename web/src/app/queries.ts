import { QueryClient } from "@tanstack/react-query";
import { ApiProblem } from "@/api/client";

const RETRIES = 2;

/** What was read is shown at once again, and read anew behind it. Mistakes of ours are not repeated. */
export const queries = new QueryClient({
  defaultOptions: {
    // what a browser thinks of the network is no reason to wait without a word
    queries: {
      networkMode: "always",
      staleTime: 5_000,
      retry: (failures, error) => error instanceof ApiProblem && error.transient && failures < RETRIES,
    },
    mutations: { retry: false, networkMode: "always" },
  },
});
