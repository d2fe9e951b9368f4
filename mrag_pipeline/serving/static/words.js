// An answer in words as it is written: its citations in their aspects' colours, what it rests on,
// and what it has no source for.

import { aspectsOf } from "./aspects.js";
import { badge, counted, el, hue, quoted, spoken } from "./elements.js";

const CITATIONS = /\[(\d{1,4}(?:\s*,\s*\d{1,4})*)\]/g; // [2], and [1, 3] as some models write it

/** The panel of one answer. */
export class Words {
  /** Args: stop: called when the reader has seen enough. */
  constructor(stop) {
    this.hasBegun = false;
    this.text = "";
    this.given = null; // by number, once it is known: the passages that the model was given
    this.body = el("div", { class: "said", dir: "auto" });
    this.foot = el("div", { class: "foot" });
    this.stop = el("button", { type: "button", class: "link", onclick: stop }, "Stop");
    this.title = el("h2", { id: "words-title" }, "Answer ");
    this.element = el(
      "section",
      { class: "words-panel writing", "aria-labelledby": "words-title", "aria-busy": "true" },
      this.title,
      this.body,
      this.foot,
      this.stop,
    );
  }

  /** The search is over: its hits are what can be cited. */
  begin(answer) {
    this.hasBegun = true;
    this.hits = answer.hits;
    this.byWindow = aspectsOf(answer).byWindow;
  }

  /** The next piece; drawn with the next frame, however many come before it. */
  write(text) {
    this.text += text;
    this.frame ??= requestAnimationFrame(() => this.#draw());
  }

  /** The whole answer is there. Returns: what it came to, in words. */
  end({ answer, citations, unsourced, model }) {
    this.text = answer;
    this.given = new Set(citations.map(({ number }) => number));
    this.#draw();
    const cited = this.#cited();
    this.title.append(el("small", {}, "by ", quoted(model)));
    this.foot.append(
      ...[cited.length && this.#sources(cited), unsourced?.length && withoutSource(unsourced)].filter(Boolean),
    );
    this.#over();
    return `Answered from ${counted(cited.length, "passage")}.`;
  }

  /** The reader stopped it. */
  stopped() {
    this.foot.append(el("p", { class: "note" }, "Stopped."));
    this.#over();
    return "The answer was stopped.";
  }

  /** It broke off: what there is stays, with what went wrong below. */
  failed(panel) {
    this.foot.append(panel);
    this.#over();
    return "The answer broke off; the passages found are below.";
  }

  #over() {
    this.#draw();
    this.stop.remove();
    this.element.classList.remove("writing");
    this.element.setAttribute("aria-busy", "false");
  }

  #draw() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    const parts = [];
    let from = 0;
    for (const found of this.text.matchAll(CITATIONS)) {
      parts.push(this.text.slice(from, found.index));
      parts.push(found[1].split(",").map((number) => this.#citation(Number(number))));
      from = found.index + found[0].length;
    }
    this.body.replaceChildren(...el("p", {}, parts, this.text.slice(from)).childNodes);
  }

  #isGiven(number) {
    return Boolean(this.hits[number - 1]) && (!this.given || this.given.has(number));
  }

  #citation(number) {
    if (!this.#isGiven(number)) {
      return el("span", { class: "cite none", title: "no passage of the answer has this number" }, `[${number}]`);
    }
    const hit = this.hits[number - 1];
    const aspect = this.byWindow.get(hit.window) ?? null;
    return el(
      "a",
      {
        class: `cite ${hue(aspect)}`,
        href: `#hit-${number}`,
        "data-to": `hit-${number}`,
        title: [hit.title || hit.document_id, aspect && `aspect ${aspect.number}: ${aspect.text}`]
          .filter(Boolean)
          .join(" · "),
      },
      `[${number}]`,
    );
  }

  /** The numbers that are cited and were given, in the order of the hits. */
  #cited() {
    const numbers = [...this.text.matchAll(CITATIONS)].flatMap((found) => found[1].split(",").map(Number));
    return [...new Set(numbers)].filter((number) => this.#isGiven(number)).sort((a, b) => a - b);
  }

  #sources(cited) {
    return el(
      "ol",
      { class: "sources", "aria-label": "Sources" },
      cited.map((number) => {
        const hit = this.hits[number - 1];
        const aspect = this.byWindow.get(hit.window);
        const page = hit.metadata.page;
        return el(
          "li",
          {},
          this.#citation(number),
          " ",
          quoted(hit.title || hit.document_id),
          page !== undefined && el("span", { class: "place" }, ` p. ${page}`),
          this.byWindow.size > 1 && aspect && [" ", spoken("aspect "), badge(aspect, { title: aspect.text })],
        );
      }),
    );
  }
}

function withoutSource(aspects) {
  return el(
    "div",
    { class: "unsourced" },
    el("h3", {}, "No passage answers"),
    el("ul", {}, aspects.map((aspect) => el("li", {}, quoted(aspect.text)))),
  );
}
