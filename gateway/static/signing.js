// What the pages share on which a customer signs a wish with a passkey: which step is shown, in
// which language, with which hint. The page itself has TEXTS and draw().
"use strict";

const $ = (id) => document.getElementById(id);
let language = (navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en";
let shown = "", hint = null, busy = false;
let told = null;     // what is to be signed, and who may sign it

function write(texts) { for (const [id, text] of texts) $(id).textContent = text; }

// Draws what every step has; gives the texts of the language.
function drawStep() {
  const say = TEXTS[language], [title, words] = say[shown];
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = title;
  write([["language", say.other], ["title", title], ["words", words], ["sign", say.sign],
    ["leave", say.leave], ["never", say.never], ["what-label", say.what], ["where-label", say.where],
    ["hint", hint === null ? "" : say.hints[hint]]]);
  $("hint").hidden = hint === null;
  $("signing").hidden = shown !== "signing";
  for (const button of document.querySelectorAll(".choices button")) button.disabled = busy;
  if (told) $("institution").textContent = told.institution;
  return say;
}

function nameOf({ kind, name }, say) { return name ? `${say.kinds[kind]} (${name})` : say.kinds[kind]; }

// Draws the very thing that the passkey will sign.
function drawSigned(say) {
  const says = JSON.parse(told.statement);
  write([["what", nameOf(says, say)], ["where", says.address || say.nowhere]]);
}

function show(name, why = null) { shown = name; hint = why; busy = false; draw(); }

function begin() { busy = true; hint = null; draw(); }

// What a refusal makes of the page: a hint in the step before, or a step of its own.
function failed({ status, body }, back) {
  const why = (body.type || "").split(":").pop();
  if (status >= 500) return show("away");
  if (why in TEXTS.en.hints) return show(back, why);
  return show(status === 409 ? "used" : "wrong");
}

$("language").addEventListener("click", () => { language = language === "zh" ? "en" : "zh"; draw(); });
