// The page on which a customer sees by what they are reached, and takes it away with a passkey.
"use strict";

const TEXTS = {
  en: {
    other: "中文", never: "We never ask for a password or a code here.",
    kinds: { push: "Messages on a device", web: "The answer page in a browser",
      xmpp: "A chat address", passkey: "A passkey", device: "An app that signs",
      sms: "A telephone for text messages", voice: "A telephone for calls" },
    what: "Take away", where: "Where", nowhere: "—", since: "since", go: "Take away",
    see: "Show with passkey", sign: "Sign with passkey", leave: "Leave it",
    asking: ["What is set up for you?", "Your passkey says that it is you. Then you see it, and can take it away."],
    shown: ["By this we reach you", "What you take away works no more, at once. All your channels are told, that one too."],
    signing: ["Is this to go?", "Only if you want it yourself. Your passkey signs what stands here."],
    gone: ["It is taken away", "All your channels are told. If it was not you, tell us at once."],
    used: ["Already done", "This has been decided before, or waits no more."],
    wrong: ["This is not known", "Open it again, or ask your bank."],
    away: ["No connection", "Please try again in a moment."],
    hints: {
      signing: "Your passkey was not used, so nothing was changed. You can try again.",
      no_passkey: "There is no passkey of yours for this page. Please ask us.",
      not_signed: "That signature was not taken, and nothing was changed.",
      fresh_binding: "That passkey is too new: for a while it may only deny. Nothing was changed.",
      forbidden: "That passkey can't do this. Please ask us.",
      last_factor: "Nothing was changed: nothing else would be left that may confirm. Please come to us, or call.",
    },
  },
  zh: {
    other: "English", never: "我们绝不会在此索要密码或验证码。",
    kinds: { push: "设备上的消息", web: "浏览器中的回答页面", xmpp: "聊天账号",
      passkey: "通行密钥", device: "用于签署的应用", sms: "接收短信的电话",
      voice: "接听来电的电话" },
    what: "移除", where: "位置", nowhere: "—", since: "始于", go: "移除",
    see: "用通行密钥查看", sign: "用通行密钥签署", leave: "不移除",
    asking: ["您设置了哪些方式？", "通行密钥证明是您本人，之后您可以查看并移除。"],
    shown: ["我们这样联系您", "移除后立即失效。我们会通知您的所有渠道，包括被移除的渠道。"],
    signing: ["要移除这一项吗？", "请仅在您本人需要时签署。通行密钥签署的就是此处所示内容。"],
    gone: ["已移除", "已通知您的所有渠道。如果不是您本人操作，请立即联系我们。"],
    used: ["已处理", "此事项已有结果，或不再等待。"],
    wrong: ["未找到", "请重新打开，或联系您的银行。"],
    away: ["没有连接", "请稍后再试。"],
    hints: {
      signing: "未使用通行密钥，因此未作任何更改。您可以重试。",
      no_passkey: "此页面没有您的通行密钥，请联系我们。",
      not_signed: "该签名未被接受，未作任何更改。",
      fresh_binding: "该通行密钥刚刚设置，最初一段时间内只能拒绝。未作任何更改。",
      forbidden: "该通行密钥无法用于此操作，请联系我们。",
      last_factor: "未作任何更改：否则将没有其他可以确认的方式。请到网点办理或致电我们。",
    },
  },
};

let wish = "";       // for what is signed
let seen = "";       // the wish by which the list was shown
let rows = [];

function day(time) {
  const locale = language === "zh" ? "zh-CN" : "en-GB";
  return new Date(time).toLocaleDateString(locale, { day: "numeric", month: "short", year: "numeric" });
}

function item(row, say) {
  const made = document.createElement("li"), text = document.createElement("div");
  const what = document.createElement("b"), where = document.createElement("bdi");
  const since = document.createElement("span"), go = document.createElement("button");
  what.textContent = nameOf(row, say);
  where.textContent = row.where;
  since.textContent = row.bound ? `${say.since} ${day(row.bound)}` : "";
  go.type = "button";
  go.textContent = say.go;
  go.disabled = busy;
  go.dataset.kind = row.kind;
  go.setAttribute("aria-label", `${say.go}: ${what.textContent} ${row.where}`.trim());
  go.addEventListener("click", () => choose(row));
  text.append(what, where, since);
  made.append(text, go);
  return made;
}

function draw() {
  const say = drawStep();
  write([["see", say.see]]);
  $("asking").hidden = shown !== "asking";
  $("bound").hidden = shown !== "shown";
  $("bound").replaceChildren(...rows.map((row) => item(row, say)));
  if (shown === "signing") drawSigned(say);
}

// Puts a wish down and reads what is to be signed for it; false where that failed.
async function ask(path, body, back) {
  const made = await callOwn(path, body);
  if (made.status !== 201) { failed(made, back); return false; }
  wish = made.body.id;
  const found = await callOwn(`/v1/unbindings/${encodeURIComponent(wish)}/signing`, {});
  if (found.status !== 200) { failed(found, back); return false; }
  told = found.body;
  return true;
}

async function approve(back) {
  let assertion;
  try {
    assertion = await signedOver(told.statement, told);
  } catch {
    return show(back, "signing");
  }
  const done = await callOwn(`/v1/unbindings/${encodeURIComponent(wish)}/approve`, { assertion });
  if (done.status !== 200) return failed(done, back);
  if (done.body.state !== "shown") return show("gone");
  seen = wish;
  rows = done.body.bindings;
  return show("shown");
}

async function see() {
  begin();
  try {
    if (await ask("/v1/unbindings", {}, "asking")) await approve("asking");
  } catch {
    show("away");
  }
}

async function choose({ kind, token }) {
  begin();
  try {
    const where = `/v1/unbindings/${encodeURIComponent(seen)}/wish`;
    if (await ask(where, { kind, token }, "shown")) show("signing");
  } catch {
    show("away");
  }
}

async function sign() {
  begin();
  try {
    await approve("signing");
  } catch {
    show("away");
  }
}

$("see").addEventListener("click", see);
$("sign").addEventListener("click", sign);
$("leave").addEventListener("click", () => show("shown"));
show("asking");
