// The documents found: ours in full, standard RAG's beside them in short.

import { sharesOf } from "./aspects.js";
import { badge, colour, counted, el, hue, quoted, share, spoken, vote } from "./elements.js";

/** Our hits, best first. `others` is standard RAG's answer once there is one, else null. */
export function hitList(answer, { byWindow, around }, others, focus) {
  const places = ranks(others);
  return el(
    "ol",
    { class: "hits" },
    answer.hits.map((hit, rank) => {
      const aspect = byWindow.get(hit.window) ?? null;
      const shares = sharesOf(hit, around);
      return el(
        "li",
        {
          class: `hit ${hue(aspect)}`,
          id: `hit-${rank + 1}`,
          tabindex: -1,
          "data-aspects": shares
            .filter((one) => one.aspect && one.part >= 0.25)
            .map((one) => one.aspect.number)
            .join(" "),
          onmouseenter: () => focus(aspect),
          onmouseleave: () => focus(null),
        },
        el(
          "h3",
          {},
          el("span", { class: "rank", "aria-hidden": "true" }, rank + 1),
          quoted(hit.title || hit.document_id),
          others && beside(hit, places),
        ),
        facts(hit),
        passage(hit, aspect, shares),
        brought(hit, shares, answer.windows.length),
      );
    }),
  );
}

/** Whether standard RAG has a hit too. */
function beside(hit, places) {
  const place = places.get(hit.document_id);
  return place === undefined
    ? el("span", { class: "mark only" }, "only ours")
    : el("span", { class: "mark" }, `standard #${place + 1}`);
}

function facts(hit) {
  const pairs = Object.entries(hit.metadata);
  return el(
    "p",
    { class: "facts" },
    hit.title && hit.title !== hit.document_id && [spoken("Document "), quoted(hit.document_id, { class: "id" })],
    el(
      "a",
      {
        href: `documents#${new URLSearchParams({ id: hit.document_id, passage: hit.chunk_id })}`,
        title: "the whole document, and this passage's place in every head",
      },
      `passage ${hit.ordinal + 1}, characters ${hit.start}–${hit.end}`,
    ),
    pairs.slice(0, 6).map(([name, value]) => pair(name, value)),
    pairs.length > 6 && el("span", {}, `${counted(pairs.length - 6, "more field")}`),
  );
}

function pair(name, value) {
  const told = typeof value === "string" ? value : JSON.stringify(value);
  const short = told.length > 120 ? `${Array.from(told).slice(0, 120).join("")}…` : told;
  return el("span", {}, quoted(name, { class: "field" }), " ", quoted(short));
}

/** The passage on its aspect's tint; the bar beside it is parted as its vote is. */
function passage(hit, aspect, shares) {
  const text = el("div", { class: "text", dir: "auto" }, hit.text);
  const bar = el("span", { class: "bar", "aria-hidden": "true" });
  bar.style.backgroundImage = stripes(shares);
  return el("div", { class: `passage ${hue(aspect)}` }, bar, text);
}

function stripes(shares) {
  let from = 0;
  const stops = shares.map(({ aspect, part }) => {
    const start = from;
    from += 100 * part;
    return `${colour(aspect)} ${start.toFixed(2)}% ${from.toFixed(2)}%`;
  });
  return `linear-gradient(${stops.join(", ")})`;
}

function brought(hit, shares, numWindows) {
  const told = shares.filter((one) => one.part >= 0.05).slice(0, 4);
  return el(
    "p",
    { class: "brought" },
    el("span", { class: "vote" }, `vote ${vote(hit.vote)}`),
    scores(hit).map((score) => el("span", {}, score)),
    numWindows > 1 &&
      told.map(({ aspect, part }) =>
        el(
          "span",
          { title: aspect && `aspect ${aspect.number} and the windows around it` },
          aspect ? [spoken("aspect "), badge(aspect)] : "other windows",
          ` ${share(part, 1)}`,
        ),
      ),
  );
}

/** What compares between questions, as far as the service knows it. */
function scores({ cosine, bm25 }) {
  const known = (value) => value !== null && value !== undefined;
  return [
    known(cosine) && `cosine ${cosine.toFixed(2)}`,
    known(bm25) && `BM25 ${bm25.toFixed(1)}`,
  ].filter(Boolean);
}

/** Adds `Show all` to the passages that do not fit; call it when they are on the page. */
export function unfoldable(list) {
  for (const text of list.querySelectorAll(".passage > .text")) {
    if (text.scrollHeight <= text.clientHeight + 4) continue;
    text.classList.add("cut");
    const button = el("button", { type: "button", class: "link", "aria-expanded": "false" }, "Show all");
    button.addEventListener("click", () => {
      const open = text.classList.toggle("open");
      button.setAttribute("aria-expanded", String(open));
      button.textContent = open ? "Show less" : "Show all";
    });
    text.parentElement.after(button);
  }
}

/** Standard RAG's answer, and what of ours it has. */
export function standardList(others, answer, byWindow) {
  const places = ranks(answer);
  const both = others.hits.filter((hit) => places.has(hit.document_id));
  const found = new Set(
    both.map((hit) => byWindow.get(answer.hits[places.get(hit.document_id)].window)),
  );
  found.delete(undefined);
  return [
    el(
      "p",
      { class: "coverage" },
      `${both.length} of its ${counted(others.hits.length, "hit")} ${both.length === 1 ? "is" : "are"} ours too`,
      answer.windows.length > 1 && [
        ", of ",
        el("strong", {}, `${found.size} of the ${counted(byWindow.size, "aspect")}`),
        " ",
        el(
          "span",
          { class: "dots" },
          [...byWindow.values()].map((aspect) =>
            badge(aspect, {
              class: `badge ${hue(aspect)}${found.has(aspect) ? "" : " missed"}`,
              title: `${found.has(aspect) ? "found" : "missed"}: ${aspect.text}`,
            }),
          ),
        ),
      ],
    ),
    el(
      "ol",
      { class: "others" },
      others.hits.map((hit, rank) => {
        const place = places.get(hit.document_id);
        const aspect = place === undefined ? null : byWindow.get(answer.hits[place].window);
        return el(
          "li",
          { class: place === undefined ? "" : `shared ${hue(aspect)}` },
          el(
            "details",
            {},
            el(
              "summary",
              {},
              el("span", { class: "rank", "aria-hidden": "true" }, rank + 1),
              quoted(hit.title || hit.document_id),
              place === undefined
                ? el("span", { class: "mark" }, "not in ours")
                : el("span", { class: "mark" }, "ours ", `#${place + 1}`),
            ),
            hit.title && hit.title !== hit.document_id
              ? el("p", { class: "facts" }, quoted(hit.document_id, { class: "id" }))
              : null,
            el("div", { class: "text", dir: "auto" }, hit.text),
          ),
        );
      }),
    ),
  ];
}

/** The rank of each document in an answer, from 0. */
function ranks(answer) {
  return new Map((answer?.hits ?? []).map((hit, rank) => [hit.document_id, rank]));
}
