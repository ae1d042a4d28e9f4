// The part of the data view that is about the member's face: the consent, where a face is known, who proved to have
// deleted it. Only words and dates come here; no camera, no picture, no numbers of a face.

import { call } from "./cloud.js";
import { BIOMETRIC_VERSION, localeOf } from "./texts.js";

const KIOSK_SHOWN = 6; // characters of a kiosk's name, enough to tell a shop's kiosks apart
const element = (id) => document.getElementById(id);

/** Joins the section to the page; `tell` shows a short message, `ask` a question. */
export function openFace({ page, tell, ask }) {
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
    list("face-proofs", face.deletions.map((one) => line(place(one), fate(one))));
  }

  async function say(given) {
    const body = { purpose: "biometric", given, text_version: BIOMETRIC_VERSION, language: page.language };
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
