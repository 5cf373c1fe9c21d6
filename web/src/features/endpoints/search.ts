/** What the address of the page holds: what is looked for. */
export interface EndpointsSearch {
  q?: string;
}

export function endpointsSearch(search: Record<string, unknown>): EndpointsSearch {
  const { q } = search;
  // a number is what a search for "2026" is read as
  return (typeof q === "string" && q.trim()) || typeof q === "number" ? { q: String(q) } : {};
}
