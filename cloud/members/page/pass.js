// The view with the code and the balance. The code needs the cloud only for its certificate, every 30 days or so; the
// balance is asked for every few seconds while somebody looks.

import { Refused, Unreachable, call } from "./cloud.js";
import { drawCode } from "./qr.js";
import { localeOf } from "./texts.js";
import { STEP_MS, base64url, fromBase64url, makePhoneKey, phoneCode, rawPublicKey, stepAt } from "./token.js";

const ASK_MS = 4000;
const PAINT_MS = 250;
const RENEW_DAYS = 30; // a certificate with less left is renewed when the cloud is there
const CORRECT_MS = 10_000; // a clock that is off by less may as well be a slow line
const TELL_MS = 60_000;
const DAY_MS = 86_400_000;
const element = (id) => document.getElementById(id);

/** The pass. `page` is what the page knows, `keep` saves, `refused` ends a membership that is no more. */
export function openPass({ page, keep, refused }) {
  let isShown = false;
  let isOnline = true;
  let keyTrouble = null; // the key of the text that says why there is no code
  let drawnStep = null;
  let lock = null;
  let asking = null;

  /** The true time as far as we know it: the cloud told us how far this phone's clock is off. */
  function now() {
    const offset = page.kept?.offset ?? 0;
    return Date.now() + (Math.abs(offset) > CORRECT_MS ? offset : 0);
  }

  async function begin() {
    drawnStep = null;
    await refresh().catch(settle);
    await certify().catch(settle);
    await paint();
  }

  /** Asks the cloud who we are. Throws what the cloud or the line said. */
  async function refresh() {
    const asked = Date.now();
    try {
      const me = await call("GET", "/members/me", { secret: page.kept.secret });
      const offset = me.server_ms - (asked + Date.now()) / 2;
      isOnline = true;
      page.me = me;
      await keep({ me, seen: asked + offset, offset });
    } catch (error) {
      if (error instanceof Unreachable) isOnline = false;
      throw error;
    } finally {
      paintWords();
    }
  }

  async function settle(error) {
    if (error instanceof Unreachable || (await refused(error))) return;
    console.error(error);
  }

  /** Sees to a key and a certificate that is good for some weeks, where the browser can and the cloud will. */
  async function certify() {
    if (!page.kept) return;
    keyTrouble = null;
    if (!page.kept.keys) {
      const keys = await makePhoneKey();
      if (keys === null) { keyTrouble = isSecureContext ? "noKey" : "insecure"; return; }
      await keep({ keys });
    }
    if ((page.kept.expires ?? 0) - now() > RENEW_DAYS * DAY_MS && !page.me?.phones_denied) return;
    try {
      const body = { public_key: base64url(await rawPublicKey(page.kept.keys)) };
      const made = await call("POST", "/members/me/phones", { secret: page.kept.secret, body });
      const expires = Date.parse(`${made.expires_on}T00:00:00Z`) + DAY_MS;
      await keep({ certificate: fromBase64url(made.certificate), expires });
    } catch (error) {
      await uncertified(error);
    }
  }

  async function uncertified(error) {
    if (error instanceof Unreachable) {
      if ((page.kept.expires ?? 0) <= now()) keyTrouble = "needConnection";
      return;
    }
    if (!(error instanceof Refused) || error.kind !== "phone-refused") throw error;
    await keep({ certificate: null, expires: 0 });
    if (error.detail === "key_revoked") { // the denial has run out, but this key is of no use again
      await keep({ keys: null });
      await certify();
      return;
    }
    keyTrouble = error.detail === "too_many" ? "tooManyPhones" : "phonesDenied";
  }

  async function paint() {
    const hasCode = Boolean(page.kept?.certificate) && keyTrouble === null;
    for (const id of ["frame", "next", "hold"]) element(id).hidden = !hasCode;
    element("to-card").hidden = hasCode || !page.me;
    if (hasCode) await paintCode();
    paintWords();
  }

  async function paintCode() {
    const instant = now();
    const step = stepAt(instant);
    const left = STEP_MS - (instant % STEP_MS);
    element("ring").style.strokeDashoffset = String(100 - (100 * left) / STEP_MS);
    element("next").textContent = page.say("nextIn", { seconds: Math.ceil(left / 1000) });
    if (step === drawnStep) return;
    drawnStep = step;
    drawCode(element("code"), await phoneCode(page.kept.keys.privateKey, page.kept.certificate, step));
    element("code").dataset.step = step;
  }

  function paintWords() {
    const me = page.me;
    element("hello").textContent = me?.nickname ? page.say("helloNamed", { name: me.nickname }) : page.say("hello");
    paintBalance(me);
    const note = noteNow();
    element("code-note").hidden = note === null;
    if (note !== null && element("code-note").textContent !== note) element("code-note").textContent = note;
  }

  function paintBalance(me) {
    const balances = me ? (me.balances.length ? me.balances : [{ unit: "", amount: 0 }]) : [];
    const text = JSON.stringify([page.language, balances]);
    if (element("balance").dataset.shown === text) return; // a status region speaks only when something changed
    element("balance").dataset.shown = text;
    element("balance").replaceChildren(...balances.flatMap(({ unit, amount }) => {
      const number = document.createElement("b");
      number.textContent = new Intl.NumberFormat(localeOf(page.language), { useGrouping: "always" }).format(amount);
      const name = balances.length > 1 ? unit.split(":").pop() : page.say(amount === 1 ? "point" : "points");
      return [number, document.createTextNode(name)];
    }));
  }

  function noteNow() {
    if (keyTrouble !== null) return page.say(keyTrouble);
    if (!isOnline && page.kept?.seen) {
      const time = new Date(page.kept.seen).toLocaleTimeString(localeOf(page.language), { timeStyle: "short" });
      return page.say("offline", { time });
    }
    const offset = Math.abs(page.kept?.offset ?? 0);
    return offset > TELL_MS ? page.say("clockOff", { minutes: Math.round(offset / 60_000) }) : null;
  }

  async function stayAwake() {
    if (!isShown || document.hidden || lock !== null) return;
    try {
      lock = await navigator.wakeLock?.request("screen") ?? null;
      lock?.addEventListener("release", () => { lock = null; });
    } catch {
      lock = null; // a low battery or an old browser: the screen dims as it always does
    }
  }

  function look() {
    if (!isShown || document.hidden || !page.kept) return;
    paint().catch(console.error);
  }

  /** One question at a time: a slow line must not pile them up. */
  function askAgain() {
    if (!isShown || document.hidden || !page.kept?.joined || asking) return;
    const certifyIfNeeded = () => (keyTrouble === "needConnection" || page.me.phones_denied ? certify() : undefined);
    asking = refresh().then(certifyIfNeeded).catch(settle).finally(() => { asking = null; });
  }

  setInterval(look, PAINT_MS);
  setInterval(askAgain, ASK_MS);
  document.addEventListener("visibilitychange", () => { look(); askAgain(); stayAwake(); });

  return {
    begin,
    refresh,
    repaint: () => { drawnStep = null; if (isShown) paintWords(); },
    show: (shown) => {
      isShown = shown;
      if (shown) { look(); stayAwake(); } else lock?.release();
    },
  };
}
