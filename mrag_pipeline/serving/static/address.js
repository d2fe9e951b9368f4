// The question in the page's address, after the #: it can be shared and never reaches a server.

/** {query, strategy, k, windows: [text], filter: {field, op, value} | null} from a hash. */
export function questionIn(hash, defaults) {
  const held = new URLSearchParams(hash.replace(/^#/, ""));
  const k = Number.parseInt(held.get("k") ?? "", 10);
  return {
    query: held.get("q") ?? "",
    strategy: held.get("s") || defaults.strategy,
    k: k >= 1 && k <= 1000 ? k : defaults.k,
    windows: held.getAll("w").filter((text) => text.trim()),
    filter: held.get("field")
      ? {
          field: held.get("field"),
          op: held.get("op") || "eq",
          value: held.get("value") ?? "",
        }
      : null,
  };
}

/** The hash that says a question; empty for an empty one. */
export function hashOf(question, defaults) {
  if (!question.query.trim()) return "";
  const held = new URLSearchParams({ q: question.query });
  if (question.strategy !== defaults.strategy) held.set("s", question.strategy);
  if (question.k !== defaults.k) held.set("k", String(question.k));
  for (const text of question.windows) held.append("w", text);
  if (question.filter) {
    for (const name of ["field", "op", "value"]) held.set(name, question.filter[name]);
  }
  return `#${held}`;
}
