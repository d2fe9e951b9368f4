// The form: what is typed as a question, and a question as what is typed.

import { el } from "./elements.js";

const at = (id) => document.getElementById(id);

/** The question as it stands there. */
export function typed(defaults) {
  const field = at("field").value.trim();
  return {
    query: at("query").value,
    strategy: at("strategy").value,
    words: at("words").checked && !at("words-label").hidden,
    k: at("k").valueAsNumber || defaults.k,
    minScore: Number.isNaN(at("min").valueAsNumber) ? null : at("min").valueAsNumber,
    windows: at("windows").value.split("\n").filter((text) => text.trim()),
    filter: field ? { field, op: at("op").value, value: at("value").value } : null,
  };
}

/** Writes a question into the form. */
export function type(question) {
  at("query").value = question.query;
  at("k").value = question.k;
  at("min").value = question.minScore ?? "";
  at("windows").value = question.windows.join("\n");
  at("field").value = question.filter?.field ?? "";
  at("op").value = question.filter?.op ?? "eq";
  at("value").value = question.filter?.value ?? "";
  at("more").open = Boolean(question.windows.length || question.filter || question.minScore !== null);
  if (![...at("strategy").options].some((option) => option.value === question.strategy)) {
    at("strategy").append(el("option", { value: question.strategy }, question.strategy));
  }
  at("strategy").value = question.strategy;
  at("words").checked = question.words;
  grow();
}

/** The box is as high as what is in it, to a limit. */
export function grow() {
  const box = at("query");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight + 2, innerHeight * 0.4)}px`;
}
