// DOM elements from facts. What a document or a caller wrote only ever becomes a text node or an
// attribute's value: nothing here reads markup.

/**
 * An element with attributes, listeners (`onclick`, ...) and children.
 * A child that is null or false is left out; any other that is not a node becomes text.
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** Text that only a screen reader reads out. */
export const spoken = (...children) => el("span", { class: "spoken" }, ...children);

/** An aspect's number on its colour. */
export const badge = (aspect, attributes = {}) =>
  el("span", { class: `badge ${hue(aspect)}`, ...attributes }, aspect.number);

/** The class that carries an aspect's colour; none has the neutral one. */
export const hue = (aspect) => (aspect ? `hue-${aspect.hue}` : "hue-0");

/** The CSS colour of an aspect, in whatever theme is on. */
export const colour = (aspect) => `var(--hue-${aspect ? aspect.hue : 0})`;

/** Someone else's words, kept from turning the line around them. */
export const quoted = (text, attributes = {}) => el("bdi", { dir: "auto", ...attributes }, text);

/** `1 hit`, `2 hits`. */
export const counted = (number, noun) =>
  `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

/** ` 3 documents, 1 head`, without the numbers that the caller's key may not see. */
export const amounts = (...numbersAndNouns) =>
  numbersAndNouns
    .filter(([number]) => number !== null)
    .map(([number, noun]) => ` ${counted(number, noun)}`)
    .join(",");

/** A vote for people: two decimals, and never a small one shown as none. */
export function vote(value) {
  if (!value) return "0";
  return value < 0.01 ? "< 0.01" : value.toFixed(2);
}

/** A share of a whole in per cent. */
export function share(part, whole) {
  if (!(whole > 0)) return "0 %";
  const percent = (100 * part) / whole;
  return percent > 0 && percent < 1 ? "< 1 %" : `${Math.round(percent)} %`;
}

/** Seconds as milliseconds, or as seconds if there are many. */
export function duration(seconds) {
  if (seconds >= 10) return `${seconds.toFixed(1)} s`;
  const ms = seconds * 1000;
  return ms < 1 ? "< 1 ms" : `${Math.round(ms).toLocaleString("en")} ms`;
}
