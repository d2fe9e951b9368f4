// The API's description, drawn from the OpenAPI document that the service itself gives.

import { el } from "./elements.js";
import { Trouble, keepKey, key, openapi, raw } from "./service.js";
import { keyForm, troublePanel } from "./trouble.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const main = document.getElementById("api");

async function begin() {
  main.setAttribute("aria-busy", "true");
  try {
    draw(await openapi());
  } catch (trouble) {
    if (!(trouble instanceof Trouble)) throw trouble;
    const retry = (value) => {
      if (typeof value === "string") keepKey(value);
      begin();
    };
    main.replaceChildren(
      el("h1", {}, "API"),
      trouble.problem.status === 401
        ? keyForm(trouble, Boolean(key()), retry)
        : troublePanel(trouble, retry),
    );
  } finally {
    main.setAttribute("aria-busy", "false");
  }
}

function draw(api) {
  document.getElementById("version").textContent = `version ${api.info.version}`;
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ path, method, ...item[method] })),
  );
  const tags = [...new Set([...(api.tags ?? []).map((tag) => tag.name), ...operations.map(tagOf)])];
  const schemas = Object.entries(api.components?.schemas ?? {});
  main.replaceChildren(
    el("h1", {}, api.info.summary ?? api.info.title),
    ...paragraphs(api.info.description),
    el(
      "div",
      { class: "layout" },
      el(
        "nav",
        { class: "contents", "aria-label": "Operations" },
        tags.map((tag) => [
          el("h2", {}, tag),
          operations
            .filter((one) => tagOf(one) === tag)
            .map((one) => el("a", { href: `#${idOf(one)}` }, one.path)),
        ]),
        el("h2", {}, "schemas"),
        el("a", { href: "#schemas" }, "what goes in and comes out"),
      ),
      el(
        "div",
        { id: "operations", tabindex: -1 },
        tags.flatMap((tag) => operations.filter((one) => tagOf(one) === tag).map(operation)),
        el(
          "section",
          { class: "operation", id: "schemas" },
          el("h3", {}, "Schemas"),
          schemas.map(([name, schema]) => definition(name, schema)),
        ),
      ),
    ),
  );
  reveal();
}

const tagOf = (one) => one.tags?.[0] ?? "other";
const idOf = (one) => `${one.method}${one.path.replace(/[^a-z0-9]+/gi, "-")}`;

function operation(one) {
  const body = one.requestBody?.content?.["application/json"];
  const [example] = Object.values(body?.examples ?? {});
  return el(
    "section",
    { class: "operation", id: idOf(one), "aria-label": `${one.method} ${one.path}` },
    el("h3", {}, one.summary ?? one.path),
    el("p", { class: "route" }, el("span", { class: `method ${one.method}` }, one.method.toUpperCase()), one.path),
    paragraphs(one.description),
    one.parameters?.length && [el("h4", {}, "Parameters"), table(one.parameters.map(parameter))],
    body && [el("h4", {}, "Body"), el("p", { class: "type" }, typeOf(body.schema))],
    el("h4", {}, "With curl"),
    el("pre", { tabindex: 0 }, curl(one, example?.value)),
    el("h4", {}, "Answers"),
    table(Object.entries(one.responses).map(([status, response]) => answer(status, response))),
    attempt(one, example?.value),
  );
}

const parameter = (one) =>
  row([el("code", {}, one.name), one.required && needed()], one.schema, one.description, ` in the ${one.in}`);

function answer(status, response) {
  const [type, content] = Object.entries(response.content ?? {})[0] ?? [];
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, status),
    el(
      "td",
      {},
      response.description,
      content?.schema && [" ", el("span", { class: "type" }, typeOf(content.schema), ` ${type}`)],
    ),
  );
}

function curl(one, example) {
  const url = new URL(`.${one.path}`, document.baseURI).href.replaceAll("%7B", "{").replaceAll("%7D", "}");
  const lines = [`curl '${url}'`];
  if (one.security?.length || one.tags?.[0] !== "health") lines.push(`-H "Authorization: Bearer $MRAG_API_KEY"`);
  if (example !== undefined) {
    const json = JSON.stringify(example).replaceAll("'", "'\\''");
    lines.push("-H 'Content-Type: application/json'", `-d '${json}'`);
  }
  return lines.join(" \\\n  ");
}

/** Sends a request as it is written there, and shows what comes. */
function attempt(one, example) {
  const holes = [...one.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  const inputs = new Map(holes.map((name) => [name, el("input", { "aria-label": name, placeholder: name })]));
  const body = example === undefined ? null : el("textarea", { rows: 6, spellcheck: "false", "aria-label": "Body" });
  if (body) body.value = JSON.stringify(example, null, 2);
  const shown = el("div", { "aria-live": "polite" });
  const send = async () => {
    shown.replaceChildren(el("p", { class: "note" }, "Sending…"));
    const path = one.path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(inputs.get(name).value));
    try {
      const { status, text, seconds } = await raw(one.method.toUpperCase(), path.replace(/^\//, ""), body?.value);
      shown.replaceChildren(
        el("p", { class: "note" }, `${status} in ${Math.round(seconds * 1000)} ms`),
        el("pre", { tabindex: 0 }, indented(text)),
      );
    } catch (trouble) {
      if (!(trouble instanceof Trouble)) throw trouble;
      shown.replaceChildren(troublePanel(trouble, send));
    }
  };
  return el(
    "details",
    { class: "try" },
    el("summary", {}, "Try it"),
    [...inputs.values()],
    body,
    el("button", { type: "button", onclick: send }, "Send"),
    shown,
  );
}

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // metrics and event streams are no JSON
  }
}

// ------------------------------------------------------------------ schemas
function definition(name, schema) {
  const fields = Object.entries(schema.properties ?? {});
  return el(
    "details",
    { class: "schema", id: `schema-${name}` },
    el("summary", {}, name),
    paragraphs(schema.description),
    fields.length
      ? table(
          fields.map(([field, value]) =>
            row([el("code", {}, field), schema.required?.includes(field) && needed()], value, value.description),
          ),
        )
      : el("p", { class: "type" }, typeOf(schema)),
  );
}

const needed = () => [" ", el("span", { class: "needed" }, "required")];
const table = (rows) => el("table", { class: "fields" }, el("tbody", {}, rows));

function row(name, schema, description, where = "") {
  const held = schema?.default === undefined ? "" : `, default ${JSON.stringify(schema.default)}`;
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, name),
    el("td", {}, el("span", { class: "type" }, typeOf(schema), limits(schema), held, where), description && [" ", inline(description)]),
  );
}

/** A schema in a few words, other schemas as links. */
function typeOf(schema) {
  if (!schema) return "any";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return el("a", { href: `#schema-${name}` }, name);
  }
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.flatMap((one, at) => [at > 0 && " | ", typeOf(one)]);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return ["[", typeOf(schema.items), "]"];
  if (schema.type === "object" && schema.additionalProperties) {
    return ["{text: ", typeOf(schema.additionalProperties === true ? null : schema.additionalProperties), "}"];
  }
  return [schema.type].flat().join(" | ") || "any";
}

function limits(schema) {
  const told = [
    ["minimum", "at least"],
    ["exclusiveMinimum", "above"],
    ["maximum", "at most"],
    ["minLength", "characters from"],
    ["maxLength", "characters to"],
    ["minItems", "items from"],
    ["maxItems", "items to"],
  ].filter(([name]) => schema?.[name] !== undefined);
  return told.map(([name, words]) => `, ${words} ${schema[name].toLocaleString("en")}`).join("");
}

// ------------------------------------------------------------------ words
/** Markdown's paragraphs and `code`, and no more of it. */
function paragraphs(text) {
  return (text ?? "")
    .split(/\n\s*\n/)
    .filter((one) => one.trim())
    .map((one) => el("p", {}, inline(one)));
}

const inline = (text) =>
  text.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));

/** Opens the schema that the address names. */
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target || !main.contains(target)) return;
  if (target.tagName === "DETAILS") target.open = true;
  target.scrollIntoView();
}

addEventListener("hashchange", reveal);
begin();
