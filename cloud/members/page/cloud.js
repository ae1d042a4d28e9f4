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
  const answer = await send(`/v1${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (!answer.ok) throw await refusal(answer);
  return answer.headers.get("Content-Type")?.startsWith("image/") ? answer.text() : answer.json();
}

async function send(path, request) {
  try {
    return await fetch(path, { ...request, cache: "no-store", signal: AbortSignal.timeout(WAIT_MS) });
  } catch {
    throw new Unreachable();
  }
}

async function refusal(answer) {
  try {
    const problem = await answer.json();
    return new Refused(answer.status, String(problem.type).split(":").pop(), problem.detail ?? null);
  } catch {
    return new Refused(answer.status, "unknown", null);
  }
}
