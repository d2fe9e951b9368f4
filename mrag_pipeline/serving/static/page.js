// The page: what is typed becomes a question, its two answers become what is seen.

import { compare, draw } from "./answer.js";
import { amounts, el, quoted } from "./elements.js";
import { grow, type, typed } from "./form.js";
import { bodyOf, hashOf, questionIn } from "./question.js";
import { Trouble, documents, indexState, keepKey, key, search, searched, worded } from "./service.js";
import { keyForm, troublePanel } from "./trouble.js";
import { tips } from "./votes.js";
import { Words } from "./words.js";

const STANDARD = "standard"; // the strategy that ours is set beside, as the service calls it
const at = (id) => document.getElementById(id);
const results = at("results");

let index = null; // IndexState, once it is known
let hasAnswer = false;
let running = null; // the AbortController of the question on its way
const defaults = { strategy: "", words: false, k: Number(at("k").defaultValue) }; // until the index is known

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
  const halt = new AbortController(); // stops the words, not the search beside
  const words = question.words ? new Words(() => halt.abort()) : null;
  const signal = AbortSignal.any([mine.signal, halt.signal]);
  const parts = (words ? worded : searched)(bodyOf(question), signal);
  const others = compared
    ? search(bodyOf(question, STANDARD), mine.signal).catch((trouble) => trouble)
    : Promise.resolve(null);
  try {
    for await (const { event, data } of parts) {
      if (running !== mine) return;
      if (event === "text") words.write(data.text);
      if (event === "done") say(words.end(data));
      if (event !== "search") continue;
      const seconds = (performance.now() - started) / 1000;
      words?.begin(data);
      say(draw(question, data, { index, seconds, compared, words: words?.element }));
      document.title = `${question.query.trim().slice(0, 60)} · Multi-Head RAG`;
      hasAnswer = true;
      busy(false);
      others.then((standard) => {
        if (running === mine && standard) compare(data, standard);
      });
    }
  } catch (trouble) {
    if (running !== mine) return;
    if (trouble.name === "AbortError") {
      if (words?.hasBegun) say(words.stopped());
      return;
    }
    if (!(trouble instanceof Trouble)) throw trouble;
    if (words?.hasBegun) {
      say(words.failed(troublePanel(trouble, () => ask(question))));
      return;
    }
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
  at("some").hidden = true;
  if (!results.childElementCount) {
    results.replaceChildren(
      el("div", { class: "skeleton", "aria-hidden": "true" }, [1, 2, 3].map(() => el("p"))),
    );
  }
}

const say = (text) => (at("status").textContent = text);

// ------------------------------------------------------------------ the form
function told() {
  const said = index?.strategies[at("strategy").value];
  at("strategy-is").textContent = said ? `${said}.` : "";
}

function send() {
  const question = typed(defaults);
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
  if (hasAnswer && at("query").value.trim()) send();
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
  const link = event.target.closest("a[data-to]");
  if (!link) return;
  event.preventDefault(); // the hash is the question's
  const target = at(link.dataset.to);
  target.scrollIntoView({ block: target.matches("li") ? "center" : "start" });
  target.focus({ preventScroll: true });
});
tips(results, at("tip"));

// ------------------------------------------------------------------ beginning
function fromAddress() {
  const question = questionIn(location.hash, defaults);
  if (!question.query) return;
  type(question);
  told();
  ask(question);
}

function describe(state) {
  index = state;
  defaults.strategy = state.default_strategy;
  defaults.k = state.default_k ?? defaults.k;
  defaults.words = Boolean(state.chat_model);
  at("words-label").hidden = !defaults.words;
  at("words-label").title = defaults.words ? `by ${state.chat_model}` : "";
  at("words").checked = defaults.words;
  at("k").defaultValue = defaults.k; // what is typed there stays
  const held = at("strategy").value;
  at("strategy").replaceChildren(
    ...Object.keys(state.strategies).map((name) => el("option", { value: name }, name)),
  );
  at("strategy").value = state.strategies[held] ? held : state.default_strategy;
  at("index").replaceChildren(
    quoted(state.index, { class: "id" }),
    amounts(
      [state.num_documents, "document"],
      [state.num_chunks, "passage"],
      [state.heads.length, "head"],
    ),
    el("span", { class: "model" }, " of ", quoted(state.model)),
  );
  suggest(state.examples);
  told();
}

/** Questions that a click asks. */
function suggest(questions) {
  const asks = (text) => () => {
    type({ ...typed(defaults), query: text });
    send();
  };
  const buttons = questions.map((text) => el("button", { type: "button", onclick: asks(text) }, quoted(text)));
  at("examples").replaceChildren(el("h2", {}, "Try"), el("ul", {}, buttons.map((button) => el("li", {}, button))));
  at("examples").hidden = !questions.length;
}

/** Where nobody wrote examples: some of the documents, and questions for two of them at once. */
async function introduce() {
  const { documents: some } = await documents({ limit: 6 }).catch((trouble) => {
    if (!(trouble instanceof Trouble)) throw trouble;
    return { documents: [] }; // the index was reached a moment ago: a question will tell
  });
  if (hasAnswer || running || !some.length) return;
  const subjects = some.map(({ title, text }) => title || text.split(/\s+/).slice(0, 8).join(" "));
  suggest([0, 2].filter((first) => subjects[first + 1]).map((first) => subjects.slice(first, first + 2).join(". ")));
  at("some").replaceChildren(
    el("h2", {}, "In this index ", el("a", { href: "documents" }, el("small", {}, "all documents"))),
    el(
      "ul",
      {},
      some.map((one) =>
        el(
          "li",
          {},
          el("a", { href: `documents#${new URLSearchParams({ id: one.document_id })}` }, quoted(one.title || one.document_id)),
          " ",
          el("small", { dir: "auto" }, one.text.slice(0, 120)),
        ),
      ),
    ),
  );
  at("some").hidden = false;
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
  if (!index.examples.length && !running) introduce();
}

if (matchMedia("(hover: hover)").matches && !location.hash) at("query").focus();
grow();
begin();
