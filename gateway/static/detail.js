// One decision in full: why, what was known, where the time went, and its records with their proofs.
"use strict";

function table(heads, rows) {
  const line = (name, cells) => make("tr", {}, ...cells.map((cell, i) => make(name, { class: heads[i][1] || "" }, cell)));
  return make("div", { class: "scroll" }, make("table", {},
    make("thead", {}, line("th", heads.map((head) => head[0]))), make("tbody", {}, ...rows.map((cells) => line("td", cells)))));
}

function number(value) {
  if (value === null || value === undefined) return "–";
  return Number.isInteger(value) ? count(value) : Number(value).toLocaleString("en-GB", { maximumFractionDigits: 3 });
}

// <key>.<what>.<window>: of each key a table, one row for each what, one column for each window.
const WINDOW = /^(\d+)([smhd])$/, SECONDS = { s: 1, m: 60, h: 3600, d: 86400 };
const MONEY = /(^|\.)(sum|mean|median|min|max|first|last)\.amount$/;
const span = (window) => { const [, n, unit] = WINDOW.exec(window); return n * SECONDS[unit]; };

function byKey(features) {
  const keys = new Map();
  for (const [name, value] of Object.entries(features)) {
    const parts = name.split("."), key = parts.shift();
    const window = parts.length > 1 && WINDOW.test(parts.at(-1)) ? parts.pop() : "";
    const rows = keys.get(key) || keys.set(key, new Map()).get(key), what = parts.join(".");
    rows.set(what, { ...(rows.get(what) || {}), [window]: value });
  }
  return keys;
}

function featureTables(features) {
  return [...byKey(features)].flatMap(([key, rows]) => {
    const often = new Map();
    for (const values of rows.values()) for (const window of Object.keys(values)) often.set(window, (often.get(window) || 0) + 1);
    const columns = [...often.keys()].filter((window) => window && often.get(window) > 2).sort((a, b) => span(a) - span(b));
    const wide = [], narrow = [];
    for (const [what, values] of rows) {
      const inColumns = Object.keys(values).filter((window) => columns.includes(window));
      if (inColumns.length > 1) wide.push([code(what), ...columns.map((w) => w in values ? shown(what, values[w]) : ""), usual(what, values)]);
      for (const [window, value] of Object.entries(values)) {
        if (inColumns.length < 2 || !columns.includes(window)) narrow.push([code(window ? `${what}.${window}` : what), shown(what, value)]);
      }
    }
    return [
      wide.length ? table([[key, ""], ...columns.map((w) => [w, "n"]), ["usual day", "n"]], wide) : null,
      narrow.length ? table([[wide.length ? `${key}, more` : key, ""], ["value", "n"]], narrow) : null,
    ].filter(Boolean);
  });
}

const code = (text) => make("span", { class: "name" }, text);

function shown(what, value) {
  return MONEY.test(what) && typeof value === "number" ? grouped((value / 100).toFixed(2)) : number(value);
}

// What a day of the customer's month was like; of means the month's own.
function usual(what, values) {
  const month = values["30d"];
  if (month === null || month === undefined) return "";
  if (/^(count|sum)\b/.test(what)) return shown(what, MONEY.test(what) ? month / 30 : Math.round(month / 30 * 100) / 100);
  return /^mean\b/.test(what) ? shown(what, month) : "";
}

// Each factor with its sign, its share of all that moved the score, and what is usual.
function factors(found) {
  return [table([["", ""], ["value", "n"], ["usual", "n"], ["share", "n"]], found.map((one) => [
    make("span", { class: one.weight > 0 ? "up" : "down", title: one.feature }, one.text || one.feature),
    shown(bare(one.feature), one.value), one.usual === null ? "" : shown(bare(one.feature), one.usual),
    `${one.weight > 0 ? "+" : "−"}${Math.round(Math.abs(one.share) * 100)} %`]))];
}

// A feature's name without its key and window, as MONEY looks at it.
function bare(name) {
  if (name === "event.amount") return "sum.amount";
  return name.split(".").slice(1).filter((part) => !WINDOW.test(part)).join(".");
}

function stages(times) {
  const top = Math.max(1, ...Object.values(times));
  return Object.entries(times).map(([name, us]) => make("div", { class: "stage" }, make("span", {}, name),
    svg("svg", { viewBox: "0 0 100 8", height: 8, preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { x: 0, y: 0, width: Math.max(.5, us / top * 100), height: 8, fill: "var(--own)" })),
    make("span", {}, `${count(us)} µs`)));
}

function records(rows) {
  if (!rows.length) return [make("p", { class: "soft" }, "Not in the ledger yet, or there is no ledger here.")];
  return [table([["", "n"], ["record", ""], ["written", ""], ["by", ""], ["index", "n"], ["proof", ""]], rows.map((one) => [
    one.case_seq ?? "", one.kind, time(one.ts || one.at), one.actor ? one.actor.role || one.actor.type : "", one.index ?? "",
    one.origin === undefined ? "" : make("a", { href: `/v1/proof?origin=${encodeURIComponent(one.origin)}&index=${one.index}`,
      target: "_blank", rel: "noopener" }, "proof")]))];
}

async function show(event) {
  const body = $("detail-body");
  $("detail-title").textContent = event;
  body.replaceChildren(make("p", { class: "soft" }, "Looking it up …"));
  if (!$("detail").open) $("detail").showModal();
  const answer = await fetch(`/v1/live/${encodeURIComponent(event)}`, { cache: "no-store" });
  const found = await answer.json();
  if (!answer.ok) return body.replaceChildren(make("p", {}, found.detail || found.title));
  const { decision, outcome, late, features } = found;
  const facts = [...term("Decision", word(decision.decision)), ...term("Score", number(decision.score)), ...term("Decided", decision.decided || "")];
  if (outcome) facts.push(...term("Ended", `${outcome.state} → ${outcome.decision}, by ${outcome.by?.type || "?"} at ${time(outcome.at)}`));
  if (late) facts.push(...term("Later, by the flow", `${late.decision}, score ${number(late.score)}`));
  if (decision.degraded) facts.push(...term("Without", `${(decision.degraded.skipped || []).join(", ")} (${decision.degraded.policy})`));
  if (decision.model) facts.push(...term("Model", `${decision.model.id} ${decision.model.version}`));
  if (decision.policy_sha256) facts.push(...term("Policy", make("span", { class: "name" }, decision.policy_sha256.slice(0, 16))));
  facts.push(...term("Trace", make("span", { class: "name" }, decision.trace || "–")));
  body.replaceChildren(
    make("dl", {}, ...facts),
    make("h3", {}, "Why"),
    decision.reasons.length ? make("ul", { class: "reasons" }, ...decision.reasons.map((reason) => make("li", {}, reason.text || reason.code,
      reason.feature ? make("span", { class: "soft" }, ` ${reason.feature} = ${reason.value} ${reason.operator || ""} ${reason.threshold ?? ""}`) : null)))
      : make("p", { class: "soft" }, "No rule was hit."),
    ...(decision.factors && decision.factors.length ? [make("h3", {}, "What moved the score"), ...factors(decision.factors)] : []),
    make("h3", {}, "What was known, and what is usual"),
    ...(features ? featureTables(features) : [make("p", { class: "soft" }, "No features are kept of this decision.")]),
    make("h3", {}, "Where the time went"),
    ...stages(decision.stages_us || {}),
    make("h3", {}, "On record"),
    ...records(found.records));
}

$("close").addEventListener("click", () => $("detail").close());
$("detail").addEventListener("click", (event) => { if (event.target === $("detail")) $("detail").close(); });
const asked = new URLSearchParams(location.search).get("show");
if (asked) show(asked);
