// What the index has on each aspect of the question, and what the service warns of.

import { el, quoted } from "./elements.js";

const CLASSES = { found: "found", weak: "weak", "nothing here": "nothing" };

/** A line for each aspect with its verdict; null if the service gives none. */
export function verdictList(answer) {
  const judged = (answer.aspects ?? []).filter((aspect) => CLASSES[aspect.verdict]);
  if (!judged.length) return null;
  return el(
    "section",
    { class: "verdicts", "aria-labelledby": "verdicts-title" },
    el("h2", { id: "verdicts-title" }, "In this index ", levels(answer)),
    el(
      "ul",
      {},
      judged.map((aspect) =>
        el(
          "li",
          {},
          el("span", { class: `verdict ${CLASSES[aspect.verdict]}` }, aspect.verdict),
          quoted(aspect.text, { class: "said" }),
          aspect.nearness !== null && el("small", { title: "nearness" }, aspect.nearness.toFixed(2)),
        ),
      ),
    ),
  );
}

const levels = ({ levels }) =>
  levels && el("small", {}, `weak from ${levels.weak.toFixed(2)}, found from ${levels.found.toFixed(2)}`);

/** What the caller should know of the answer; null if nothing. */
export function warningList(answer) {
  if (!answer.warnings?.length) return null;
  return el(
    "ul",
    { class: "warnings", "aria-label": "Warnings" },
    answer.warnings.map((warning) => el("li", {}, quoted(warning))),
  );
}
