/** Calls to the Transfer API, typed by its OpenAPI document. */

import createClient from "openapi-fetch";
import type { paths } from "@/api/schema";
import { accessToken, forgetToken, Unreachable } from "@/api/session";

/** What a request may take at most: after that the page says so, and offers to try again. */
const LIMIT_MS = 30_000;

/** An answer that is not the one hoped for, in the API's own words. */
export class ApiProblem extends Error {
  constructor(
    readonly status: number,
    /** The API's code, such as `EndpointNotFound`; `Unreachable` when there was no answer. */
    readonly code: string,
    message: string,
    /** What the operator finds in the log. */
    readonly requestId: string | null,
  ) {
    super(message);
  }

  /** Whether the same request may succeed later. */
  get transient(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** `fetch` with the bearer token; once more with a new one when it was refused. Throws {@link ApiProblem}. */
export async function authorizedFetch(request: Request): Promise<Response> {
  const again = request.clone();
  const token = await currentToken();
  const first = await send(request, token);
  if (first.status !== 401) return first;
  forgetToken(token);
  return send(again, await currentToken());
}

async function currentToken(): Promise<string> {
  try {
    return await accessToken();
  } catch (error) {
    if (error instanceof Unreachable) throw unreachable();
    throw error;
  }
}

function unreachable(): ApiProblem {
  return new ApiProblem(0, "Unreachable", "The service does not answer.", null);
}

async function send(request: Request, token: string): Promise<Response> {
  request.headers.set("Authorization", `Bearer ${token}`);
  try {
    return await fetch(request);
  } catch (error) {
    if (request.signal.aborted && !(request.signal.reason instanceof DOMException)) throw error;
    const slow = error instanceof DOMException && error.name === "TimeoutError";
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw slow ? new ApiProblem(0, "TooSlow", "The service does not answer.", null) : unreachable();
  }
}

export const client = createClient<paths>({
  fetch: (request) =>
    authorizedFetch(
      new Request(request, { signal: AbortSignal.any([request.signal, AbortSignal.timeout(LIMIT_MS)]) }),
    ),
});

/** The data of an answer. Throws {@link ApiProblem}. Use: `await data(client.GET("/v0.10/task_list"))`. */
export async function data<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data: found, error, response } = await call;
  if (response.ok) return found as T;
  throw problemOf(response, error);
}

export function problemOf(response: Response, body: unknown): ApiProblem {
  const document = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  return new ApiProblem(
    response.status,
    typeof document.code === "string" ? document.code : `HTTP ${response.status}`,
    typeof document.message === "string" ? document.message : response.statusText,
    response.headers.get("X-Request-Id"),
  );
}
