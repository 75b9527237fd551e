// Shows a question that was pushed, and opens its page when it is touched. What stands on a lock
// screen names neither amount nor payee: those stay in the notification's data, for the page.
"use strict";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("push", (event) => {
  event.waitUntil(show(event.data));
});

async function show(data) {
  let told;
  try {
    told = data.json();
  } catch {
    told = null;
  }
  if (!told || told.v !== 1 || typeof told.id !== "string") {
    // A browser wants something to be seen for each push; what isn't ours says nothing.
    await self.registration.showNotification("…", { tag: "other", silent: true });
    return;
  }
  const asks = told.op === "ask";
  await self.registration.showNotification(String(told.title || ""), {
    tag: told.id, // a later message of a question takes the place of an earlier one
    body: String(told.body || ""),
    lang: String(told.language || ""),
    renotify: asks,
    requireInteraction: asks,
    silent: !asks,
    data: told,
  });
}

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data || {}));
});

async function open(told) {
  const link = pageOf(told.link);
  if (told.op === "ask" && link) {
    await self.clients.openWindow(link);
  }
}

// Only this host's own challenge page is opened, whatever a push says.
function pageOf(link) {
  try {
    const url = new URL(String(link));
    return url.origin === self.location.origin && url.pathname.startsWith("/c/") ? url.href : "";
  } catch {
    return "";
  }
}
