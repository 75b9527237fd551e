// The demo's page of the customer that is you: what the bank is asking, each with its own link.
"use strict";

const list = document.getElementById("open");
let questions = [], skew = 0;

function grouped(amount) {
  const [whole, places] = amount.split(".");
  const set = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return places ? `${set}.${places}` : set;
}

function left(question) {
  const seconds = Math.max(0, Math.round((Date.parse(question.expires) - Date.now() - skew) / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function draw() {
  const kept = new Map([...list.children].map((item) => [item.dataset.id, item]));
  for (const question of questions) {
    let item = kept.get(question.id);
    kept.delete(question.id);
    if (!item) {
      item = document.createElement("li");
      item.dataset.id = question.id;
      const link = document.createElement("a");
      link.href = question.url;
      const what = document.createElement("b");
      what.textContent = `${grouped(question.amount)} ${question.currency}`;
      const who = document.createElement("bdi");
      who.textContent = question.payee.name || question.payee.account;
      const clock = document.createElement("span");
      clock.className = "clock";
      link.append(what, who, clock);
      item.append(link);
      list.append(item);
    }
    item.querySelector(".clock").textContent = `answer within ${left(question)}`;
  }
  for (const item of kept.values()) item.remove();
  document.getElementById("none").hidden = questions.length > 0;
  document.title = questions.length ? `(${questions.length}) The bank asks you` : "You · Ringback";
}

async function look() {
  try {
    const answer = await fetch("/demo/you/challenges", { cache: "no-store" });
    const found = await answer.json();
    questions = found.open || [];
    if (found.now) skew = Date.parse(found.now) - Date.now();
    if (found.institution) document.getElementById("institution").textContent = found.institution;
  } catch { questions = []; }
  draw();
  setTimeout(look, 1000);
}

look();
