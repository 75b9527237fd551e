// The customer's page: opens the link's token once, shows what is asked, and sends one answer.
"use strict";

const TEXTS = {
  en: {
    other: "中文",
    ask: { transfer: "Did you just make this payment?", card: "Did you just pay by card?",
      cash: "Are you taking out this cash?", bill: "Did you just pay this bill?" },
    payee: "To", unnamed: "no name given", account: "Account", created: "Asked at",
    left: "Please answer within", confirm: "Confirm", deny: "Deny",
    why: "It will not be paid. Why?", notMe: "It was not me", cancel: "I changed my mind",
    back: "Back",
    never: "We never ask for a password or a code here.",
    opening: ["One moment …", ""],
    received: ["Thank you", "Your answer has arrived and is being checked."],
    closing: ["One moment …", "The question is being closed."],
    confirmed: ["Confirmed", "You confirmed this payment."],
    denied: ["Denied", "The payment will not be made."],
    expired: ["Time is up", "There was no answer in time, so the payment is not made."],
    withdrawn: ["Withdrawn", "The bank has withdrawn this question. There is nothing to do."],
    unreachable: ["Closed", "The bank will look at this payment itself."],
    recorded: ["Taken down", "We stop what can still be stopped and will contact you."],
    closed: ["Closed", "This question is no longer open."],
    opened: ["Already opened", "This link works once. Answer where you opened it first, or in the chat."],
    wrong: ["This link is not complete", "Open it again from your message, or answer in the chat."],
    away: ["No connection", "We are trying again. You can also answer in the chat."],
    afterAll: "This was not me after all",
    mustSign: "An amount like this is confirmed with your passkey. To deny, nothing is needed.",
    noPasskey: "An amount like this is confirmed with a passkey, and there is none of yours for this page. Ask us for one, or open the app. You can deny here at once.",
    notSigned: "Your passkey was not used, so nothing was answered. You can try again, or deny.",
    refusedSign: "That signature was not taken, and nothing was answered. You can deny, or call us.",
    fresh: "This was set up for you a short while ago: for now it can deny, and not confirm. Please confirm where we asked you before.",
    frozen: "Confirms from here do not count until we have spoken with you. You can deny, or call us.",
  },
  zh: {
    other: "English",
    ask: { transfer: "刚才的这笔付款是您本人操作吗？", card: "刚才的刷卡是您本人操作吗？",
      cash: "您正在取这笔现金吗？", bill: "刚才的缴费是您本人操作吗？" },
    payee: "收款人", unnamed: "未提供名称", account: "账号", created: "询问时间",
    left: "请在以下时间内回答：", confirm: "确认", deny: "拒绝",
    why: "这笔款项不会付出。原因是？", notMe: "不是我本人操作", cancel: "我改变主意了",
    back: "返回",
    never: "我们绝不会在此索要密码或验证码。",
    opening: ["请稍候……", ""],
    received: ["谢谢", "已收到您的回答，正在核对。"],
    closing: ["请稍候……", "该询问正在关闭。"],
    confirmed: ["已确认", "您已确认这笔付款。"],
    denied: ["已拒绝", "这笔款项不会付出。"],
    expired: ["已超时", "未在规定时间内收到回答，款项不会付出。"],
    withdrawn: ["已撤回", "银行已撤回该询问，您无需操作。"],
    unreachable: ["已关闭", "银行将人工核查这笔付款。"],
    recorded: ["已记录", "我们会尽力止付，并与您联系。"],
    closed: ["已关闭", "该询问已不再开放。"],
    opened: ["链接已被打开过", "此链接只能打开一次。请在首次打开的浏览器中回答，或在聊天中回复。"],
    wrong: ["链接不完整", "请从消息中重新打开，或在聊天中回复。"],
    away: ["没有连接", "正在重试。您也可以在聊天中回复。"],
    afterAll: "其实不是我本人操作",
    mustSign: "此类金额需用您的通行密钥确认。拒绝则无需任何操作。",
    noPasskey: "此类金额需用通行密钥确认，而此页面没有您的通行密钥。请向我们申请，或打开应用。您可以在此立即拒绝。",
    notSigned: "未使用通行密钥，因此没有作出回答。您可以重试，或者拒绝。",
    refusedSign: "该签名未被接受，没有作出回答。您可以拒绝，或致电我们。",
    fresh: "此方式刚刚为您设置：目前只能拒绝，不能确认。请在我们以前询问您的地方确认。",
    frozen: "在与您联系之前，此处的确认不计入。您可以拒绝，或致电我们。",
  },
};

const $ = (id) => document.getElementById(id);
const challenge = location.pathname.split("/").pop();
const base = `/v1/challenges/${encodeURIComponent(challenge)}`;
let language = (navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en";
let asked = null;      // what the bank asks, once known
let message = "opening";
let skew = 0;          // the bank's clock minus this one's, in ms
let sent = false;
let patience = 0;      // the timer of a deny without a reason
let hint = null;       // why a confirm was not taken, while the question stands
let pressed = 0;       // since when Confirm is pressed
let held = 0;          // how long it was, in ms

function call(path, body) { return callOwn(base + path, body); }

function text(id, value) { $(id).textContent = value; }

function draw() {
  const say = TEXTS[language];
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  text("language", say.other);
  $("language").lang = language === "zh" ? "en" : "zh-CN";
  $("question").hidden = message !== null;
  $("message").hidden = message === null;
  for (const [id, name] of [["confirm", "confirm"], ["deny", "deny"], ["not-me", "notMe"],
    ["cancel", "cancel"], ["back", "back"], ["why-text", "why"], ["never", "never"],
    ["payee-label", "payee"], ["account-label", "account"], ["created-label", "created"],
    ["clock-text", "left"], ["after-all", "afterAll"]]) text(id, say[name]);
  for (const button of document.querySelectorAll(".choices button")) button.disabled = sent;
  if (asked) {
    const locale = language === "zh" ? "zh-CN" : "en-GB";
    text("institution", asked.institution);
    text("ask", say.ask[asked.kind] || say.ask.transfer);
    text("figure", grouped(asked.amount));
    text("currency", asked.currency);
    text("payee", asked.payee.name ? `“${asked.payee.name}”` : say.unnamed);
    text("account", asked.payee.account);
    text("created", new Date(asked.created).toLocaleTimeString(locale, zone()));
    const told = hint || (asked.must_sign ? (asked.can_sign ? "mustSign" : "noPasskey") : null);
    $("hint").hidden = told === null;
    text("hint", told === null ? "" : say[told]);
  }
  if (message !== null) {
    const [title, words] = say[message] || say.closed;
    text("message-title", title);
    text("message-text", words);
    text("message-facts", asked && !["opening", "away"].includes(message)
      ? `${grouped(asked.amount)} ${asked.currency} · ${asked.payee.name || asked.payee.account}` : "");
    $("after-all").hidden = !(message === "confirmed" && asked);
    document.title = title;
  } else {
    document.title = `${grouped(asked.amount)} ${asked.currency}`;
  }
}

function zone() {
  const options = { hour: "2-digit", minute: "2-digit" };
  return asked.zone ? { ...options, timeZone: asked.zone } : options;
}

// A decimal string with its thousands set apart; never a float, it is money.
function grouped(amount) {
  const [whole, places] = amount.split(".");
  const set = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return places ? `${set}.${places}` : set;
}

function tick() {
  if (!asked || message !== null) return;
  const left = Math.max(0, Math.round((Date.parse(asked.expires) - Date.now() - skew) / 1000));
  text("left", `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`);
  if (left === 0) look();
}

function show(name) { message = name; draw(); }

// An answer arrived and its end is not told yet: look again, for it may not have counted.
function ended({ status, body }) {
  if (body.recorded) return show("recorded");
  if (status === 202) { show("received"); return void setTimeout(look, 1000); }
  const state = body.state || "closed";
  show(state in TEXTS.en ? state : "closed");
  if (state === "closing") setTimeout(look, 1000);
}

async function look() {
  let found;
  try {
    found = await call("");
    if (found.status === 401 && location.hash.length > 1) {
      const opened = await call("/session", { token: location.hash.slice(1) });
      if (opened.status === 409) return show("opened");
      if (opened.status === 410) return ended(opened);
      if (opened.status === 201) {
        history.replaceState(null, "", location.pathname);  // the token has done its work
        found = await call("");
      }
    }
  } catch {
    found = { status: 503 };
  }
  if (found.status >= 500) { show("away"); return void setTimeout(look, 1500); }
  if (found.status === 410) return ended(found);
  if (found.status !== 200) return show("wrong");
  if (!asked && found.body.language) language = found.body.language.toLowerCase().startsWith("zh") ? "zh" : "en";
  asked = found.body;
  skew = Date.parse(asked.now) - Date.now();
  if (sent && ["unsigned", "fresh", "frozen"].includes(asked.notice)) {
    if (asked.notice === "unsigned") asked.must_sign = true;
    return stays(asked.notice === "unsigned" ? null : asked.notice);
  }
  show(sent ? "received" : null);
  if (sent) setTimeout(look, 1000);
  tick();
}

// Signs one statement, and only one that says what is on the screen.
async function signed(decision) {
  const told = await call("/signing", {});
  if (told.status !== 200) return null;
  const { statement } = told.body.statements[decision];
  const says = JSON.parse(statement);
  if (says.id !== asked.id || says.amount !== asked.amount || says.currency !== asked.currency
    || says.expires !== asked.expires || says.decision !== decision) throw new Error("not the question");
  return signedOver(statement, told.body);
}

function stays(why) { hint = why; sent = false; show(null); tick(); }

async function confirmed() {
  if (!asked.must_sign || !asked.can_sign) return answer("confirm");
  sent = true;
  draw();
  let assertion = null;
  try { assertion = await signed("confirm"); } catch { assertion = null; }
  if (assertion === null) return stays("notSigned");
  return answer("confirm", null, assertion);
}

async function answer(decision, reason, assertion) {
  clearTimeout(patience);
  sent = true;
  draw();
  try {
    const body = { decision, held, ...(reason ? { reason } : {}), ...(assertion ? { assertion } : {}) };
    const said = await call("/answer", body);
    if (said.status >= 500) throw new Error("away");
    if (said.status === 403) {
      const why = (said.body.type || "").split(":").pop();
      if (why === "fresh_binding") return stays("fresh");
      if (why === "frozen") return stays("frozen");
      if (why === "not_signed") return stays("refusedSign");
      if (why !== "signature_needed") return show("wrong");
      asked.must_sign = true;
      return asked.can_sign && !assertion ? void confirmed() : stays("noPasskey");
    }
    if (said.status === 401) return show("wrong");
    ended(said);
  } catch {
    sent = false;
    show("away");
    setTimeout(look, 1500);
  }
}

function whyNot(open) {
  clearTimeout(patience);
  $("choice").hidden = open;
  $("why").hidden = !open;
  $(open ? "not-me" : "deny").focus();
  // Whoever denies and leaves has denied: the reason can wait, the payment can't.
  if (open) patience = setTimeout(() => answer("deny"), 20000);
}

addEventListener("pagehide", () => {
  if (asked && !sent && !$("why").hidden) {
    fetch(`${base}/answer`, { method: "POST", keepalive: true, credentials: "same-origin",
      headers: { "Content-Type": "application/json" }, body: '{"decision":"deny"}' });
  }
});
// How long an answer's button was pressed goes with every answer; the bank knows for whom it counts.
const answers = document.querySelectorAll(".choices button");
for (const button of answers) {
  for (const [down, up] of [["pointerdown", "pointerup"], ["keydown", "keyup"]]) {
    button.addEventListener(down, (event) => {
      if (!event.repeat) { pressed = event.timeStamp; held = 0; }
    });
    button.addEventListener(up, (event) => { held = Math.round(event.timeStamp - pressed); });
  }
  button.addEventListener("contextmenu", (event) => event.preventDefault());
}
$("confirm").addEventListener("click", confirmed);
$("deny").addEventListener("click", () => whyNot(true));
$("back").addEventListener("click", () => whyNot(false));
$("not-me").addEventListener("click", () => answer("deny", "not_me"));
$("cancel").addEventListener("click", () => answer("deny", "cancel"));
$("after-all").addEventListener("click", () => answer("deny", "not_me"));
$("language").addEventListener("click", () => { language = language === "zh" ? "en" : "zh"; draw(); tick(); });
setInterval(tick, 500);
draw();
look();
