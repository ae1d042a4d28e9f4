// The cloud as the page sees it: a few calls, each giving parsed JSON or throwing one of two errors.

const WAIT_MS = 10_000;

/** The cloud answered no; `kind` is the last part of the problem's type. */
export class Refused extends Error {
  constructor(status, kind, detail) {
    super(kind);
    this.status = status;
    this.kind = kind;
    this.detail = detail;
  }
}

/** The cloud could not be reached. */
export class Unreachable extends Error {}

/** A fresh secret: whoever holds it is the member. The cloud stores only its digest. */
export function makeSecret(encode) {
  return `dsm_${encode(crypto.getRandomValues(new Uint8Array(32)))}`;
}

/** Calls the API under /v1. `secret` and `body` may be left out. */
export async function call(method, path, { secret, body, key } = {}) {
  const headers = { Accept: "application/json" };
  if (secret) headers.Authorization = `Bearer ${secret}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  const request = { method, headers, body: body === undefined ? undefined : JSON.stringify(body) };
  const { answer, text } = await send(`/v1${path}`, request);
  if (!answer.ok) throw refusal(answer.status, text);
  return answer.headers.get("Content-Type")?.startsWith("image/") ? text : JSON.parse(text);
}

/** The answer with all of its text: a line that goes while the text comes is a line that is gone. */
async function send(path, request) {
  try {
    const answer = await fetch(path, { ...request, cache: "no-store", signal: AbortSignal.timeout(WAIT_MS) });
    return { answer, text: await answer.text() };
  } catch {
    throw new Unreachable();
  }
}

function refusal(status, text) {
  try {
    const problem = JSON.parse(text);
    return new Refused(status, String(problem.type).split(":").pop(), problem.detail ?? null);
  } catch {
    return new Refused(status, "unknown", null);
  }
}
