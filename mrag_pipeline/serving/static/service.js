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

/** Args: parameters: {text, limit}. */
export const documents = (parameters, signal) => ask("GET", path("v1/documents", parameters), null, signal);
/** Args: parameters: {id, offset, limit}. */
export const document = (parameters, signal) => ask("GET", path("v1/document", parameters), null, signal);
export const neighbours = (chunkId, parameters, signal) =>
  ask("GET", path(`v1/chunks/${chunkId}/neighbours`, parameters), null, signal);

const path = (name, parameters) => `${name}?${new URLSearchParams(parameters)}`;

/** A search's result as the only event of a stream: {event: "search", data}. */
export async function* searched(body, signal) {
  yield { event: "search", data: await search(body, signal) };
}

/**
 * The events of an answer in words: `search`, any number of `text`, then `done`.
 * An `error` event, and a stream that ends before `done`, throw a Trouble.
 */
export async function* worded(body, signal) {
  const response = await send("POST", "v1/answer", JSON.stringify({ ...body, stream: true }), signal);
  if (!response.ok) throw await refusal(response);
  for await (const { event, data } of eventsOf(response)) {
    if (event === "error") throw new Trouble(data);
    yield { event, data };
    if (event === "done") return;
  }
  throw brokenOff();
}

async function ask(method, path, body, signal) {
  const response = await send(method, path, body && JSON.stringify(body), signal);
  if (response.ok) return parsed(response);
  throw await refusal(response);
}

const refusal = async (response) =>
  new Trouble(await problemOf(response), seconds(response.headers.get("Retry-After")));

/** Server-sent events as the service writes them: one line of `event`, one of JSON `data`. */
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : brokenOff();
    });
    if (done) return;
    held += value;
    const events = held.split("\n\n");
    held = events.pop();
    for (const lines of events) {
      const event = /^event: (.*)$/m.exec(lines);
      const data = /^data: (.*)$/m.exec(lines);
      if (event && data) yield { event: event[1], data: JSON.parse(data[1]) };
    }
  }
}

const brokenOff = () =>
  new Trouble({
    title: "The answer broke off",
    status: 0,
    detail: "The connection ended before the answer did.",
    expected: "the rest of the answer",
    fix: "ask again; if it happens each time, look at a proxy's time limit",
  });

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
