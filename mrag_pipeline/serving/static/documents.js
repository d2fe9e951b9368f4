// The documents of the index: found by id or title, read passage by passage, and each passage's
// place in every head. What is shown stands in the address after the #: `find`, or `id` with a
// `passage` to begin at.

import { amounts, counted, el, quoted, spoken } from "./elements.js";
import { Trouble, document as read, documents, indexState, keepKey, key, neighbours } from "./service.js";
import { keyForm, troublePanel } from "./trouble.js";

const PAGE = 100; // passages that are read at once
const NEIGHBOURS = 5;
const at = (id) => document.getElementById(id);

let shown = null; // the AbortController of what is on its way

const addressOf = (wanted) => `#${new URLSearchParams(wanted)}`;

async function show() {
  shown?.abort();
  const mine = (shown = new AbortController());
  const wanted = new URLSearchParams(location.hash.slice(1));
  const id = wanted.get("id");
  at("text").value = wanted.get("find") ?? "";
  at("trouble").replaceChildren();
  at("found").setAttribute("aria-busy", "true");
  try {
    const said = id
      ? await drawDocument(id, wanted.get("passage"), mine.signal)
      : await drawList(wanted.get("find") ?? "", mine.signal);
    at("status").textContent = said;
  } catch (trouble) {
    if (shown !== mine || trouble.name === "AbortError") return;
    at("found").replaceChildren();
    at("status").textContent = "";
    refused(trouble);
  } finally {
    if (shown === mine) at("found").setAttribute("aria-busy", "false");
  }
}

function refused(trouble) {
  if (!(trouble instanceof Trouble)) throw trouble;
  if (trouble.problem.status !== 401) {
    at("trouble").replaceChildren(troublePanel(trouble, begin));
    return;
  }
  const form = keyForm(trouble, Boolean(key()), (value) => {
    keepKey(value);
    begin();
  });
  keepKey("");
  at("trouble").replaceChildren(form);
  form.querySelector("input").focus();
}

async function drawList(text, signal) {
  const { documents: some } = await documents({ text, limit: 50 }, signal);
  document.title = "Documents · Multi-Head RAG";
  at("found").replaceChildren(
    el(
      "ol",
      { class: "list" },
      some.map((one) =>
        el(
          "li",
          {},
          el(
            "h2",
            {},
            el("a", { href: addressOf({ id: one.document_id }) }, quoted(one.title || one.document_id)),
          ),
          one.title && one.title !== one.document_id && quoted(one.document_id, { class: "id" }),
          el("p", { dir: "auto" }, one.text),
        ),
      ),
    ),
  );
  if (!text) return some.length ? `Some of its documents: ${some.length} shown.` : "The index has no document for you.";
  return some.length
    ? counted(some.length, "document")
    : `No id and no title begins with “${text}”. What a document says is found by a search.`;
}

async function drawDocument(id, passage, signal) {
  const whole = await read({ id, limit: PAGE }, signal);
  document.title = `${(whole.title || id).slice(0, 60)} · Multi-Head RAG`;
  const list = el("ol", { class: "passages" });
  const more = el("button", { type: "button", class: "more-passages" }, "Show more passages");
  const add = (passages) => {
    list.append(...passages.map(passageOf));
    more.hidden = list.childElementCount >= whole.num_passages;
  };
  more.addEventListener("click", async () => {
    more.disabled = true;
    try {
      add((await read({ id, offset: list.childElementCount, limit: PAGE }, signal)).passages);
    } catch (trouble) {
      if (trouble.name !== "AbortError") refused(trouble);
    }
    more.disabled = false;
  });
  add(whole.passages);
  at("found").replaceChildren(
    el(
      "article",
      { class: "document" },
      el("h2", {}, quoted(whole.title || id)),
      el(
        "p",
        { class: "facts" },
        quoted(id, { class: "id" }),
        Object.entries(whole.metadata).map(([name, value]) =>
          el(
            "span",
            {},
            quoted(name, { class: "field" }),
            " ",
            quoted(typeof value === "string" ? value : JSON.stringify(value)),
          ),
        ),
        el("a", { href: `./${addressOf({ q: whole.title || whole.passages[0].text.slice(0, 200) })}` }, "Search for it"),
      ),
      list,
      more,
    ),
  );
  const meant = passage && at(`passage-${passage}`);
  if (meant) {
    meant.classList.add("meant");
    meant.scrollIntoView();
    meant.focus({ preventScroll: true });
  }
  return `${counted(whole.num_passages, "passage")} of one document.`;
}

function passageOf(passage) {
  const place = el("div", {});
  const button = el("button", { type: "button", class: "link", "aria-expanded": "false" }, "Its place in every head");
  button.addEventListener("click", async () => {
    const isOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) return place.replaceChildren();
    place.replaceChildren(el("p", { class: "note" }, "Searching every head…"));
    try {
      place.replaceChildren(around(await neighbours(passage.chunk_id, { k: NEIGHBOURS })));
    } catch (trouble) {
      if (!(trouble instanceof Trouble)) throw trouble;
      place.replaceChildren(troublePanel(trouble, () => { button.click(); button.click(); }));
    }
    return undefined;
  });
  return el(
    "li",
    { id: `passage-${passage.chunk_id}`, tabindex: -1 },
    el("p", { class: "facts" }, `passage ${passage.ordinal + 1}, characters ${passage.start}–${passage.end}`),
    el("div", { class: "text", dir: "auto" }, passage.text),
    button,
    place,
  );
}

/** The documents around a passage: those that most voters have first, then each voter's own. */
function around({ voters }) {
  const counts = new Map();
  for (const { neighbours: near } of voters) {
    for (const one of near) {
      const held = counts.get(one.document_id) ?? { one, voters: 0 };
      counts.set(one.document_id, { ...held, voters: held.voters + 1 });
    }
  }
  const most = [...counts.values()].sort((a, b) => b.voters - a.voters).slice(0, 3);
  return el(
    "section",
    { class: "around", "aria-label": "Its place in every head" },
    most.length
      ? el(
          "p",
          {},
          "Near it in most spaces: ",
          most.map(({ one, voters: number }, rank) => [
            rank > 0 && ", ",
            linkTo(one),
            ` (${number} of ${voters.length})`,
          ]),
        )
      : el("p", {}, "No other document is here."),
    el(
      "table",
      {},
      el("caption", { class: "spoken" }, "The documents nearest to the passage, by voter"),
      el(
        "tbody",
        {},
        voters.map(({ voter, neighbours: near }) =>
          el(
            "tr",
            {},
            el("th", { scope: "row", class: "id" }, voter),
            el(
              "td",
              {},
              near.map((one) => el("span", {}, linkTo(one), " ", el("small", {}, spoken("cosine "), one.cosine.toFixed(2)))),
            ),
          ),
        ),
      ),
    ),
  );
}

const linkTo = (one) =>
  el(
    "a",
    { href: addressOf({ id: one.document_id, passage: one.chunk_id }) },
    quoted(one.title || one.document_id),
  );

at("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const hash = addressOf({ find: at("text").value.trim() });
  if (hash === location.hash) show();
  else location.hash = hash;
});
addEventListener("hashchange", show);

async function begin() {
  show();
  try {
    const state = await indexState();
    at("version").replaceChildren(
      quoted(state.index, { class: "id" }),
      amounts([state.num_documents, "document"], [state.num_chunks, "passage"]),
    );
  } catch (trouble) {
    if (!(trouble instanceof Trouble)) throw trouble; // what is wrong is told where documents would be
  }
}

begin();
