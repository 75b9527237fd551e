// The page on which a customer says by what else they are reached, and signs it with a passkey.
"use strict";

const TEXTS = {
  en: {
    other: "中文", never: "We never ask for a password or a code here.",
    kinds: { push: "Messages on this device", web: "The answer page in a browser",
      xmpp: "A chat address", passkey: "One more passkey", device: "An app that signs",
      sms: "A telephone for text messages", voice: "A telephone for calls" },
    what: "Set up", where: "Where", nowhere: "here", address: "Chat address", on: "Go on",
    sign: "Sign with passkey", leave: "Leave it", unbind: "See what is set up, or take it away",
    wishes: ["How else may we reach you?", "You sign it with a passkey that you already have. All your other channels are told, and for a while the new one may only deny."],
    signing: ["Is this what you want?", "Only if you asked for it yourself. Your passkey signs what stands here."],
    bound: ["It is set up", "All your other channels are told. For a while it may only deny. If it was not you, tell us at once."],
    open: ["One step more", "Open this link once, on the device that is to have the passkey:"],
    left: ["Nothing was changed", "If you did not ask for this yourself, please call us."],
    used: ["Already done", "This has been decided before, or waits no more."],
    wrong: ["This is not known", "Open it again, or ask your bank."],
    away: ["No connection", "Please try again in a moment."],
    hints: {
      unsupported: "This browser takes no messages. We can reach you by chat or by text instead.",
      refused: "Your browser was told to show no notifications from us. Allow them beside the address at the top (the lock, then Notifications), and try again. Nothing was changed.",
      dismissed: "Notifications were not allowed, so nothing was changed. You can try again.",
      not_set_up: "We send no messages to browsers yet.",
      failed: "Your browser's message service did not answer. Nothing was changed; you can try again.",
      signing: "Your passkey was not used, so nothing was changed. You can try again.",
      no_passkey: "There is no passkey of yours for this page. Please ask us for one.",
      not_signed: "That signature was not taken, and nothing was changed.",
      fresh_binding: "That passkey is too new: for a while it may only deny. Nothing was changed.",
      bound_elsewhere: "That address is somebody's already. Nothing was changed.",
      forbidden: "That passkey can't do this. Please ask us for another.",
      too_many: "There are too many already. Please call us to take one away.",
      refused_address: "That is no chat address. One looks like anna@bank.example.",
    },
  },
  zh: {
    other: "English", never: "我们绝不会在此索要密码或验证码。",
    kinds: { push: "此设备上的消息", web: "浏览器中的回答页面", xmpp: "聊天账号",
      passkey: "再添加一个通行密钥", device: "用于签署的应用", sms: "接收短信的电话",
      voice: "接听来电的电话" },
    what: "设置", where: "位置", nowhere: "此处", address: "聊天账号", on: "继续",
    sign: "用通行密钥签署", leave: "不设置", unbind: "查看或移除已设置的方式",
    wishes: ["还可以如何联系您？", "请用您已有的通行密钥签署。我们会通知您的所有其他渠道；最初一段时间内新渠道只能拒绝。"],
    signing: ["这是您想要的吗？", "请仅在您本人提出时签署。通行密钥签署的就是此处所示内容。"],
    bound: ["已设置", "已通知您的所有其他渠道；最初一段时间内它只能拒绝。如果不是您本人操作，请立即联系我们。"],
    open: ["还差一步", "请在需要通行密钥的设备上打开此链接，仅可使用一次："],
    left: ["未作任何更改", "如果不是您本人提出的，请致电我们。"],
    used: ["已处理", "此事项已有结果，或不再等待。"],
    wrong: ["未找到", "请重新打开，或联系您的银行。"],
    away: ["没有连接", "请稍后再试。"],
    hints: {
      unsupported: "此浏览器无法接收消息。我们可以通过聊天或短信联系您。",
      refused: "您的浏览器已设置为不显示我们的通知。请在顶部地址旁（锁形图标、通知）允许后重试。未作任何更改。",
      dismissed: "未允许通知，因此未作任何更改。您可以重试。",
      not_set_up: "我们尚未向浏览器发送消息。",
      failed: "浏览器的消息服务没有响应。未作任何更改，您可以重试。",
      signing: "未使用通行密钥，因此未作任何更改。您可以重试。",
      no_passkey: "此页面没有您的通行密钥，请向我们申请。",
      not_signed: "该签名未被接受，未作任何更改。",
      fresh_binding: "该通行密钥刚刚设置，最初一段时间内只能拒绝。未作任何更改。",
      bound_elsewhere: "该地址已属于他人。未作任何更改。",
      forbidden: "该通行密钥无法用于此操作，请向我们申请新的。",
      too_many: "已设置的方式过多，请致电我们移除其中之一。",
      refused_address: "这不是聊天账号。格式如 anna@bank.example。",
    },
  },
};

const named = location.pathname.split("/")[2] || "";
let binding = named;   // what is to be signed for
let link = "";

function draw() {
  const say = drawStep();
  write([["address-label", say.address], ["chat-on", say.on], ["push", say.kinds.push],
    ["web", say.kinds.web], ["xmpp", say.kinds.xmpp], ["passkey", say.kinds.passkey],
    ["unbind", say.unbind], ["link", link]]);
  $("wishes").hidden = shown !== "wishes";
  $("link").hidden = shown !== "open";
  if (told) drawSigned(say);
}

// A wish that was refused as such says of what it had too many, or too little.
function refused(answer, back) {
  if (!(answer.body.type || "").endsWith(":refused")) return failed(answer, back);
  const many = (answer.body.errors || []).some((one) => one.field === "channels");
  return show(back, many ? "too_many" : "refused_address");
}

// What is wished for is put down first, and bound once it is signed.
async function wish(what) {
  begin();
  try {
    const made = await callOwn("/v1/bindings", what);
    if (made.status !== 201) return refused(made, "wishes");
    binding = made.body.id;
    await look();
  } catch {
    show("away");
  }
}

async function look() {
  const found = await callOwn(`/v1/bindings/${encodeURIComponent(binding)}/signing`, {});
  if (found.status !== 200) return failed(found, named ? "left" : "wishes");
  told = found.body;
  show("signing");
}

async function sign() {
  begin();
  let assertion;
  try {
    assertion = await signedOver(told.statement, told);
  } catch {
    return show("signing", "signing");
  }
  try {
    const where = `/v1/bindings/${encodeURIComponent(binding)}/approve`;
    const done = await callOwn(where, { assertion });
    if (done.status !== 201) return refused(done, "signing");
    link = done.body.link ? location.origin + done.body.link : "";
    show(done.body.state === "open" ? "open" : "bound");
  } catch {
    show("away");
  }
}

async function push() {
  begin();
  let subscription;
  try {
    subscription = await subscribe();
  } catch (wrong) {
    return show("wishes", wrong.message in TEXTS.en.hints ? wrong.message : "failed");
  }
  return wish(subscription);
}

$("push").addEventListener("click", push);
$("web").addEventListener("click", () => wish({ kind: "web" }));
$("passkey").addEventListener("click", () => wish({ kind: "passkey" }));
$("xmpp").addEventListener("click", () => { $("chat").hidden = false; $("address").focus(); });
$("chat-on").addEventListener("click", () => wish({ kind: "xmpp", address: $("address").value.trim() }));
$("sign").addEventListener("click", sign);
$("leave").addEventListener("click", () => show("left"));
show("wishes");
if (named) look().catch(() => show("away"));
