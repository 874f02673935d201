// Between the hub's JSON and what a browser asks security keys with.

import { Refused } from "./api.js";

export function keysWork() {
  return window.isSecureContext && "PublicKeyCredential" in window;
}

// A new credential, for FinishWebauthn.
export async function register(options) {
  const publicKey = JSON.parse(options);
  const credential = await answered(() =>
    navigator.credentials.create({
      publicKey: {
        ...publicKey,
        challenge: octets(publicKey.challenge),
        user: { ...publicKey.user, id: octets(publicKey.user.id) },
        excludeCredentials: (publicKey.excludeCredentials ?? []).map(withOctets),
      },
    }),
  );
  return asJson(credential, {
    attestationObject: text(credential.response.attestationObject),
    transports: credential.response.getTransports?.() ?? [],
  });
}

// The answer of a key that somebody has, as a second factor.
export async function assert(options) {
  const publicKey = JSON.parse(options);
  const credential = await answered(() =>
    navigator.credentials.get({
      publicKey: {
        ...publicKey,
        challenge: octets(publicKey.challenge),
        allowCredentials: (publicKey.allowCredentials ?? []).map(withOctets),
      },
    }),
  );
  const { authenticatorData, signature, userHandle } = credential.response;
  return asJson(credential, {
    authenticatorData: text(authenticatorData),
    signature: text(signature),
    ...(userHandle ? { userHandle: text(userHandle) } : {}),
  });
}

async function answered(asking) {
  try {
    return await asking();
  } catch (error) {
    if (error.name === "InvalidStateError") {
      throw new Refused(0, "already_exists", "this security key is one of yours already");
    }
    throw new Refused(0, "denied", "no security key has answered: touch it when it blinks, and try again");
  }
}

function asJson(credential, response) {
  return JSON.stringify({
    id: credential.id,
    rawId: text(credential.rawId),
    type: credential.type,
    clientExtensionResults: {},
    response: { clientDataJSON: text(credential.response.clientDataJSON), ...response },
  });
}

function withOctets(descriptor) {
  return { ...descriptor, id: octets(descriptor.id) };
}

// Base64 for addresses, without padding (RFC 4648, section 5).
function octets(encoded) {
  const binary = atob(encoded.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (each) => each.charCodeAt(0));
}

function text(buffer) {
  const binary = Array.from(new Uint8Array(buffer), (each) => String.fromCharCode(each)).join("");
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
