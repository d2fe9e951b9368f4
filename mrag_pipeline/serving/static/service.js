// The service's API, asked by the page's own origin only. A failed request throws a Trouble.
//
// Addresses are relative, so that the page works behind a proxy's path too.

const KEY = "mrag-key"; // sessionStorage: gone with the tab, never in a URL
let held = null;

/** What went wrong, as RFC 9457 says it. */
export class Trouble extends Error {
  constructor(problem, retryAfter = null) {
    super(problem.title);
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

export function key() {
  if (held !== null) return held;
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** Keeps the API key for this tab; an empty one forgets it. */
export function keepKey(value) {
  held = value;
  try {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  } catch {
    return; // storage is switched off: `held` keeps it until the page is left
  }
}

export const indexState = (signal) => ask("GET", "v1/index", null, signal);
export const openapi = (signal) => ask("GET", "openapi.json", null, signal);
export const search = (body, signal) => ask("POST", "v1/search", body, signal);

async function ask(method, path, body, signal) {
  const response = await send(method, path, body && JSON.stringify(body), signal);
  if (response.ok) return parsed(response);
  throw new Trouble(await problemOf(response), seconds(response.headers.get("Retry-After")));
}

/** Any request as it is: {status, text, seconds}; throws only where nothing is answered. */
export async function raw(method, path, body) {
  const started = performance.now();
  const response = await send(method, path, body);
  const text = await response.text();
  return { status: response.status, text, seconds: (performance.now() - started) / 1000 };
}

async function send(method, path, body, signal) {
  const headers = { Accept: "application/json, application/problem+json, */*;q=0.5" };
  if (key()) headers.Authorization = `Bearer ${key()}`;
  if (body) headers["Content-Type"] = "application/json";
  try {
    return await fetch(path, {
      method,
      headers,
      body: body || undefined,
      signal,
      cache: "no-store",
      credentials: "same-origin",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble({
      title: "The service does not answer",
      status: 0,
      detail: navigator.onLine
        ? "The connection failed before an answer came."
        : "This device is offline.",
      expected: `an answer from ${location.host}`,
      fix: "see that the service runs (`mrag serve`) and is reached from here, then try again",
    });
  }
}

async function parsed(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble({
      title: "The answer cannot be read",
      status: response.status,
      detail: "What came is not the JSON that was asked for, or was cut off.",
      expected: "application/json from the service itself",
      fix: "look at what stands between: a proxy's sign-in page, or a broken connection",
    });
  }
}

/** The problem a response tells of, or one made from its status where it tells of none. */
async function problemOf(response) {
  try {
    const problem = await response.json();
    if (problem && typeof problem.title === "string") return { status: response.status, ...problem };
  } catch (error) {
    if (error.name === "AbortError") throw error;
  }
  return {
    title: response.statusText || `Status ${response.status}`,
    status: response.status,
    detail: "The service, or something in front of it, refused without saying why.",
  };
}

function seconds(retryAfter) {
  const value = Number.parseInt(retryAfter ?? "", 10);
  return Number.isFinite(value) && value >= 0 ? Math.min(value, 600) : null;
}
