// The member's code on a phone, byte for byte as shared/tokens.py reads it. Nothing here talks to anybody.

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"; // RFC 9285
const PREFIX = "DS1:";
const CONTEXT = new TextEncoder().encode("DS1P");

export const STEP_MS = 30_000;
export const CERTIFICATE_BYTES = 111;

/** RFC 9285 text of the bytes. */
export function base45(bytes) {
  let text = "";
  for (let index = 0; index < bytes.length; index += 2) {
    const isPair = index + 1 < bytes.length;
    let value = isPair ? bytes[index] * 256 + bytes[index + 1] : bytes[index];
    for (let digits = isPair ? 3 : 2; digits > 0; digits -= 1) {
      text += ALPHABET[value % 45];
      value = Math.floor(value / 45);
    }
  }
  return text;
}

/** The 30-second step that holds the instant (milliseconds since 1970). */
export function stepAt(instant) {
  return Math.floor(instant / STEP_MS);
}

/** The text to show during the step, signed by the phone's own key. */
export async function phoneCode(privateKey, certificate, step) {
  const shown = new Uint8Array(certificate.length + 4);
  shown.set(certificate);
  new DataView(shown.buffer).setUint32(certificate.length, step);
  const signature = await crypto.subtle.sign("Ed25519", privateKey, joined(CONTEXT, shown));
  return PREFIX + base45(joined(shown, new Uint8Array(signature)));
}

/** A key pair whose private half cannot leave this browser, or null where the browser cannot make one. */
export async function makePhoneKey() {
  if (!globalThis.isSecureContext || !globalThis.crypto?.subtle) return null;
  try {
    return await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
  } catch (error) {
    if (error.name === "NotSupportedError" || error.name === "SyntaxError") return null;
    throw error;
  }
}

/** The public half as 32 raw bytes. */
export async function rawPublicKey(keys) {
  return new Uint8Array(await crypto.subtle.exportKey("raw", keys.publicKey));
}

/** base64url without padding. */
export function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** The bytes of base64url text. */
export function fromBase64url(text) {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

function joined(first, second) {
  const bytes = new Uint8Array(first.length + second.length);
  bytes.set(first);
  bytes.set(second, first.length);
  return bytes;
}
