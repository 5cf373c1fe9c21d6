/** How a task's counters grew over time, as the service has recorded it. */

import { queryOptions } from "@tanstack/react-query";
import { client, data } from "@/api/client";
import type { components } from "@/api/schema";

export type Point = components["schemas"]["ThroughputPoint"];

export function throughputQuery(id: string) {
  return queryOptions({
    queryKey: ["tasks", "throughput", id],
    queryFn: ({ signal }) =>
      data(client.GET("/v0.10/task/{task_id}/throughput", { params: { path: { task_id: id } }, signal })),
  });
}
