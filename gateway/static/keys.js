// What the customer's pages share: bytes as text, a call to this host, and a passkey's signature.
"use strict";

function bytes(encoded) {
  const plain = atob(encoded.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(plain, (c) => c.charCodeAt(0));
}

function base64url(buffer) {
  return btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

async function callOwn(path, body) {
  const request = { credentials: "same-origin", cache: "no-store" };
  if (body) {
    Object.assign(request, { method: "POST", body: JSON.stringify(body),
      headers: { "Content-Type": "application/json" } });
  }
  const answer = await fetch(path, request);
  return { status: answer.status, body: await answer.json().catch(() => ({})) };
}

// Signs one statement. Its digest is made here, of the very text that the page has read.
async function signedOver(statement, told) {
  const prefixed = new TextEncoder().encode(`ringback-challenge-v1\0${statement}`);
  const found = await navigator.credentials.get({ publicKey: {
    challenge: await crypto.subtle.digest("SHA-256", prefixed), rpId: told.rp_id,
    timeout: told.timeout, userVerification: "required",
    allowCredentials: told.credentials.map((id) => ({ type: "public-key", id: bytes(id) })),
  } });
  const { clientDataJSON, authenticatorData, signature } = found.response;
  return { id: found.id, rawId: found.id, type: found.type, response: {
    clientDataJSON: base64url(clientDataJSON), authenticatorData: base64url(authenticatorData),
    signature: base64url(signature) } };
}
