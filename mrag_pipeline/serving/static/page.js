// The page: what is typed becomes a question, its two answers become what is seen.

import { hashOf, questionIn } from "./address.js";
import { aspectsOf } from "./aspects.js";
import { counted, duration, el, quoted } from "./elements.js";
import { hitList, standardList, unfoldable } from "./hits.js";
import { readQuery } from "./marked.js";
import { Trouble, indexState, keepKey, key, search } from "./service.js";
import { keyForm, troublePanel } from "./trouble.js";
import { tips, voteTables } from "./votes.js";

const STANDARD = "standard"; // the strategy that ours is set beside, as the service calls it
const at = (id) => document.getElementById(id);
const results = at("results");

let index = null; // IndexState, once it is known
let running = null; // the AbortController of the question on its way
const defaults = { strategy: "aspect", k: Number(at("k").defaultValue) };

// ------------------------------------------------------------------ the question
function typed() {
  const field = at("field").value.trim();
  return {
    query: at("query").value,
    strategy: at("strategy").value,
    k: at("k").valueAsNumber || defaults.k,
    windows: at("windows").value.split("\n").filter((text) => text.trim()),
    filter: field ? { field, op: at("op").value, value: at("value").value } : null,
  };
}

function type(question) {
  at("query").value = question.query;
  at("k").value = question.k;
  at("windows").value = question.windows.join("\n");
  at("field").value = question.filter?.field ?? "";
  at("op").value = question.filter?.op ?? "eq";
  at("value").value = question.filter?.value ?? "";
  at("more").open = Boolean(question.windows.length || question.filter);
  if (![...at("strategy").options].some((option) => option.value === question.strategy)) {
    at("strategy").append(el("option", { value: question.strategy }, question.strategy));
  }
  at("strategy").value = question.strategy;
  told();
  grow();
}

/** What goes over the wire; `strategy` may be another than the question's. */
function bodyOf(question, strategy = question.strategy) {
  const body = { query: question.query, k: question.k, strategy };
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

// ------------------------------------------------------------------ asking
async function ask(question) {
  running?.abort();
  if (!question.query.trim()) {
    at("query").focus();
    return;
  }
  const mine = (running = new AbortController());
  busy(true);
  at("trouble").replaceChildren();
  const started = performance.now();
  const compared = question.strategy !== STANDARD;
  const ours = search(bodyOf(question), mine.signal);
  const others = compared
    ? search(bodyOf(question, STANDARD), mine.signal).catch((trouble) => trouble)
    : Promise.resolve(null);
  try {
    const answer = await ours;
    const seconds = (performance.now() - started) / 1000;
    if (running !== mine) return;
    draw(question, answer, seconds, compared);
    busy(false);
    compare(answer, await others, () => running === mine);
  } catch (trouble) {
    if (running !== mine || trouble.name === "AbortError") return;
    if (!(trouble instanceof Trouble)) throw trouble;
    results.replaceChildren();
    say("");
    refused(trouble, () => ask(question));
    busy(false);
  } finally {
    at("forget").hidden = !key();
  }
}

function refused(trouble, retry) {
  if (trouble.problem.status !== 401) {
    at("trouble").replaceChildren(troublePanel(trouble, retry));
    return;
  }
  const form = keyForm(trouble, Boolean(key()), (value) => {
    keepKey(value);
    at("forget").hidden = false;
    at("trouble").replaceChildren();
    if (!index) begin();
    else retry();
  });
  keepKey("");
  at("trouble").replaceChildren(form);
  form.querySelector("input").focus();
}

function busy(is) {
  results.setAttribute("aria-busy", String(is));
  at("submit").classList.toggle("busy", is);
  at("submit").textContent = is ? "Asking" : "Ask";
  if (!is) return;
  say("Searching…");
  at("examples").hidden = true;
  if (!results.childElementCount) {
    results.replaceChildren(
      el("div", { class: "skeleton", "aria-hidden": "true" }, [1, 2, 3].map(() => el("p"))),
    );
  }
}

const say = (text) => (at("status").textContent = text);

// ------------------------------------------------------------------ the answers
let seen = null; // what is drawn: {answer, aspects, ...}

function draw(question, answer, seconds, compared) {
  const aspects = aspectsOf(answer);
  seen = { answer, ...aspects, chosen: null };
  const aside = el("aside", { class: "beside", "aria-labelledby": "standard-title" });
  if (compared) {
    aside.append(
      el("h2", { id: "standard-title" }, "Standard RAG ", el("small", {}, "one vector, whole question")),
      el("div", { id: "standard" }, el("p", { class: "note" }, "Searching…")),
    );
  }
  results.replaceChildren(
    ...(answer.hits.length
      ? [
          readQuery(question.query, answer, aspects, { focus: light, choose }),
          el(
            "div",
            { class: compared ? "columns" : "" },
            el(
              "section",
              { "aria-labelledby": "ours-title" },
              el("h2", { id: "ours-title" }, quoted(answer.strategy), " ", order(answer)),
              el("div", { id: "ours" }, hitList(answer, aspects, null, light)),
            ),
            compared && aside,
          ),
          voteTables(answer, aspects, importance()),
        ]
      : [empty(question)]),
    provenance(answer, seconds),
  );
  unfoldable(at("ours") ?? results);
  const found = answer.hits.length ? counted(answer.hits.length, "hit") : "Nothing found";
  const of = answer.windows.length > 1 ? `, ${counted(aspects.aspects.length, "aspect")}` : "";
  say(`${found}${of} in ${duration(seconds)}`);
  document.title = `${question.query.trim().slice(0, 60)} · Multi-Head RAG`;
}

const order = (answer) =>
  answer.windows.length > 1 ? el("small", {}, "ordered so that each aspect has its say") : null;

function compare(answer, others, isCurrent) {
  if (!isCurrent() || others === null || !at("standard")) return;
  if (others instanceof Trouble) {
    const { title, detail } = others.problem;
    at("standard").replaceChildren(
      el("p", { class: "note" }, "It could not be asked: ", quoted(detail || title)),
    );
    return;
  }
  if (others instanceof Error) return;
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
      question.filter
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

const importance = () => new Map((index?.heads ?? []).map((head) => [head.name, head.importance]));

// ------------------------------------------------------------------ one aspect among others
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

// ------------------------------------------------------------------ the form
function told() {
  const said = index?.strategies[at("strategy").value];
  at("strategy-is").textContent = said ? `${said}.` : "";
}

/** The box is as high as what is in it, to a limit. */
function grow() {
  const box = at("query");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight + 2, innerHeight * 0.4)}px`;
}

function send() {
  const question = typed();
  const hash = hashOf(question, defaults);
  if (hash && hash !== location.hash) history.pushState(null, "", hash);
  ask(question);
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
at("query").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at("ask").requestSubmit();
});
at("query").addEventListener("input", grow);
at("strategy").addEventListener("change", () => {
  told();
  if (seen && at("query").value.trim()) send();
});
at("forget").addEventListener("click", () => {
  keepKey("");
  at("forget").hidden = true;
  say("The API key is forgotten.");
});
addEventListener("keydown", (event) => {
  const inField = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || inField || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  at("query").focus();
  at("query").select();
});
addEventListener("popstate", fromAddress);
results.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-hit]");
  if (!link) return;
  event.preventDefault(); // the hash is the question's
  const hit = at(`hit-${link.dataset.hit}`);
  hit.scrollIntoView({ block: "center" });
  hit.focus({ preventScroll: true });
});
tips(results, at("tip"));

// ------------------------------------------------------------------ beginning
function fromAddress() {
  const question = questionIn(location.hash, defaults);
  if (!question.query) return;
  type(question);
  ask(question);
}

function describe(state) {
  index = state;
  defaults.strategy = state.default_strategy;
  const held = at("strategy").value;
  at("strategy").replaceChildren(
    ...Object.keys(state.strategies).map((name) => el("option", { value: name }, name)),
  );
  at("strategy").value = state.strategies[held] ? held : state.default_strategy;
  at("index").replaceChildren(
    quoted(state.index, { class: "id" }),
    ` ${counted(state.num_documents, "document")}, ${counted(state.num_chunks, "passage")}, `,
    `${counted(state.heads.length, "head")}`,
    el("span", { class: "model" }, " of ", quoted(state.model)),
  );
  at("examples").replaceChildren(
    el("h2", {}, "Try"),
    el(
      "ul",
      {},
      state.examples.map((text) =>
        el(
          "li",
          {},
          el(
            "button",
            {
              type: "button",
              onclick: () => {
                type({ ...typed(), query: text });
                send();
              },
            },
            quoted(text),
          ),
        ),
      ),
    ),
  );
  at("examples").hidden = !state.examples.length;
  told();
}

async function begin() {
  at("forget").hidden = !key();
  try {
    describe(await indexState());
  } catch (trouble) {
    if (!(trouble instanceof Trouble)) throw trouble;
    refused(trouble, () => {
      at("trouble").replaceChildren();
      begin();
    });
    return;
  }
  fromAddress();
}

if (matchMedia("(hover: hover)").matches && !location.hash) at("query").focus();
grow();
begin();
