// The query as it was read: each aspect underlined in its colour, and as a chip.

import { piecesOf } from "./aspects.js";
import { badge, colour, counted, el, hue, quoted } from "./elements.js";

/**
 * The query with its aspects marked, the chips, and the windows that brought nothing.
 *
 * Args: focus: what to call with an aspect when it is pointed at, null when no more;
 *   choose: what to call with an aspect when its chip is pressed.
 */
export function readQuery(query, answer, { aspects, rest }, { focus, choose }) {
  const several = answer.windows.length > 1;
  const given = answer.windows.some((part) => part.scale === "sub-query");
  return el(
    "section",
    { class: "read", "aria-labelledby": "read-title" },
    el(
      "h2",
      { id: "read-title" },
      several ? `${counted(aspects.length, "aspect")} found` : "Searched as one piece",
      several && el("small", {}, ` in ${answer.windows.length} windows of the question`),
    ),
    several && !given && markedQuery(query, aspects),
    several && chips(aspects, focus, choose),
    rest.length > 0 && several && unheard(rest, aspects),
  );
}

function markedQuery(query, aspects) {
  const { lanes, pieces } = piecesOf(query, aspects);
  const text = el("p", { class: "marked", dir: "auto", tabindex: query.length > 1200 ? 0 : null });
  text.style.setProperty("--lanes", lanes);
  for (const piece of pieces) {
    const span = el(
      "span",
      { class: "piece", "data-aspects": piece.aspects.map(({ aspect }) => aspect.number).join(" ") },
      piece.starts.map((aspect) => badge(aspect, { "aria-hidden": "true" })),
      piece.text,
    );
    const lines = piece.aspects.map(({ aspect }) => `linear-gradient(${colour(aspect)} 0 0)`);
    const places = piece.aspects.map(({ lane }) => `0 calc(100% - ${(lanes - 1 - lane) * 5}px)`);
    span.style.backgroundImage = lines.join(", ");
    span.style.backgroundPosition = places.join(", ");
    text.append(span);
  }
  return text;
}

function chips(aspects, focus, choose) {
  return el(
    "ol",
    { class: "chips", "aria-label": "Aspects" },
    aspects.map((aspect) =>
      el(
        "li",
        {},
        el(
          "button",
          {
            type: "button",
            class: `chip ${hue(aspect)}`,
            "aria-pressed": "false",
            "data-aspect": aspect.number,
            title: aspect.text,
            onclick: () => choose(aspect),
            onmouseenter: () => focus(aspect),
            onmouseleave: () => focus(null),
            onfocus: () => focus(aspect),
            onblur: () => focus(null),
          },
          badge(aspect),
          " ",
          beginningAndEnd(aspect.text),
          el("span", { class: "chip-count" }, counted(aspect.hits.length, "hit")),
        ),
      ),
    ),
  );
}

/** A text whose middle goes where there is no room: windows often begin alike. */
function beginningAndEnd(text) {
  const space = text.length > 40 ? text.indexOf(" ", text.length - 20) : -1;
  const cut = space < 0 ? text.length : space + 1;
  return el(
    "bdi",
    { class: "chip-text", dir: "auto" },
    el("span", { class: "head" }, text.slice(0, cut)),
    el("span", { class: "tail" }, text.slice(cut)),
  );
}

/** The windows that are no hit's first, under the aspect that they overlap most. */
function unheard(rest, aspects) {
  const groups = [...aspects, null]
    .map((near) => ({ near, windows: rest.filter((part) => part.near === near) }))
    .filter(({ windows }) => windows.length);
  return el(
    "details",
    { class: "unheard" },
    el("summary", {}, `${counted(rest.length, "more window")} that brought no hit of ${
      rest.length === 1 ? "its" : "their"
    } own`),
    groups.map(({ near, windows }) =>
      el(
        "div",
        { class: "group" },
        el("h3", {}, near ? ["Around ", badge(near)] : "Elsewhere"),
        el(
          "ul",
          {},
          windows.map((part) => el("li", {}, quoted(part.text), el("small", {}, ` ${part.scale}`))),
        ),
      ),
    ),
  );
}
