// Which windows of a query count as its aspects, and where they lie. Pure: no DOM.
//
// A window is a piece of the query that was searched on its own. There may be 128 of them, most
// overlapping others, so those that brought a hit come first, numbered in the order of their best
// hits; the rest are told by the aspect that they overlap most.

export const NUM_HUES = 8;
const MAX_LANES = 5;
// Shared characters by all of both: half-overlapping windows of one length have a third.
const MIN_LIKENESS = 0.3;
const MIN_LENGTHS = 0.5; // the shorter one's by the longer one's: a whole query is near no part

/**
 * The aspects of an answer.
 *
 * Returns: `aspects`, each {window, number (from 1), hue (1 to NUM_HUES), hits (ranks from 0),
 * text, start, end, scale}; `byWindow`, a Map from window to aspect; `rest`, the other windows,
 * each {window, text, scale, near}: `near` is the aspect it overlaps most, or null.
 * `around` is a Map from every window to the aspect it is or is near.
 */
export function aspectsOf(answer) {
  const byWindow = new Map();
  answer.hits.forEach((hit, rank) => {
    if (!answer.windows[hit.window]) return;
    if (!byWindow.has(hit.window)) {
      const number = byWindow.size + 1;
      byWindow.set(hit.window, {
        ...answer.windows[hit.window],
        window: hit.window,
        number,
        hue: ((number - 1) % NUM_HUES) + 1,
        hits: [],
      });
    }
    byWindow.get(hit.window).hits.push(rank);
  });
  const aspects = [...byWindow.values()];
  const rest = answer.windows
    .map((part, window) => ({ ...part, window, near: nearest(part, aspects) }))
    .filter((part) => !byWindow.has(part.window));
  const around = new Map(byWindow);
  for (const part of rest) if (part.near) around.set(part.window, part.near);
  return { aspects, byWindow, rest, around };
}

/** How many characters two pieces share. */
const shared = (a, b) => Math.max(0, Math.min(a.end, b.end) - Math.max(a.start, b.start));

const length = (part) => part.end - part.start;

function nearest(part, aspects) {
  let best = null;
  let most = MIN_LIKENESS;
  if (part.scale === "sub-query") return null;
  for (const aspect of aspects) {
    const [short, long] = [length(part), length(aspect)].sort((a, b) => a - b);
    if (short < MIN_LENGTHS * long) continue;
    const both = shared(part, aspect);
    const likeness = both / Math.max(1, short + long - both);
    if (likeness > most) [best, most] = [aspect, likeness];
  }
  return best;
}

/**
 * What share of a hit's vote came from which aspect and the windows around it, largest first.
 *
 * Returns: [{aspect, part (0 to 1)}]; windows near no aspect are added up under null, last.
 */
export function sharesOf(hit, around) {
  const total = hit.votes_by_window.reduce((sum, value) => sum + value, 0);
  if (!(total > 0)) return [{ aspect: around.get(hit.window) ?? null, part: 1 }];
  const parts = new Map();
  hit.votes_by_window.forEach((value, window) => {
    const aspect = around.get(window) ?? null;
    if (value > 0) parts.set(aspect, (parts.get(aspect) ?? 0) + value / total);
  });
  return [...parts]
    .map(([aspect, part]) => ({ aspect, part }))
    .sort((a, b) => !a.aspect - !b.aspect || b.part - a.part || a.aspect.number - b.aspect.number);
}

/**
 * The query cut where an aspect begins or ends, and a lane under the text for each aspect.
 *
 * Narrow aspects get the lanes next to the text; one that finds no lane free has none. Offsets
 * are in characters (code points), as the service counts them, not in JavaScript's UTF-16 units.
 *
 * Returns: {lanes: how many; pieces: [{text, aspects: [{aspect, lane}], starts: [aspect]}]}.
 */
export function piecesOf(query, aspects) {
  const characters = Array.from(query);
  const placed = [];
  const fitting = aspects
    .filter((one) => one.scale !== "sub-query" && one.start < one.end)
    .filter((one) => one.start >= 0 && one.end <= characters.length)
    .sort((a, b) => length(a) - length(b) || a.start - b.start);
  for (const aspect of fitting) {
    for (let lane = 0; lane < MAX_LANES; lane++) {
      if (placed.some((other) => other.lane === lane && shared(other.aspect, aspect))) continue;
      placed.push({ aspect, lane });
      break;
    }
  }
  const cuts = new Set([0, characters.length]);
  for (const { aspect } of placed) cuts.add(aspect.start).add(aspect.end);
  const places = [...cuts].sort((a, b) => a - b);
  const pieces = places.slice(0, -1).map((start, at) => ({
    text: characters.slice(start, places[at + 1]).join(""),
    aspects: placed.filter(({ aspect }) => aspect.start <= start && start < aspect.end),
    starts: placed
      .filter(({ aspect }) => aspect.start === start)
      .map(({ aspect }) => aspect)
      .sort((a, b) => a.number - b.number),
  }));
  return { lanes: 1 + Math.max(-1, ...placed.map(({ lane }) => lane)), pieces };
}
