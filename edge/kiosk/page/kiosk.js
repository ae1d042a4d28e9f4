// Shows what the stream says. A greeting must never stand after its time, and a page that hears nothing says so.
import { Words } from "./words.js";

const REOPEN_MS = 2000; // after a refusal, which an EventSource takes as final
const GRACE_MS = 1500; // a restart of the server is not worth a fault screen
const SILENCE_MS = 45000; // three heartbeats
const WATCH_MS = 5000;

const element = (id) => document.getElementById(id);

// What each screen says beside its picture. A line is [key, values] of a text.
const SCREENS = {
  idle: () => ({ headline: ["idle.headline"], details: [["idle.detail"]] }),
  greeting: (screen) => ({
    headline: hello(screen),
    details: screen.coupon === "shown"
      ? [...counted("greeting.points", screen.points), ...coupon(screen)]
      : [["greeting.detail"], ...coupon(screen), ...wish(screen)],
    points: screen.coupon === "shown" ? null : screen.points, // the door holds one thing
  }),
  collected: (screen) => ({
    hello: hello(screen),
    headline: ["collected.headline"],
    details: [...counted("collected.earlier", screen.points), ["collected.detail"], ...coupon(screen)],
  }),
  invalid: () => ({ headline: ["invalid.headline"], details: [["invalid.detail"]] }),
  wrong_time: (screen) => ({
    headline: ["wrong_time.headline"],
    details: [...offset(screen.phone_ahead_s), ["wrong_time.detail"]],
  }),
  one_code: () => ({ headline: ["one_code.headline"], details: [["one_code.detail"]] }),
  noted: (screen) => ({ hello: hello(screen), headline: ["noted.headline"], details: [["noted.detail"]] }),
  exhausted: (screen) => ({
    hello: hello(screen),
    headline: ["exhausted.headline"],
    details: [["exhausted.detail"]],
  }),
  show_code: () => ({ headline: ["show_code.headline"], details: [["show_code.detail"]] }),
  choose: (screen) => ({
    headline: ["choose.headline"],
    details: [["choose.detail"]],
    picks: screen.choices,
  }),
  turn: (screen) => ({ headline: [screen.side === "left" ? "turn.left" : "turn.right"], details: [["turn.detail"]] }),
  consent: (screen) => ({
    headline: ["consent.headline"],
    details: [
      ["consent.purpose"],
      ["consent.kept"],
      ["consent.place"],
      ["consent.term"],
      ["consent.choice"],
      ["consent.withdraw"],
      ["consent.version", { version: screen.text_version }],
    ],
  }),
  enrol: (screen) => ({ headline: [`enrol.${screen.hint ?? "come"}`], details: [["enrol.detail"]] }),
  enrolled: () => ({ headline: ["enrolled.headline"], details: [["enrolled.detail"]] }),
  not_enrolled: (screen) => ({
    headline: ["not_enrolled.headline"],
    details: [[`not_enrolled.${screen.refusal ?? "nobody"}`], ["not_enrolled.detail"]],
  }),
  forgotten: () => ({ headline: ["forgotten.headline"], details: [["forgotten.detail"], ["forgotten.code"]] }),
  join_group: () => ({ headline: ["join_group.headline"], details: [["join_group.detail"]] }),
  admitted: () => ({ headline: ["admitted.headline"], details: [["admitted.detail"]] }),
  introduce: () => ({ headline: ["introduce.headline"], details: [["introduce.detail"]] }),
  introduced: () => ({ headline: ["introduced.headline"], details: [["introduced.detail"]] }),
  paused: () => ({ headline: ["paused.headline"], details: [["paused.detail"]] }),
  fault: (screen) => ({
    headline: ["fault.headline"],
    details: [["fault.detail"]],
    staff: screen.fault === null ? null : [`fault.${screen.fault}`],
  }),
};
// What may be tapped, in the order in which it stands; while a face is learnt "no" is "stop". All look alike: a yes
// that shines brighter than the no is no free choice.
const OFFERS = {
  agree: "offer.agree",
  decline: "offer.decline",
  not_me: "offer.not_me",
  recognise_me: "offer.recognise_me",
  forget_me: "offer.forget_me",
};
const TAP_AGAIN_MS = 1500; // a tap that led to nothing may be tried again
const BLANK = {
  language: null,
  nickname: null,
  points: null,
  balance: null,
  phone_ahead_s: null,
  fault: null,
  offers: [],
  choices: [],
  side: null,
  code: null,
  coupon: null,
  label: null,
  confirmed: null,
};
const IDLE = { ...BLANK, name: "idle" };
const AWAY = { ...BLANK, name: "fault" };

function hello(screen) {
  return screen.nickname?.trim() ? ["hello.name", { name: screen.nickname }] : ["hello.nameless"];
}

function counted(key, count) {
  return count === null ? [] : [[key, count]];
}

// Below a greeting: what to do with the code that stands beside it, or a wish where there is nothing else to say.
function wish(screen) {
  if (screen.code !== null) return [["greeting.receipt"]];
  return screen.coupon === null ? [["greeting.wish"]] : [];
}

// What came of the coupon of the day's claim; its code stands in the door.
function coupon(screen) {
  const lines = [];
  if (screen.coupon === "shown") lines.push(["coupon.shown", { label: screen.label }], ["coupon.keep"]);
  if (screen.coupon === "deferred") lines.push(["coupon.deferred", { label: screen.label }]);
  if (screen.confirmed) lines.push(["coupon.confirmed", { label: screen.confirmed }]);
  return lines;
}

function offset(aheadSeconds) {
  if (aheadSeconds === null) return [];
  return [[aheadSeconds < 0 ? "wrong_time.behind" : "wrong_time.ahead", { seconds: aheadSeconds }]];
}

class Page {
  constructor(words) {
    this.words = words;
    this.shown = null;
    this.status = null;
    this.goingIdle = 0;
    this.serial = null;
  }

  // Shows what the agent wants, for `seconds`; then the idle screen, if nothing else came.
  show({ serial, screen, status, seconds }) {
    clearTimeout(this.goingIdle);
    this.status = status ?? this.status;
    this.render(screen, serial);
    if (seconds > 0) this.goingIdle = setTimeout(() => this.render(IDLE, serial), seconds * 1000);
  }

  // Nothing is known any more: whatever was shown may be untrue.
  away() {
    clearTimeout(this.goingIdle);
    this.render(AWAY, null);
  }

  render(asked, serial) {
    const screen = asked.name in SCREENS ? asked : AWAY; // a name of a newer agent
    const speaker = this.words.speaker(screen.language);
    this.renderStatus(speaker);
    this.serial = serial;
    const key = JSON.stringify([screen, this.status?.faces === true]);
    if (key !== this.shown) {
      const moves = screen.name !== document.body.dataset.screen || screen.name !== "enrol";
      this.shown = key;
      this.renderScreen(screen, speaker, serial);
      if (moves) restartEntrance();
    }
    markPainted(serial, screen);
  }

  renderScreen(screen, speaker, serial) {
    const says = SCREENS[screen.name](screen);
    // Until a member is known nobody's language is: all the kiosk's languages speak.
    const others = screen.language === null ? this.words.others(speaker) : [];
    document.documentElement.lang = speaker.language;
    document.title = speaker.say("title");
    document.body.dataset.screen = screen.name;
    document.body.dataset.side = screen.side ?? "";
    document.body.dataset.coupon = screen.coupon ?? "";
    fill("hello", speaker, says.hello);
    fill("headline", speaker, says.headline);
    element("headline").dataset.length = lengthClass(element("headline").textContent);
    element("details").replaceChildren(...says.details.map((line) => paragraph(speaker, line)));
    this.renderPoints(speaker, says.points ?? null);
    this.renderBalance(speaker, screen.balance);
    const memberless = !says.hello && says.points === undefined;
    element("also").replaceChildren(...(memberless ? others.map((other) => alsoLine(other, says)) : []));
    this.renderOffers(screen, says, speaker);
    this.renderPictures(screen, serial);
    this.renderFoot(screen, says, speaker, others);
  }

  renderOffers(screen, says, speaker) {
    const picks = (says.picks ?? []).map((name, place) => this.button("pick", name, place));
    if (picks.length > 0) picks.push(this.button("pick", speaker.say("choose.none"), null));
    const learning = screen.name === "enrol";
    const others = Object.keys(OFFERS)
      .filter((offer) => screen.offers.includes(offer))
      .map((offer) => this.button(offer, speaker.say(learning ? "offer.stop" : OFFERS[offer]), null));
    element("offers").replaceChildren(...picks, ...others);
  }

  button(offer, text, choice) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.dataset.offer = offer;
    made.addEventListener("click", () => this.tap(offer, choice));
    return made;
  }

  // One finger, one tap: what follows comes back as the next screen.
  tap(offer, choice) {
    const buttons = [...element("offers").children];
    for (const button of buttons) button.disabled = true;
    setTimeout(() => buttons.forEach((button) => (button.disabled = false)), TAP_AGAIN_MS);
    const body = JSON.stringify({ serial: this.serial, offer, choice });
    fetch("/touch", { method: "POST", headers: { "content-type": "application/json" }, body }).catch(() => {});
  }

  renderPictures(screen, serial) {
    const learnt = screen.name === "enrol" && screen.wanted > 0 ? (100 * screen.taken) / screen.wanted : 0;
    element("progress").style.setProperty("--learnt", String(Math.min(learnt, 100)));
    const picture = element("code");
    picture.hidden = screen.code === null;
    if (screen.code !== null) picture.src = `/code.svg?serial=${serial}`;
    else picture.removeAttribute("src");
  }

  renderPoints(speaker, points) {
    const gain = points === null ? "" : speaker.gain(points);
    const unit = points === null ? "" : speaker.count("points", points);
    setText("points", gain);
    setText("points-unit", unit);
    setText("spoken-points", gain && `${gain} ${unit}`);
    element("points").style.setProperty("--characters", String(Math.max(gain.length, 3)));
  }

  renderBalance(speaker, balance) {
    element("balance").hidden = balance === null;
    setText("balance-label", balance === null ? "" : speaker.say("balance.label"));
    setText("balance-points", balance === null ? "" : speaker.count("balance.points", balance));
  }

  renderFoot(screen, says, speaker, others) {
    const lines = [];
    if (screen.name === "idle") lines.push(...[speaker, ...others].map((each) => this.privacyNotice(each)));
    if (says.staff) lines.push(...[speaker, ...others].map((each) => paragraph(each, says.staff)));
    element("foot").replaceChildren(...lines);
  }

  privacyNotice(speaker) {
    const notice = paragraph(speaker, [this.status?.faces ? "privacy.faces" : "privacy.camera"]);
    const address = this.words.privacyAddress;
    const more = address === null ? speaker.say("privacy.more") : speaker.say("privacy.more_at", { address });
    notice.append(" ", more);
    return notice;
  }

  renderStatus(speaker) {
    const status = this.status;
    setText("store", status?.store_name ?? "");
    const offline = status !== null && !status.online;
    const waiting = offline ? status.waiting : 0;
    element("offline").hidden = !offline;
    setText("offline-words", offline ? speaker.say("offline.headline") : "");
    setText("waiting", waiting > 0 ? speaker.count("offline.waiting", waiting) : "");
    element("waiting").hidden = waiting === 0;
  }
}

function setText(id, text) {
  const target = element(id);
  if (target.textContent !== text) target.textContent = text; // a live region speaks whenever it is written to
}

function fill(id, speaker, line) {
  const target = element(id);
  target.hidden = !line;
  target.replaceChildren(...(line ? nodes(speaker, line) : []));
}

function paragraph(speaker, line) {
  const made = document.createElement("p");
  made.lang = speaker.language;
  made.append(...nodes(speaker, line));
  return made;
}

function alsoLine(speaker, says) {
  const made = paragraph(speaker, says.headline);
  const headline = document.createElement("strong");
  headline.append(...made.childNodes);
  made.append(headline, " ", ...says.details.flatMap((line) => [...nodes(speaker, line), " "]));
  return made;
}

// A name and a label are others' texts: set as text, and apart, so that their writing direction stays their own.
function nodes(speaker, [key, values]) {
  if (typeof values === "number") return [document.createTextNode(speaker.count(key, values))];
  const known = values?.seconds === undefined ? values : { duration: speaker.duration(values.seconds) };
  return speaker.parts(key, known).map(({ text, value }) => {
    if (value !== "name" && value !== "label") return document.createTextNode(text);
    const name = document.createElement("bdi");
    name.textContent = text;
    return name;
  });
}

function lengthClass(text) {
  const length = [...text].length;
  if (length <= 14) return "short";
  return length <= 24 ? "medium" : "long";
}

// Plays the entrance once more; a page that stays as it is must not move.
function restartEntrance() {
  const main = document.querySelector("main");
  main.classList.remove("enter");
  void main.offsetWidth; // the class must be seen gone once
  main.classList.add("enter");
}

// Says on the page which screen the eye has: whoever supervises or tests the browser reads it there.
function markPainted(serial, screen) {
  requestAnimationFrame(() => {
    requestAnimationFrame(() => {
      document.body.dataset.painted = serial ?? "";
      document.body.dataset.claim = screen.claim ?? "";
    });
  });
}

class Stream {
  constructor(page) {
    this.page = page;
    this.source = null;
    this.edition = null;
    this.heardAt = performance.now();
    this.reopening = 0;
    this.givingUp = 0;
  }

  start() {
    this.open();
    setInterval(() => {
      if (this.source && performance.now() - this.heardAt > SILENCE_MS) this.fail();
    }, WATCH_MS);
    // A browser opens six connections to one server at most; a tab nobody looks at should hold none.
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.close();
      else this.open();
    });
  }

  open() {
    this.close();
    const source = new EventSource("/events");
    this.source = source;
    this.heardAt = performance.now();
    source.addEventListener("message", (event) => {
      this.heard();
      this.page.show(JSON.parse(event.data));
    });
    source.addEventListener("alive", () => this.heard());
    source.addEventListener("edition", (event) => this.compare(event.data));
    source.addEventListener("error", () => this.lost());
  }

  // After an update the server's page is another one than this.
  compare(edition) {
    this.edition ??= edition;
    if (this.edition !== edition) location.reload();
  }

  close() {
    clearTimeout(this.reopening);
    this.reopening = 0;
    this.source?.close();
    this.source = null;
  }

  heard() {
    this.heardAt = performance.now();
    clearTimeout(this.givingUp);
    this.givingUp = 0;
  }

  lost() {
    this.givingUp ||= setTimeout(() => this.page.away(), GRACE_MS);
    if (this.source?.readyState === EventSource.CLOSED) this.reopening ||= setTimeout(() => this.open(), REOPEN_MS);
  }

  fail() {
    this.page.away();
    this.open();
  }
}

async function start() {
  const answer = await fetch("/texts");
  if (!answer.ok) throw new Error(`texts: ${answer.status}`);
  const page = new Page(new Words(await answer.json()));
  page.away();
  new Stream(page).start();
}

start().catch(() => setTimeout(() => location.reload(), REOPEN_MS));
