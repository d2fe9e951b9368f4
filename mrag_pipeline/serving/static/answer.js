// An answer on the page: drawn when it comes, standard RAG's put beside it when that comes.

import { aspectsOf } from "./aspects.js";
import { counted, duration, el, quoted } from "./elements.js";
import { hitList, standardList, unfoldable } from "./hits.js";
import { readQuery } from "./marked.js";
import { Trouble } from "./service.js";
import { verdictList, warningList } from "./verdicts.js";
import { voteTables } from "./votes.js";

const at = (id) => document.getElementById(id);
const results = at("results");

let seen = null; // what is drawn: the aspects, and the one that was chosen

/**
 * Draws an answer in place of the last.
 *
 * Args: index: the IndexState; compared: whether standard RAG's answer will follow;
 *   words: the element of an answer in words, or null.
 * Returns: what it came to, in words.
 */
export function draw(question, answer, { index, seconds, compared, words }) {
  const aspects = aspectsOf(answer);
  seen = { ...aspects, chosen: null };
  const aside = el("aside", { class: "beside", "aria-labelledby": "standard-title" });
  if (compared) {
    aside.append(
      el("h2", { id: "standard-title", tabindex: -1 }, "Standard RAG ", el("small", {}, "one vector, whole question")),
      el("div", { id: "standard" }, el("p", { class: "note" }, "Searching…")),
    );
  }
  const told = [warningList(answer), verdictList(answer)];
  const [warnings, verdicts] = told.map((list) => (list ? [list] : []));
  results.replaceChildren(
    ...warnings,
    ...(words ? [words] : []),
    ...(answer.hits.length
      ? [
          readQuery(question.query, answer, aspects, { focus: light, choose }),
          ...verdicts,
          el(
            "div",
            { class: compared ? "columns" : "" },
            el(
              "section",
              { "aria-labelledby": "ours-title" },
              el("h2", { id: "ours-title" }, quoted(answer.strategy), " ", order(answer), compared && jump()),
              el("div", { id: "ours" }, hitList(answer, aspects, null, light)),
            ),
            compared && aside,
          ),
          voteTables(answer, aspects, importance(index)),
        ]
      : [empty(question), ...verdicts]),
    provenance(answer, seconds),
  );
  unfoldable(at("ours") ?? results);
  const found = answer.hits.length ? counted(answer.hits.length, "hit") : "Nothing found";
  const of = answer.windows.length > 1 ? `, ${counted(aspects.aspects.length, "aspect")}` : "";
  return `${found}${of} in ${duration(seconds)}`;
}

/** Where the two do not stand side by side. */
const jump = () =>
  el("a", { class: "jump", href: "#standard-title", "data-to": "standard-title" }, "standard RAG");

const order = (answer) =>
  answer.windows.length > 1 ? el("small", {}, "ordered so that each aspect has its say") : null;

/** Puts standard RAG's answer, or the Trouble that came instead, beside the drawn one. */
export function compare(answer, others) {
  if (!at("standard")) return;
  if (others instanceof Trouble) {
    const { title, detail } = others.problem;
    at("standard").replaceChildren(
      el("p", { class: "note" }, "It could not be asked: ", quoted(detail || title)),
    );
    return;
  }
  const moved = answer.version !== others.version;
  const children = standardList(others, answer, seen.byWindow);
  at("standard").replaceChildren(
    ...children.filter(Boolean),
    ...(moved ? [el("p", { class: "note" }, `From version ${others.version}.`)] : []),
  );
  const open = new Set([...at("ours").querySelectorAll(".text.open")].map((one) => one.closest("li").id));
  at("ours").replaceChildren(hitList(answer, seen, others, light));
  unfoldable(at("ours"));
  for (const id of open) at(id)?.querySelector("button.link")?.click();
  select();
}

function empty(question) {
  return el(
    "div",
    { class: "empty" },
    el("h2", {}, "Nothing found"),
    el(
      "p",
      {},
      question.minScore !== null
        ? "No document is as near as the least score that was asked for. Lower it, or take it away."
        : question.filter
        ? "No document that the filter lets through got a vote. Take the filter away, or loosen it."
        : "No document got a vote. The index may be empty, or not yours to see.",
    ),
  );
}

function provenance(answer, seconds) {
  const stages = Object.entries(answer.seconds).filter(([name]) => name !== "total");
  const whole = stages.reduce((sum, [, value]) => sum + value, 0);
  const searches = answer.windows.length * answer.voters.length;
  const bar = el("span", { class: "timeline", "aria-hidden": "true" });
  for (const [at_, [, value]] of stages.entries()) {
    const part = el("span", { class: `stage stage-${at_ % 5}` });
    part.style.flexGrow = whole > 0 ? value / whole : 1;
    bar.append(part);
  }
  return el(
    "section",
    { class: "provenance", "aria-label": "Version and timings" },
    el(
      "p",
      {},
      "Version ",
      quoted(answer.version, { class: "id" }),
      `, ${counted(answer.windows.length, "window")} × ${counted(answer.voters.length, "voter")}`,
      ` = ${counted(searches, "ranking")}.`,
    ),
    bar,
    el(
      "dl",
      { class: "timings" },
      stages.map(([name, value], at_) =>
        el(
          "div",
          {},
          el("dt", {}, el("span", { class: `key stage-${at_ % 5}`, "aria-hidden": "true" }), name),
          el("dd", {}, duration(value)),
        ),
      ),
      el("div", {}, el("dt", {}, "in the browser"), el("dd", {}, duration(seconds))),
    ),
  );
}

const importance = (index) =>
  new Map((index?.heads ?? []).map((head) => [head.name, head.importance]));

function light(aspect) {
  select(aspect ?? seen?.chosen ?? null);
}

function choose(aspect) {
  seen.chosen = seen.chosen === aspect ? null : aspect;
  select(seen.chosen);
}

/** Shows one aspect: lit in the query, its hits clear and others faint if it is chosen. */
function select(lit = seen?.chosen ?? null) {
  const has = (element, aspect) =>
    Boolean(aspect) && element.dataset.aspects.split(" ").includes(String(aspect.number));
  for (const piece of results.querySelectorAll(".piece")) {
    piece.classList.toggle("lit", has(piece, lit));
    piece.style.setProperty("--lit", lit ? `var(--hue-${lit.hue})` : "transparent");
  }
  for (const hit of results.querySelectorAll(".hit")) {
    hit.classList.toggle("faint", Boolean(seen.chosen) && !has(hit, seen.chosen));
  }
  for (const chip of results.querySelectorAll(".chip")) {
    chip.setAttribute("aria-pressed", String(chip.dataset.aspect === String(seen.chosen?.number)));
  }
}
