// What went wrong, in words: what was found, what was expected, what to do.

import { el, quoted } from "./elements.js";

/** A problem as a panel. Args: retry: called by `Try again`; given for what may pass by itself. */
export function troublePanel({ problem, retryAfter }, retry) {
  const isPassing = [0, 408, 429, 502, 503, 504].includes(problem.status);
  const button = el("button", { type: "button", onclick: retry }, "Try again");
  if (retryAfter) wait(button, retryAfter);
  return el(
    "div",
    { class: "trouble", role: "alert" },
    el(
      "h2",
      {},
      quoted(problem.title),
      problem.status > 0 && el("small", {}, ` ${problem.status}`),
    ),
    problem.detail && el("p", {}, quoted(problem.detail)),
    el(
      "dl",
      {},
      problem.expected && [el("dt", {}, "Expected"), el("dd", {}, quoted(problem.expected))],
      problem.fix && [el("dt", {}, "What to do"), el("dd", {}, quoted(problem.fix))],
      places(problem.errors),
      problem.request_id && [
        el("dt", {}, "Request"),
        el("dd", { class: "id" }, problem.request_id),
      ],
    ),
    isPassing && button,
  );
}

/** Where the body was wrong, place by place. */
function places(errors) {
  if (!Array.isArray(errors) || !errors.length) return null;
  return [
    el("dt", {}, "Where"),
    errors.slice(0, 10).map((error) => {
      const loc = Array.isArray(error.loc) ? error.loc.join(".") : "";
      return el("dd", {}, el("code", {}, loc), " ", quoted(error.msg ?? ""));
    }),
  ];
}

/** Holds a button back for as long as the service asked for. */
function wait(button, seconds) {
  const until = Date.now() + 1000 * seconds;
  button.disabled = true;
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    if (left > 0) setTimeout(tick, 500);
  };
  tick();
}

/** Asks for an API key. Args: keep: called with the key; wasHeld: whether one was just refused. */
export function keyForm({ problem }, wasHeld, keep) {
  const input = el("input", {
    id: "key",
    type: "password",
    autocomplete: "off",
    required: true,
    pattern: "\\s*[!-~]+\\s*", // what a header can carry
    title: "letters, digits and signs, without spaces",
    "aria-describedby": "key-how",
  });
  return el(
    "form",
    {
      class: "trouble key",
      onsubmit: (event) => {
        event.preventDefault();
        if (input.value.trim()) keep(input.value.trim());
      },
    },
    el(
      "div",
      { role: "alert" },
      el("h2", {}, wasHeld ? "This key was not accepted" : "An API key is needed"),
    ),
    problem.detail && el("p", {}, quoted(problem.detail)),
    el("label", { for: "key" }, "API key"),
    el("div", { class: "row" }, input, el("button", { type: "submit" }, "Use it")),
    el("p", { id: "key-how", class: "hint" }, "Kept in this tab only, and sent to this service only."),
  );
}
