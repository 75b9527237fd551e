// Subscribes this browser to the bank's pushes, on a touch. What it gives is bound to nobody yet: the
// customer signs for it with a passkey (/bind), or the bank's own app hands it to the bank.
"use strict";

const SERVICE_ANSWERS_WITHIN = 10000;

// Throws an error whose message is one word: unsupported, refused, dismissed, not_set_up, failed.
async function subscribe() {
  if (!("serviceWorker" in navigator) || !("PushManager" in window) || !("Notification" in window)) {
    throw new Error("unsupported");
  }
  const allowed = await Notification.requestPermission();
  if (allowed !== "granted") throw new Error(allowed === "denied" ? "refused" : "dismissed");
  const found = await fetch("/v1/push/key", { cache: "no-store" });
  if (found.status === 404) throw new Error("not_set_up");
  const { key } = await found.json();
  let subscription;
  try {
    const registration = await navigator.serviceWorker.register("/sw.js");
    await navigator.serviceWorker.ready;
    const asked = registration.pushManager.subscribe({
      userVisibleOnly: true,
      applicationServerKey: key,
    });
    // A browser that can't reach its push service may wait for it without an end.
    const late = new Promise((_, away) => setTimeout(away, SERVICE_ANSWERS_WITHIN));
    subscription = await Promise.race([asked, late]);
  } catch {
    throw new Error("failed");
  }
  const { endpoint, keys } = subscription.toJSON();
  return { kind: "push", address: endpoint, keys: { p256dh: keys.p256dh, auth: keys.auth } };
}
