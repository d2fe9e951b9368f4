// Who voted for what: tables whose cells are coloured by their value. A real table, so that it
// can be read out; one stop of the Tab key each, arrows go from cell to cell.

import { badge, el, hue, quoted, share, spoken, vote } from "./elements.js";

const LABELLED_COLUMNS = 24; // more hits than these have only numbers over them

/** Voters x hits and windows x hits of an answer. */
export function voteTables(answer, { aspects, rest }, importance) {
  const voters = answer.voters.map((name, row) => ({
    name,
    label: [quoted(name, { class: "id" }), weight(importance.get(name))],
    hue: "hue-ink",
    values: answer.hits.map((hit) => hit.votes_by_voter[row] ?? 0),
  }));
  const heard = aspects.map((aspect) => ({
    name: `aspect ${aspect.number}`,
    label: [badge(aspect), " ", quoted(aspect.text, { class: "window-text", title: aspect.text })],
    hue: hue(aspect),
    values: answer.hits.map((hit) => hit.votes_by_window[aspect.window] ?? 0),
  }));
  const others = rest.map((part) => ({
    name: `window “${part.text}”`,
    label: [quoted(part.text, { class: "window-text", title: part.text })],
    hue: "hue-0",
    isExtra: true,
    values: answer.hits.map((hit) => hit.votes_by_window[part.window] ?? 0),
  }));
  return el(
    "section",
    { class: "votes", "aria-labelledby": "votes-title" },
    el("h2", { id: "votes-title" }, "Who voted"),
    answer.missing_voters.length > 0 &&
      el(
        "p",
        { class: "note" },
        `Without ${answer.missing_voters.join(", ")}: no answer in time, and the question allowed it.`,
      ),
    el(
      "div",
      { class: "tables" },
      heatTable("heat-voters", "Voters by hits", voters, answer.hits),
      answer.windows.length > 1 &&
        heatTable("heat-windows", "Windows by hits", [...heard, ...others], answer.hits),
    ),
  );
}

const weight = (value) =>
  value === undefined
    ? null
    : el("small", { title: "importance: what its votes weigh" }, ` ${value.toFixed(2)}`);

/** Rows that are extra are only made when they are asked for. */
function heatTable(id, caption, rows, hits) {
  const most = Math.max(...rows.map((row) => Math.max(...row.values)), Number.MIN_VALUE);
  const sums = hits.map((_, at) => rows.reduce((sum, row) => sum + row.values[at], 0));
  const shown = rows.filter((row) => !row.isExtra);
  const lines = (some) => some.map((row) => line(row, hits, sums, most));
  const body = el("tbody", {}, lines(shown));
  const table = el(
    "table",
    { class: "heat", id, "aria-describedby": `${id}-how` },
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, el("td", {}), hits.map((hit, at) => heading(hit, at, hits.length)))),
    body,
  );
  arrows(table);
  const unfold = (event) => {
    const isOpen = body.rows.length > shown.length;
    if (isOpen) [...body.rows].slice(shown.length).forEach((row) => row.remove());
    else body.append(...lines(rows.slice(shown.length)));
    event.currentTarget.setAttribute("aria-expanded", String(!isOpen));
    event.currentTarget.textContent = isOpen ? `All ${rows.length} windows` : "Only the aspects";
  };
  return el(
    "figure",
    { class: "heat-figure" },
    el("div", { class: "scroll" }, table),
    el(
      "figcaption",
      { id: `${id}-how` },
      `From none to ${vote(most)}. Point at a cell, or move with the arrow keys, for its value. `,
      rows.length > shown.length &&
        el(
          "button",
          {
            type: "button",
            class: "link",
            "aria-expanded": "false",
            "aria-controls": id,
            onclick: unfold,
          },
          `All ${rows.length} windows`,
        ),
    ),
  );
}

function heading(hit, at, numHits) {
  const name = hit.title || hit.document_id;
  return el(
    "th",
    { scope: "col", title: name },
    numHits <= LABELLED_COLUMNS && quoted(name, { class: "over" }),
    el("a", { href: `#hit-${at + 1}`, "data-to": `hit-${at + 1}` }, spoken("hit "), at + 1),
  );
}

/** One voter's, or one window's, row. */
function line(row, hits, sums, most) {
  const cells = row.values.map((value, at) => {
    const part = share(value, sums[at]);
    const name = hits[at].title || hits[at].document_id;
    const tip = `${row.name} gave hit ${at + 1}, ${name}: ${vote(value)}, ${part} of what it got`;
    const cell = el("td", { tabindex: -1, "data-tip": tip }, spoken(`${vote(value)} (${part})`));
    // The root shows small votes too: most are far below the largest.
    cell.style.setProperty("--heat", `${(100 * Math.sqrt(value / most)).toFixed(1)}%`);
    return cell;
  });
  return el("tr", { class: row.hue }, el("th", { scope: "row" }, row.label), cells);
}

/** One cell is in the Tab order; arrows, Home and End move it. */
function arrows(table) {
  const cells = () =>
    [...table.tBodies[0].rows].map((row) => [...row.querySelectorAll("td")]);
  const first = table.querySelector("tbody td");
  if (first) first.tabIndex = 0;
  table.addEventListener("focusin", ({ target }) => {
    if (target.tagName !== "TD") return;
    for (const cell of table.querySelectorAll('td[tabindex="0"]')) cell.tabIndex = -1;
    target.tabIndex = 0;
  });
  table.addEventListener("keydown", (event) => {
    if (event.target.tagName !== "TD" || event.ctrlKey || event.metaKey || event.altKey) return;
    const grid = cells();
    const row = grid.findIndex((line) => line.includes(event.target));
    const column = grid[row].indexOf(event.target);
    const [down, right] = {
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
      Home: [0, -column],
      End: [0, grid[row].length - 1 - column],
    }[event.key] ?? [0, null];
    if (right === null) return;
    event.preventDefault();
    grid[row + down]?.[column + right]?.focus();
  });
}

/** Shows a cell's value beside it while it is pointed at or has the focus. */
export function tips(root, tip) {
  let focused = null;
  const show = (cell) => {
    tip.textContent = cell.dataset.tip;
    tip.hidden = false;
    const at = cell.getBoundingClientRect();
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left + at.width / 2 - width / 2), innerWidth - width - 8);
    const above = at.top - height - 8;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${above > 8 ? above : at.bottom + 8}px`;
  };
  const hide = () => {
    if (focused?.isConnected && focused === document.activeElement) show(focused);
    else tip.hidden = true;
  };
  const cellOf = (event) => event.target.closest?.("td[data-tip]");
  root.addEventListener("mouseover", (event) => (cellOf(event) ? show(cellOf(event)) : hide()));
  root.addEventListener("mouseleave", hide);
  root.addEventListener("focusin", (event) => {
    focused = cellOf(event) ?? null;
    if (focused) show(focused);
    else tip.hidden = true;
  });
  root.addEventListener("focusout", () => {
    focused = null;
    tip.hidden = true;
  });
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape") tip.hidden = true;
  });
  addEventListener("scroll", () => (tip.hidden = true), { passive: true, capture: true });
}
