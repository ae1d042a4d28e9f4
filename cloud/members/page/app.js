// Puts the page together: which view is shown, what its buttons do, when the cloud is asked.

import { Refused, Unreachable, call, makeSecret } from "./cloud.js";
import { openFace } from "./face.js";
import { forget, load, save } from "./keep.js";
import { openPass } from "./pass.js";
import { CONSENT_VERSION, chooseLanguage, localeOf, speaker } from "./texts.js";
import { base64url } from "./token.js";

const TOAST_MS = 4000;
const element = (id) => document.getElementById(id);

const page = { language: "en", say: speaker("en"), view: "loading", trouble: null, joining: null, kept: null, me: null };
const pass = openPass({ page, keep, refused });
const face = openFace({ page, tell: toast, ask, doing, changed: showHistory });

// --- views ---------------------------------------------------------------------------------------------------------

function show(view) {
  page.view = view;
  document.body.dataset.view = view;
  element("tabs").hidden = !["code", "card", "data"].includes(view);
  for (const tab of document.querySelectorAll("nav button")) {
    if (tab.dataset.to === view) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  pass.show(view === "code");
  if (view === "card") showCard();
  if (view === "data") showData();
  document.querySelector(`[data-for="${view}"] h1`)?.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function showTrouble(title, text, retry = null) {
  page.trouble = { title, text, retry };
  element("trouble-title").textContent = page.say(title);
  element("trouble-text").textContent = page.say(text);
  element("again").hidden = retry === null;
  show("trouble");
}

function speak(language) {
  page.language = language;
  page.say = speaker(language);
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = page.say(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", page.say(node.dataset.label));
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === language));
  }
  name();
  if (page.trouble) {
    element("trouble-title").textContent = page.say(page.trouble.title);
    element("trouble-text").textContent = page.say(page.trouble.text);
  }
  element("join-at").textContent = page.joining?.store_name ?? "";
  pass.repaint();
  if (page.view === "card") showCard();
  if (page.view === "data") showData();
}

function name() {
  const programme = page.me?.programme_name ?? page.joining?.name ?? "Doorstep";
  element("programme").textContent = programme;
  document.title = `${programme} · ${page.say("title")}`;
}

function toast(text, tone = "calm") {
  const place = element("toast");
  place.dataset.tone = tone;
  place.textContent = text;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { place.textContent = ""; }, TOAST_MS);
}

function ask(text) {
  const dialog = element("ask");
  element("ask-text").textContent = text;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** Runs what a button does: once at a time, and what goes wrong is said. */
function doing(button, act) {
  return async (event) => {
    event?.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    try {
      await act();
    } catch (error) {
      if (!(await refused(error))) toast(page.say(wordsFor(error)), "grave");
    } finally {
      button.disabled = false;
    }
  };
}

function wordsFor(error) {
  if (error instanceof Unreachable) return "unreachable";
  if (error instanceof Refused && error.kind === "joining-too-often") return "tooOften";
  if (error instanceof Refused && error.detail?.startsWith("nickname")) return "badNickname";
  if (!(error instanceof Refused)) console.error(error);
  return "failed";
}

// --- who is here ----------------------------------------------------------------------------------------------------

async function keep(change) {
  page.kept = { ...page.kept, ...change };
  await save(page.kept);
}

/** True when the error said that the secret opens nothing any more, which ends the membership on this phone. */
async function refused(error) {
  if (!(error instanceof Refused) || error.status !== 401 || !page.kept?.joined) return false;
  await end("notMemberTitle", "signedOut");
  return true;
}

async function end(title, text) {
  await forget();
  page.kept = page.me = null;
  name();
  showTrouble(title, text);
}

async function start() {
  const parameters = new URLSearchParams(location.search);
  page.kept = await load();
  speak(chooseLanguage([parameters.get("language"), page.kept?.language, ...navigator.languages].filter(Boolean)));
  if (page.kept?.joined) return enter();
  if (location.pathname !== "/join") return showTrouble("notMemberTitle", "notMember");
  const programme = parameters.get("programme");
  if (!programme) return showTrouble("noProgrammeTitle", "noProgramme");
  return offer(programme, parameters.get("store"));
}

async function offer(programme, store) {
  try {
    const query = store ? `?${new URLSearchParams({ store })}` : "";
    page.joining = await call("GET", `/join/${encodeURIComponent(programme)}${query}`);
  } catch (error) {
    if (error instanceof Refused) return showTrouble("noProgrammeTitle", "noProgramme");
    return showTrouble("strange", wordsFor(error), () => offer(programme, store));
  }
  speak(page.language);
  show("join");
}

async function joinNow() {
  const form = new FormData(element("join-form"));
  // The secret is kept before it is sent: if the answer is lost, the same secret joins again and is the same member.
  if (!page.kept?.secret) await keep({ secret: makeSecret(base64url), joined: false });
  const body = {
    programme: page.joining.programme,
    store: page.joining.store,
    nickname: form.get("nickname") || null,
    language: page.language,
    level: Number(form.get("level")),
    text_version: CONSENT_VERSION,
  };
  await call("POST", "/members", { secret: page.kept.secret, body });
  await keep({ joined: true, language: page.language });
  await enter();
}

async function enter() {
  if (location.pathname !== "/me") history.replaceState(null, "", "/me");
  page.me = page.kept.me ?? null;
  name();
  show("code");
  await pass.begin();
  name();
  keepPageForOffline();
  if (page.me && page.me.language !== page.language) await tellLanguage();
}

/** The page itself is kept by a service worker where the browser allows one, so that it opens with the line down. */
async function keepPageForOffline() {
  try {
    await navigator.serviceWorker?.register("/member/offline.js", { scope: "/me" });
  } catch {
    // A certificate that the phone does not know yet: the page works, it only needs the line to open.
  }
}

// --- card ------------------------------------------------------------------------------------------------------------

function showCard() {
  const card = page.me?.card ?? null;
  for (const id of ["card-print", "card-replace", "card-block"]) element(id).hidden = card === null;
  element("card-make").hidden = card !== null;
  const isRead = card !== null && page.kept.cardPicture?.serial === card.serial;
  element("paper").hidden = !isRead; // never the number of one card beside the code of another
  if (card === null) return;
  element("paper-programme").textContent = page.me.programme_name;
  element("paper-name").textContent = page.me.nickname ?? "";
  element("paper-number").textContent = page.say("cardNumber", { serial: card.serial });
  element("paper-until").textContent = page.say("cardUntil", { date: day(card.expires_on) });
  if (isRead) paintCard(page.kept.cardPicture.svg);
  else readCard(card.serial).catch(async (error) => {
    if (!(await refused(error))) toast(page.say(wordsFor(error)), "grave");
  });
}

async function readCard(serial) {
  const svg = await call("GET", "/members/me/card.svg", { secret: page.kept.secret });
  await keep({ cardPicture: { serial, svg } });
  paintCard(svg);
}

function paintCard(svg) {
  const picture = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
  const width = picture.getAttribute("viewBox") ?? `0 0 ${parseFloat(picture.getAttribute("width"))} ${parseFloat(picture.getAttribute("height"))}`;
  picture.setAttribute("viewBox", width);
  picture.removeAttribute("width");
  picture.removeAttribute("height");
  element("paper-code").replaceChildren(document.importNode(picture, true));
  element("paper").hidden = false;
}

async function makeCard(words) {
  await call("POST", "/members/me/card", { secret: page.kept.secret, key: base64url(crypto.getRandomValues(new Uint8Array(16))) });
  await pass.refresh();
  showCard();
  toast(page.say(words));
}

async function blockCard() {
  await call("DELETE", "/members/me/card", { secret: page.kept.secret });
  await keep({ cardPicture: null });
  await pass.refresh();
  showCard();
  toast(page.say("cardBlocked"));
}

// --- data ------------------------------------------------------------------------------------------------------------

function showData() {
  if (!page.me) return;
  const form = element("data-form");
  form.elements.nickname.value = page.me.nickname ?? "";
  form.elements.level.value = String(page.me.level);
  form.elements.marketing.checked = page.me.marketing;
  element("pseudonym").textContent = page.me.member;
  face.show().catch(async (error) => {
    if (!(await refused(error))) element("face-state").textContent = page.say(wordsFor(error));
  });
  showHistory().catch(async (error) => {
    if (!(await refused(error))) element("history").replaceChildren();
  });
}

async function showHistory() {
  const lines = await call("GET", "/members/me/consents", { secret: page.kept.secret });
  element("history").replaceChildren(...lines.reverse().map((line) => {
    const item = document.createElement("li");
    const what = document.createElement("span");
    const about = line.store ? "faceHistoryAt" : `purpose_${line.purpose}`;
    what.textContent = `${page.say(about, { level: line.level, store: line.store_name })}: ${page.say(line.given ? "historyGiven" : "historyWithdrawn")}`;
    const where = { kiosk: "historyKiosk", restore: "historyRestore" }[line.channel];
    if (where) what.textContent += `, ${page.say(where)}`;
    const when = document.createElement("time");
    when.dateTime = line.said_at;
    when.textContent = new Date(line.said_at).toLocaleString(localeOf(page.language), { dateStyle: "medium", timeStyle: "short" });
    item.append(what, when);
    return item;
  }));
}

async function saveData() {
  const form = new FormData(element("data-form"));
  const wanted = { nickname: form.get("nickname") || null, level: Number(form.get("level")), text_version: CONSENT_VERSION };
  await call("PATCH", "/members/me", { secret: page.kept.secret, body: wanted });
  const marketing = form.get("marketing") !== null;
  if (marketing !== page.me.marketing) await consent("marketing", marketing);
  await pass.refresh();
  showData();
  toast(page.say("saved"));
}

async function leaveNow() {
  await consent("programme", false);
  await end("leftTitle", "leftLead");
}

function consent(purpose, given) {
  const body = { purpose, given, text_version: CONSENT_VERSION, language: page.language };
  return call("POST", "/members/me/consents", { secret: page.kept.secret, body });
}

async function setLanguage(language) {
  speak(language);
  if (!page.kept?.joined) return;
  await keep({ language });
  await tellLanguage();
}

/** Doors greet in the page's language. Without a line the page says so when it next opens. */
async function tellLanguage() {
  try {
    page.me = await call("PATCH", "/members/me", { secret: page.kept.secret, body: { language: page.language } });
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
  }
}

function day(date) {
  return new Date(`${date}T12:00:00Z`).toLocaleDateString(localeOf(page.language), { dateStyle: "medium", timeZone: "UTC" });
}

// --- buttons ---------------------------------------------------------------------------------------------------------

function onClick(id, act) {
  const button = element(id);
  button.addEventListener("click", doing(button, act));
}

for (const tab of document.querySelectorAll("nav button")) tab.addEventListener("click", () => show(tab.dataset.to));
for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", doing(button, () => setLanguage(button.dataset.language)));
}
for (const [id, act] of [["join-form", joinNow], ["data-form", saveData]]) {
  const form = element(id);
  form.addEventListener("submit", doing(form.querySelector("button.primary"), act));
}
onClick("again", () => { show("loading"); return page.trouble.retry(); });
onClick("to-card", () => show("card"));
onClick("card-make", () => makeCard("cardMade"));
onClick("card-print", () => globalThis.print());
onClick("card-replace", async () => { if (await ask(page.say("cardReplaceAsk"))) await makeCard("cardReplaced"); });
onClick("card-block", async () => { if (await ask(page.say("cardBlockAsk"))) await blockCard(); });
onClick("face-give", async () => { await face.give(); await showHistory(); });
onClick("face-withdraw", async () => { await face.withdraw(); await showHistory(); });
onClick("leave", async () => { if (await ask(page.say("leaveAsk"))) await leaveNow(); });

start().catch((error) => {
  console.error(error);
  showTrouble("strange", "failed", () => location.reload());
});
