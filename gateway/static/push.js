// Subscribes this browser to the bank's pushes. The bank's own page loads it, calls `subscribe()` on
// a touch, and hands what it gives to the bank, which alone binds it to a customer.
"use strict";

async function subscribe() {
  if (!("serviceWorker" in navigator) || !("PushManager" in window)) {
    throw new Error("this browser takes no pushes");
  }
  const registration = await navigator.serviceWorker.register("/sw.js");
  await navigator.serviceWorker.ready;
  if ((await Notification.requestPermission()) !== "granted") {
    throw new Error("notifications are not allowed");
  }
  const { key } = await (await fetch("/v1/push/key")).json();
  const subscription = await registration.pushManager.subscribe({
    userVisibleOnly: true,
    applicationServerKey: key,
  });
  const { endpoint, keys } = subscription.toJSON();
  return { kind: "push", address: endpoint, keys: { p256dh: keys.p256dh, auth: keys.auth } };
}
