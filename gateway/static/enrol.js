// The page on which a customer makes a passkey: one link, one passkey, and nothing typed.
"use strict";

const TEXTS = {
  en: {
    other: "中文", make: "Make a passkey", leave: "Not now",
    never: "We never ask for a password or a code here.",
    ask: ["A passkey for your answers", "With it you sign a confirm: amount, payee and answer. Your other channels are told, and for a while it may only deny."],
    done: ["Your passkey is ready", "All your other channels are told. If it was not you, tell us at once."],
    left: ["Nothing was changed", "You can close this page."],
    used: ["Already used", "This link works once. Ask your bank for another."],
    wrong: ["This link is not complete", "Open it again, or ask your bank for another."],
    failed: ["That did not work", "No passkey was made. You can try again."],
    away: ["No connection", "Please try again in a moment."],
  },
  zh: {
    other: "English", make: "创建通行密钥", leave: "暂不",
    never: "我们绝不会在此索要密码或验证码。",
    ask: ["用于回答的通行密钥", "您将用它签署确认：金额、收款人和回答。我们会通知您的其他渠道；最初一段时间内它只能拒绝。"],
    done: ["通行密钥已可使用", "已通知您的所有其他渠道。如果不是您本人操作，请立即联系我们。"],
    left: ["未作任何更改", "您可以关闭此页面。"],
    used: ["链接已被使用", "此链接只能使用一次，请向银行索取新的链接。"],
    wrong: ["链接不完整", "请重新打开，或向银行索取新的链接。"],
    failed: ["未能完成", "没有创建通行密钥，您可以重试。"],
    away: ["没有连接", "请稍后再试。"],
  },
};

const $ = (id) => document.getElementById(id);
const base = `/v1/bindings/${encodeURIComponent(location.pathname.split("/").pop())}`;
const token = location.hash.slice(1);
let language = (navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en";
let shown = "ask";
let busy = false;

function draw() {
  const say = TEXTS[language], [title, words] = say[shown];
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = title;
  for (const [id, text] of [["language", say.other], ["title", title], ["words", words],
    ["make", say.make], ["leave", say.leave], ["never", say.never]]) $(id).textContent = text;
  for (const id of ["make", "leave"]) {
    $(id).hidden = !["ask", "failed", "away"].includes(shown);
    $(id).disabled = busy;
  }
}

function show(name) { shown = name; busy = false; draw(); }

function post(path, body) { return callOwn(base + path, body); }

async function make() {
  busy = true;
  draw();
  try {
    const told = await post("/options", { token });
    if (told.status === 409) return show("used");
    if (told.status >= 500) return show("away");
    if (told.status !== 200) return show("wrong");
    const options = told.body.options;
    const made = await navigator.credentials.create({ publicKey: { ...options,
      challenge: bytes(options.challenge), user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: (options.excludeCredentials || []).map((one) => ({ ...one, id: bytes(one.id) })) } });
    const done = await post("/credential", { token, credential: { id: made.id, rawId: made.id, type: made.type,
      response: { clientDataJSON: base64url(made.response.clientDataJSON),
        attestationObject: base64url(made.response.attestationObject) } } });
    if (done.status === 201) history.replaceState(null, "", location.pathname);
    show(done.status === 201 ? "done" : done.status === 409 ? "used" : "failed");
  } catch {
    show("failed");
  }
}

$("make").addEventListener("click", make);
$("leave").addEventListener("click", () => show("left"));
$("language").addEventListener("click", () => { language = language === "zh" ? "en" : "zh"; draw(); });
draw();
