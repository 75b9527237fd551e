// The live page: reads one stream, changes nothing. All foreign text goes in as text, never as HTML.
"use strict";

const $ = (id) => document.getElementById(id);
const WORDS = ["approve", "challenge", "review", "decline"];
const SHOWN = 60;
let first = true, skew = 0, paused = false, waiting = [], open = [], seen = new Map();

function make(name, options = {}, ...inner) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (key === "class") node.className = value; else if (key in node) node[key] = value; else node.setAttribute(key, value);
  }
  node.append(...inner.filter((one) => one !== null && one !== undefined));
  return node;
}

const time = (text) => text ? new Date(text).toLocaleTimeString("en-GB") : "";
const count = (number) => Number(number || 0).toLocaleString("en-GB");

function grouped(amount) {
  const [whole, places] = String(amount).split(".");
  const set = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return places ? `${set}.${places}` : set;
}

function word(name) {
  return make("span", { class: "word" }, make("i", { class: `dot ${name}`, ariaHidden: "true" }), name);
}

function row(decision) {
  const reasons = decision.reasons.map((reason) => reason.text || reason.code).join(" · ");
  const button = make("button", { type: "button" },
    word(decision.decision + (decision.late ? " (late)" : "")),
    make("span", { class: "when" }, time(decision.decided)),
    make("span", { class: "score" }, decision.score ?? "–"),
    make("span", { class: "name" }, decision.event),
    make("span", { class: "why", title: reasons }, ending(decision) + reasons));
  button.querySelector(".dot").className = `dot ${decision.decision}`;
  button.addEventListener("click", () => show(decision.event));
  return make("li", { class: first ? "" : "fresh" }, button);
}

function ending(decision) {
  if (decision.outcome) return `${decision.outcome.state} → ${decision.outcome.decision} · `;
  if (decision.degraded) return `${decision.degraded.policy} · `;
  return "";
}

function decisions(fresh) {
  if (paused) { waiting.push(...fresh); waiting = waiting.slice(-SHOWN); return; }
  const list = $("list");
  for (const decision of fresh) {
    const item = row(decision);
    seen.set(decision.event, { decision, item });
    list.prepend(item);
  }
  while (list.children.length > SHOWN) list.lastElementChild.remove();
  if (seen.size > 4 * SHOWN) seen = new Map([...seen].slice(-SHOWN));
  $("none").hidden = list.children.length > 0;
}

function outcomes(ended) {
  for (const outcome of ended) {
    const button = make("button", { type: "button" }, word(outcome.state),
      make("span", { class: "when" }, time(outcome.at)), make("span", { class: "name" }, outcome.event));
    button.addEventListener("click", () => show(outcome.event));
    $("outcomes").prepend(make("li", { class: first ? "" : "fresh" }, button));
    const known = seen.get(outcome.event);
    if (known) {
      known.decision.outcome = outcome;
      known.item.querySelector(".why").textContent = ending(known.decision)
        + known.decision.reasons.map((reason) => reason.text || reason.code).join(" · ");
    }
  }
  while ($("outcomes").children.length > 12) $("outcomes").lastElementChild.remove();
  $("outcomes-none").hidden = $("outcomes").children.length > 0;
}

function left(challenge) {
  return Math.max(0, Math.round((Date.parse(challenge.expires) - Date.now() - skew) / 1000));
}

function clock(seconds) { return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`; }

function questions(now) {
  const list = $("open"), held = new Map([...list.children].map((item) => [item.dataset.id, item]));
  open = now;
  for (const challenge of now) {
    if (held.delete(challenge.id)) continue;
    const button = make("button", { type: "button" },
      make("b", {}, `${grouped(challenge.amount)} ${challenge.currency}`),
      make("span", { class: "clock" }), make("span", { class: "name" }, challenge.event));
    button.addEventListener("click", () => show(challenge.event));
    const item = make("li", { class: first ? "" : "fresh" }, button);
    item.dataset.id = challenge.id;
    list.append(item);
  }
  for (const item of held.values()) item.remove();
  $("open-count").textContent = now.length;
  $("open-none").hidden = now.length > 0;
  clocks();
}

function clocks() {
  for (const challenge of open) {
    const shown = document.querySelector(`#open li[data-id="${CSS.escape(challenge.id)}"] .clock`);
    if (!shown) continue;
    shown.textContent = clock(left(challenge));
    shown.classList.toggle("short", left(challenge) < 15);
  }
}

function term(name, value, bad) {
  return [make("dt", {}, name), make("dd", { class: bad ? "bad" : "" }, value)];
}

// The review's word: nothing yet; that all held up to a size, at a time; or what didn't.
function verified(review) {
  if (!review) return term("Last verified", "not yet");
  if (review.status !== "ok") return term("Not verified", review.problem || review.status, true);
  return term("Last verified", make("span", { title: `${count(review.size)} records, ${review.at}` }, time(review.at)));
}

function house(vitals) {
  const rows = [];
  const flow = vitals.flow || { processes: 0, silent: 0 };
  rows.push(...term("Flow", !flow.processes ? "not seen yet" : flow.silent ? `${flow.silent} of ${flow.processes} silent`
    : `${flow.processes} at work`, flow.silent > 0));
  for (const [name, state] of Object.entries(vitals.channels || {})) {
    const ready = state.ready ?? (state.state === "up");
    rows.push(...term(`Channel ${name}`, ready ? "ready" : "away", !ready));
  }
  rows.push(...term("Redis", vitals.redis === false ? "away" : "ready", vitals.redis === false));
  const ledger = vitals.ledger;
  if (ledger) {
    rows.push(...term("Ledger", `${count(ledger.size)} records`));
    rows.push(...term("Head", make("span", { class: "name", title: `${ledger.origin} ${ledger.root}` }, `${String(ledger.root).slice(0, 12)}…`)));
    rows.push(...term("Signed", time(ledger.ts || ledger.time)));
    rows.push(...verified(ledger.verified));
    const witnesses = (ledger.witnesses || []).map((one) => one.own ? `${one.name}, run by the bank itself: binds nobody` : one.name);
    rows.push(...term("Witnessed by", witnesses.join("; ") || "nobody"));
  } else {
    rows.push(...term("Ledger", "no head yet"));
  }
  if (vitals.ledger_lag > 2) rows.push(...term("Ledger behind", `${vitals.ledger_lag} s`, true));
  rows.push(...term("Dead letters", count(vitals.dead_letters), vitals.dead_letters > 0));
  if (vitals.late_events) rows.push(...term("Late events", count(vitals.late_events)));
  $("house").replaceChildren(...rows);
}

function figures(tick) {
  const rate = tick.rate.slice(-5).reduce((sum, n) => sum + n, 0) / 5;
  $("rate").textContent = rate < 10 ? rate.toFixed(1) : Math.round(rate);
  drawLine("rate-chart", tick.rate, `Decisions a second over two minutes, now ${rate.toFixed(1)}`);
  drawShares("outcome-chart", WORDS.map((name) => [name, tick.decided[name] || 0, `var(--${name})`]), "Shares of the outcomes");
  $("outcome-list").replaceChildren(...WORDS.map((name) => make("li", {},
    make("i", { class: `dot ${name}`, ariaHidden: "true" }), name, make("b", {}, count(tick.decided[name])))));
  drawBars("score-chart", tick.scores, "How often each score came");
  const ended = Object.entries(tick.ended).map(([state, n]) => `${n} ${state}`).join(", ");
  $("ended").textContent = ended ? `Questions: ${ended}` : "No question has ended yet.";
}

function onTick(event) {
  const tick = JSON.parse(event.data);
  skew = Date.parse(tick.now) - Date.now();
  $("institution").textContent = tick.institution;
  $("you").hidden = !tick.demo;
  $("skipped").textContent = tick.skipped > 0 ? `${count(tick.skipped)} more not shown` : "";
  figures(tick);
  house(tick.vitals);
  decisions(tick.decisions);
  outcomes(tick.outcomes);
  questions(tick.open);
  first = false;
}

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", paused);
  $("pause").textContent = paused ? "Go on" : "Pause";
  if (!paused) { const held = waiting; waiting = []; decisions(held); }
});
$("decisions").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const buttons = [...document.querySelectorAll("#list button")];
  const next = buttons[buttons.indexOf(document.activeElement) + step];
  if (step && next) { next.focus(); event.preventDefault(); }
});
setInterval(clocks, 500);

const stream = new EventSource("/v1/stream?view=page");
stream.addEventListener("tick", onTick);
stream.addEventListener("open", () => { $("list").replaceChildren(); $("outcomes").replaceChildren(); seen.clear(); first = true;
  $("link").textContent = "live"; $("link").className = "pill on"; });
stream.addEventListener("error", () => { $("link").textContent = "not connected"; $("link").className = "pill off"; });
