// A question as the page's address holds it, and as it goes over the wire. Pure: no DOM.
//
// {query, strategy, words: whether it is answered in words, k, minScore: number | null,
// windows: [text], filter: {field, op, value} | null}. In the address it stands
// after the #: it can be shared, and no server's log ever has it.

/** The question that a hash says. */
export function questionIn(hash, defaults) {
  const held = new URLSearchParams(hash.replace(/^#/, ""));
  const k = Number.parseInt(held.get("k") ?? "", 10);
  const least = Number.parseFloat(held.get("min") ?? "");
  return {
    query: held.get("q") ?? "",
    strategy: held.get("s") || defaults.strategy,
    words: defaults.words && held.get("words") !== "no",
    k: k >= 1 && k <= 1000 ? k : defaults.k,
    minScore: least >= -1 && least <= 1 ? least : null,
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
  if (defaults.words && !question.words) held.set("words", "no");
  if (question.k !== defaults.k) held.set("k", String(question.k));
  if (question.minScore !== null) held.set("min", String(question.minScore));
  for (const text of question.windows) held.append("w", text);
  if (question.filter) {
    for (const name of ["field", "op", "value"]) held.set(name, question.filter[name]);
  }
  return `#${held}`;
}

/** What goes over the wire; `strategy` may be another than the question's. */
export function bodyOf(question, strategy = question.strategy) {
  const body = { query: question.query, k: question.k };
  if (strategy) body.strategy = strategy; // none before the service has named its own
  if (question.minScore !== null) body.min_score = question.minScore;
  if (question.windows.length && strategy === question.strategy) body.windows = question.windows;
  if (question.filter) {
    const { field, op, value } = question.filter;
    body.filter = { field, op };
    if (op === "in") body.filter.value = value.split(",").map((one) => scalar(one.trim()));
    else if (op !== "exists") body.filter.value = op === "prefix" ? value : scalar(value.trim());
  }
  return body;
}

/** A number or a boolean where it is written as one; in quotes it stays text. */
function scalar(text) {
  if (text === "true" || text === "false") return text === "true";
  if (/^-?\d+(\.\d+)?$/.test(text) && Number.isFinite(Number(text))) return Number(text);
  return text.replace(/^"(.*)"$/, "$1");
}
