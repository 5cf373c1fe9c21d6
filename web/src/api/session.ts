/**
 * Who is logged in, and the access token: in memory only, never in storage or an address.
 *
 * OAuth 2.0 with PKCE (RFC 7636), as any other application. The login itself is the session cookie, which no
 * script can read; a token is fetched with it anew (`prompt=none`) on each load and before the last one ends.
 */

const SCOPES = "openid profile email urn:globus:auth:scope:transfer.api.globus.org:all";
const TRANSFER = "transfer.api.globus.org";
const CALLBACK = "/login/callback";
const PENDING = "towpath-login";
/** Renewed when so little of its life is left. */
const RENEW_BEFORE_MS = 5 * 60_000;
const SILENT_LIMIT_MS = 15_000;
const PROBE_LIMIT_MS = 4_000;

export interface Person {
  /** The identity's id. */
  id: string;
  username: string;
  name: string;
  email: string | null;
}

interface Session {
  person: Person;
  /** Says that it is this page that asks for the logout. */
  idToken: string;
  token: string;
  endsAt: number;
}

interface Pending {
  state: string;
  verifier: string;
  returnTo: string;
}

/** Nobody is logged in, or what was asked needs a page of the identity service. */
export class LoginNeeded extends Error {}

/** The identity service does not answer, or cannot; the same may succeed later. */
export class Unreachable extends Error {}

let session: Session | null = null;
let renewal: Promise<Session> | null = null;
/** Whom this page shows: it never acts for another person who has logged in in another tab. */
let shown: string | null = null;
let loggedOut = false;
let ended = false;
let onEnd: () => void = () => undefined;
/** Tells the other tabs of a logout, so that nothing stays on their screens. */
const tabs = new BroadcastChannel("towpath-session");

tabs.onmessage = () => {
  // the session may live for a moment yet: it is not asked for again
  loggedOut = true;
  end();
};

/** What is done when the login is over: elsewhere, by its end, or because the account was suspended. */
export function whenLoginEnds(act: () => void): void {
  onEnd = act;
}

/** Whether somebody was logged in here, and is no more. */
export function loginHasEnded(): boolean {
  return ended;
}

function end(): void {
  const wasLoggedIn = shown !== null;
  session = null;
  shown = null;
  ended ||= wasLoggedIn;
  if (wasLoggedIn) onEnd();
}

export function metaValue(name: string): string {
  return document.querySelector<HTMLMetaElement>(`meta[name="towpath-${name}"]`)?.content ?? "";
}

/** A valid access token for the Transfer API, renewed if need be. Throws {@link LoginNeeded}. */
export async function accessToken(): Promise<string> {
  return (await current()).token;
}

export async function person(): Promise<Person> {
  return (await current()).person;
}

/** The token was refused: fetch another one at the next call. */
export function forgetToken(refused: string): void {
  if (session?.token === refused) session = null;
}

async function current(): Promise<Session> {
  if (loggedOut) throw new LoginNeeded("logged out in another tab");
  if (session && session.endsAt - Date.now() > RENEW_BEFORE_MS) return session;
  renewal ??= renewed().finally(() => {
    renewal = null;
  });
  return renewal;
}

async function renewed(): Promise<Session> {
  try {
    const found = await silently();
    if (shown !== null && shown !== found.person.id) throw new LoginNeeded("somebody else has logged in");
    shown = found.person.id;
    session = found;
    return found;
  } catch (error) {
    if (error instanceof LoginNeeded) end();
    throw error;
  }
}

/** Go to the login page, and come back to where we are. */
export async function login(): Promise<void> {
  const { pathname, search } = location;
  // "//host" would be another origin's
  const returnTo = pathname === CALLBACK || pathname.startsWith("//") ? "/" : pathname + search;
  const pending = { state: random(), verifier: random(), returnTo };
  sessionStorage.setItem(PENDING, JSON.stringify(pending));
  location.assign(await authorizeUrl(pending, {}));
}

/** On the callback page: end the login that {@link login} began. Returns where it began. */
export async function finishLogin(answer: URLSearchParams): Promise<string> {
  const kept = sessionStorage.getItem(PENDING);
  sessionStorage.removeItem(PENDING);
  if (kept === null) throw new LoginNeeded("this login began in another tab");
  const pending = JSON.parse(kept) as Pending;
  session = await redeem(pending, answer);
  shown = session.person.id;
  return pending.returnTo;
}

/**
 * End the session, here and in all tabs, and with it the tokens (OpenID Connect RP-Initiated Logout 1.0).
 * The id token goes in a form, not in an address, and says that nobody else sent this browser.
 */
export async function logout(): Promise<void> {
  const idToken = session?.idToken;
  if (!idToken) {
    location.assign("/v2/web/logout");
    return;
  }
  session = null;
  loggedOut = true;
  tabs.postMessage("logout");
  const form = document.createElement("form");
  form.method = "post";
  form.action = "/v2/oauth2/logout";
  const field = document.createElement("input");
  field.type = "hidden";
  field.name = "id_token_hint";
  field.value = idToken;
  form.append(field);
  document.body.append(form);
  form.submit();
}

async function silently(): Promise<Session> {
  const pending = { state: random(), verifier: random(), returnTo: "" };
  const response = await ask(await authorizeUrl(pending, { prompt: "none" }));
  if (!response.redirected) throw new Unreachable(`the identity service answered ${response.status}`);
  return redeem(pending, new URL(response.url).searchParams);
}

async function redeem(pending: Pending, answer: URLSearchParams): Promise<Session> {
  const code = answer.get("code");
  if (answer.get("error")) throw new LoginNeeded(answer.get("error_description") ?? "");
  if (!code || answer.get("state") !== pending.state || answer.get("iss") !== location.origin)
    throw new LoginNeeded("the answer is not to our request");
  const response = await ask("/v2/oauth2/token", {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      client_id: metaValue("client"),
      redirect_uri: location.origin + CALLBACK,
      code,
      code_verifier: pending.verifier,
    }),
  });
  if (response.status >= 500) throw new Unreachable(`the identity service answered ${response.status}`);
  if (!response.ok) throw new LoginNeeded(`the code was refused (${response.status})`);
  const first = (await response.json()) as TokenDocument;
  const transfer = [first, ...first.other_tokens].find((one) => one.resource_server === TRANSFER);
  if (!transfer || !first.id_token) throw new Error("the answer has no token for transfers");
  return {
    person: personOf(first.id_token),
    idToken: first.id_token,
    token: transfer.access_token,
    endsAt: Date.now() + transfer.expires_in * 1000,
  };
}

async function ask(address: string, more: RequestInit = {}): Promise<Response> {
  try {
    return await fetch(address, { ...more, cache: "no-store", signal: AbortSignal.timeout(SILENT_LIMIT_MS) });
  } catch (error) {
    throw new Unreachable(String(error));
  }
}

/** Whether the service answers. */
export async function reachable(): Promise<boolean> {
  try {
    const limit = AbortSignal.timeout(PROBE_LIMIT_MS);
    return (await fetch("/", { method: "HEAD", cache: "no-store", signal: limit })).ok;
  } catch {
    return false;
  }
}

interface TokenDocument {
  resource_server: string;
  access_token: string;
  expires_in: number;
  id_token?: string;
  other_tokens: TokenDocument[];
}

/** The claims; the token came straight from its issuer over TLS (OpenID Connect Core 1.0, 3.1.3.7). */
function personOf(idToken: string): Person {
  const payload = (idToken.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
  const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
  const claims = JSON.parse(new TextDecoder().decode(bytes));
  return {
    id: claims.sub,
    username: claims.preferred_username,
    name: claims.name || claims.preferred_username,
    email: claims.email ?? null,
  };
}

async function authorizeUrl(pending: Pending, more: Record<string, string>): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(pending.verifier));
  const query = new URLSearchParams({
    response_type: "code",
    client_id: metaValue("client"),
    redirect_uri: location.origin + CALLBACK,
    scope: SCOPES,
    state: pending.state,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: "S256",
    ...more,
  });
  return `/v2/oauth2/authorize?${query}`;
}

function random(): string {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");
}
