// The part of the data view that is about the member's face: the consent, where a face is known and where else it may
// be, who proved to have deleted it. Only words and dates come here; no camera, no picture, no numbers of a face.

import { call } from "./cloud.js";
import { BIOMETRIC_VERSION, localeOf } from "./texts.js";

const KIOSK_SHOWN = 6; // characters of a kiosk's name, enough to tell a shop's kiosks apart
const element = (id) => document.getElementById(id);

/**
 * Joins the section to the page; `tell` shows a short message, `ask` a question. `doing` makes a button's act of an act,
 * and `changed` is called once a consent is another.
 */
export function openFace({ page, tell, ask, doing, changed }) {
  async function show() {
    const face = await call("GET", "/members/me/face", { secret: page.kept.secret });
    const isGiven = face.consent !== null;
    element("face-state").textContent = isGiven
      ? page.say("faceGiven", { version: face.consent })
      : page.say("faceNotGiven", { version: face.text_version });
    // A page that was kept too long shows another text than the one in force: it may end a consent, never give one.
    element("face-give").hidden = face.consent === face.text_version || face.text_version !== BIOMETRIC_VERSION;
    element("face-withdraw").hidden = !isGiven;
    list("face-stores", face.stores.map((known) => line(known.store_name, page.say("faceSince", { date: date(known.since) }))));
    const isCurrent = face.text_version === BIOMETRIC_VERSION;
    const others = isGiven ? face.others.filter((other) => other.allowed || isCurrent) : [];
    list("face-others", others.map(choice));
    element("face-others-lead").hidden = others.length === 0;
    list("face-proofs", face.deletions.map((one) => line(place(one), fate(one))));
  }

  async function say(given, store = null) {
    const body = { purpose: "biometric", given, text_version: BIOMETRIC_VERSION, language: page.language, store };
    await call("POST", "/members/me/consents", { secret: page.kept.secret, body });
  }

  async function give() {
    await say(true);
    await show();
    tell(page.say("faceThanks"));
  }

  async function withdraw() {
    if (!(await ask(page.say("faceWithdrawAsk")))) return;
    await say(false);
    await show();
    tell(page.say("faceGone"));
  }

  /** One other shop, what was said of it, and the button that says the opposite. */
  function choice(other) {
    const state = other.since ? page.say("faceSince", { date: date(other.since) }) : page.say(other.allowed ? "faceAllowed" : "faceNotAllowed");
    const item = line(other.store_name, state);
    const button = document.createElement("button");
    button.type = "button";
    button.className = other.allowed ? "grave" : "primary";
    button.textContent = page.say(other.allowed ? "faceDisallow" : "faceAllow");
    button.setAttribute("aria-label", `${button.textContent}: ${other.store_name}`);
    button.addEventListener("click", doing(button, () => (other.allowed ? disallow(other) : allow(other))));
    item.append(button);
    return item;
  }

  async function allow(other) {
    await say(true, other.store);
    await show();
    await changed();
    tell(page.say("faceAllowedThanks", { store: other.store_name }));
  }

  async function disallow(other) {
    if (!(await ask(page.say("faceDisallowAsk", { store: other.store_name })))) return;
    await say(false, other.store);
    await show();
    await changed();
    tell(page.say("faceDisallowed", { store: other.store_name }));
  }

  function place(one) {
    return page.say("faceKiosk", { store: one.store_name, kiosk: one.kiosk.slice(0, KIOSK_SHOWN) });
  }

  function fate(one) {
    if (one.deleted_at) return page.say("faceDeleted", { date: date(one.deleted_at) });
    const isOver = Date.parse(one.latest_at) < Date.now();
    return page.say(isOver ? "faceLapsed" : "faceWaiting", { date: date(one.latest_at) });
  }

  function date(instant) {
    return new Date(instant).toLocaleString(localeOf(page.language), { dateStyle: "medium", timeStyle: "short" });
  }

  return { show, give, withdraw };
}

function list(id, lines) {
  element(id).replaceChildren(...lines);
  element(`${id}-title`).hidden = element(id).hidden = lines.length === 0;
}

function line(what, when) {
  const item = document.createElement("li");
  for (const text of [what, when]) {
    const part = document.createElement("span");
    part.textContent = text;
    item.append(part);
  }
  return item;
}
