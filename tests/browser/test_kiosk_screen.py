"""The kiosk's page in a real browser: what a person reads on every screen, and what a hostile name cannot do."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from edge.core.screen import Offer, Screen, ScreenName, StandHint
from edge.kiosk.texts import PageTexts, load_texts
from edge.vision.codes import Effort
from edge.vision.qr import read_codes
from tests.browser.screens import COUPON, LANDSCAPE, PORTRAIT, REQUEST, SMALL, Scene, open_page, scenes, show
from tests.support.screen_agent import IDLE, LOOKING, OFFLINE, ONLINE, KioskStand, kiosk_stand

GREETING = Screen(name=ScreenName.GREETING, nickname="Giulia", language="en", points=10, balance=1240)

# What a person reads, in order, without the store's name; the points in the door are read between door and words.
READ: Mapping[tuple[str, str], str] = {
    ("idle", "en"): (
        "Show your code / Hold your phone or card up to the camera and collect today’s points."
        " / Mostra il tuo codice / Avvicina il telefono o la tessera alla telecamera e raccogli i punti di oggi."
        " / The camera reads codes only. No picture is kept. Full privacy notice: ask our staff."
        " / La telecamera legge solo i codici. Nessuna immagine viene conservata."
        " Informativa completa: chiedi al personale."
    ),
    ("idle", "it"): (
        "Mostra il tuo codice / Avvicina il telefono o la tessera alla telecamera e raccogli i punti di oggi."
        " / Show your code / Hold your phone or card up to the camera and collect today’s points."
        " / La telecamera legge solo i codici. Nessuna immagine viene conservata."
        " Informativa completa: chiedi al personale."
        " / The camera reads codes only. No picture is kept. Full privacy notice: ask our staff."
    ),
    ("greeting", "en"): (
        "+10 / points / Hello, Giulia! / Today’s points are yours. / Enjoy your visit. / Your balance 1,240 points"
    ),
    ("greeting", "it"): (
        "+10 / punti / Ciao, Giulia! / I punti di oggi sono tuoi. / Buona visita. / Il tuo saldo 1.240 punti"
    ),
    ("greeting_receipt", "en"): (
        "Offline – points are safe and follow / 3 waiting / +10 / points / Hello, Giulia! / Today’s points are yours."
        " / We are offline. Photograph this code: it proves your points. / Your balance 1,240 points"
    ),
    ("greeting_receipt", "it"): (
        "Offline – punti al sicuro, in arrivo / 3 in attesa / +10 / punti / Ciao, Giulia!"
        " / I punti di oggi sono tuoi. / Siamo senza linea. Fotografa questo codice: è la prova dei tuoi punti."
        " / Il tuo saldo 1.240 punti"
    ),
    ("coupon", "en"): (
        "Hello, Giulia! / 10 points are yours. / And for you today: A free espresso at the bar"
        " / Take a picture of the code and show it at the till. / Your balance 1,240 points"
    ),
    ("coupon", "it"): (
        "Ciao, Giulia! / 10 punti sono tuoi. / E oggi per te: Un espresso gratis al bar"
        " / Fotografa il codice e mostralo in cassa. / Il tuo saldo 1.240 punti"
    ),
    ("deferred", "en"): (
        "+10 / points / Hello, Giulia! / Today’s points are yours."
        " / A free espresso at the bar: registered, and to be confirmed. / Your balance 1,240 points"
    ),
    ("deferred", "it"): (
        "+10 / punti / Ciao, Giulia! / I punti di oggi sono tuoi."
        " / Un espresso gratis al bar: registrato, in attesa di conferma. / Il tuo saldo 1.240 punti"
    ),
    ("collected", "en"): (
        "Hello, Giulia! / Already collected today / 10 points came in earlier today. / Come back tomorrow for more."
        " / Your balance 1,240 points"
    ),
    ("collected", "it"): (
        "Ciao, Giulia! / Già raccolti oggi / Oggi hai già ricevuto 10 punti. / Torna domani per riceverne altri."
        " / Il tuo saldo 1.240 punti"
    ),
    ("invalid", "en"): (
        "Code not valid / Open a fresh code on your phone and try again, or ask our staff."
        " / Codice non valido / Apri un nuovo codice sul telefono e riprova, oppure chiedi al personale."
    ),
    ("invalid", "it"): (
        "Codice non valido / Apri un nuovo codice sul telefono e riprova, oppure chiedi al personale."
        " / Code not valid / Open a fresh code on your phone and try again, or ask our staff."
    ),
    ("wrong_time", "en"): (
        "Check your phone’s clock / It is about 5 minutes behind. / Set it to automatic and show your code again."
        " / Controlla l’ora del telefono"
        " / È indietro di circa 5 minuti. Impostala su automatica e mostra di nuovo il codice."
    ),
    ("wrong_time", "it"): (
        "Controlla l’ora del telefono / È indietro di circa 5 minuti."
        " / Impostala su automatica e mostra di nuovo il codice. / Check your phone’s clock"
        " / It is about 5 minutes behind. Set it to automatic and show your code again."
    ),
    ("one_code", "en"): (
        "One code at a time / The camera sees codes of two members. Please show only yours."
        " / Un codice alla volta / La telecamera vede i codici di due persone. Mostra solo il tuo."
    ),
    ("one_code", "it"): (
        "Un codice alla volta / La telecamera vede i codici di due persone. Mostra solo il tuo."
        " / One code at a time / The camera sees codes of two members. Please show only yours."
    ),
    ("noted", "en"): (
        "Offline – points are safe and follow / 3 waiting / Hello, Giulia! / Your visit is noted"
        " / Your points follow as soon as this kiosk has the right time."
    ),
    ("noted", "it"): (
        "Offline – punti al sicuro, in arrivo / 3 in attesa / Ciao, Giulia! / Visita registrata"
        " / I punti arrivano appena questo schermo conosce l’ora esatta."
    ),
    ("exhausted", "en"): (
        "Hello, Giulia! / No more points today / All of today’s points have been collected. Come back tomorrow!"
    ),
    ("exhausted", "it"): (
        "Ciao, Giulia! / Punti finiti per oggi / I punti di oggi sono stati tutti raccolti. Torna domani!"
    ),
    ("paused", "en"): (
        "Taking a break / This kiosk gives no points at the moment. Please ask our staff."
        " / In pausa / Al momento questo schermo non assegna punti. Chiedi al personale."
    ),
    ("paused", "it"): (
        "In pausa / Al momento questo schermo non assegna punti. Chiedi al personale."
        " / Taking a break / This kiosk gives no points at the moment. Please ask our staff."
    ),
    ("show_code", "en"): (
        "Please show your code / Hold your phone or card up to the camera, and we go on from there. / Mostra"
        " il codice, per favore / Avvicina il telefono o la tessera alla telecamera, e andiamo avanti da lì."
    ),
    ("show_code", "it"): (
        "Mostra il codice, per favore / Avvicina il telefono o la tessera alla telecamera, e andiamo avanti"
        " da lì. / Please show your code / Hold your phone or card up to the camera, and we go on from there."
    ),
    ("choose", "en"): (
        "Which one is you? / Tap your nickname. / M•••a / G•••o / A••• / F•••a / L•••o / C•••e / None of"
        " these / Chi sei? / Tocca il tuo nome."
    ),
    ("choose", "it"): (
        "Chi sei? / Tocca il tuo nome. / M•••a / G•••o / A••• / F•••a / L•••o / C•••e / Nessuno di questi /"
        " Which one is you? / Tap your nickname."
    ),
    ("turn", "en"): (
        "Turn your head to the left / Look at the screen first, then turn slowly. / Gira la testa a sinistra"
        " / Guarda prima lo schermo, poi gira piano."
    ),
    ("turn", "it"): (
        "Gira la testa a sinistra / Guarda prima lo schermo, poi gira piano. / Turn your head to the left /"
        " Look at the screen first, then turn slowly."
    ),
    ("consent", "en"): (
        "Shall we recognise you from now on? / Why: to know you at this shop’s door and give you the day’s"
        " points, without your code. / What is kept: 256 numbers that describe your face. No picture. / Where:"
        " encrypted, on the kiosks of this shop. Our servers pass them on and cannot read them. / How long:"
        " until you withdraw. A kiosk that has not heard from us for 30 days deletes them by itself. / You"
        " need not: your code always works and gives the same points. / To withdraw: on your member page, or"
        " here after your code. Every kiosk then deletes them. / Text version 1 / I agree / No, thank you"
    ),
    ("consent", "it"): (
        "Vuoi che ti riconosciamo d’ora in poi? / Perché: per riconoscerti all’ingresso di questo negozio e"
        " darti i punti del giorno, senza codice. / Cosa si conserva: 256 numeri che descrivono il tuo viso."
        " Nessuna immagine. / Dove: cifrati, sugli schermi di questo negozio. I nostri server li trasmettono e"
        " non possono leggerli. / Per quanto: finché non ritiri il consenso. Uno schermo che non ci sente da"
        " 30 giorni li cancella da solo. / Non è obbligatorio: il tuo codice funziona sempre e dà gli stessi"
        " punti. / Per ritirarlo: sulla tua pagina socio, o qui dopo il codice. Ogni schermo allora li"
        " cancella. / Versione del testo 1 / Sono d’accordo / No, grazie"
    ),
    ("enrol", "en"): ("A little closer / We are learning your face. It takes about five seconds. / Stop"),
    ("enrol", "it"): ("Un po’ più vicino / Impariamo il tuo viso. Bastano circa cinque secondi. / Basta"),
    ("enrolled", "en"): ("Done! / Next time just look at the camera. Your code keeps working."),
    ("enrolled", "it"): ("Fatto! / La prossima volta basta guardare la telecamera. Il tuo codice funziona ancora."),
    ("not_enrolled", "en"): (
        "That did not work / We could not see your face well enough. Please try again another time. / Your"
        " code keeps working."
    ),
    ("not_enrolled", "it"): (
        "Non ha funzionato / Non abbiamo visto bene il tuo viso. Riprova un’altra volta. / Il tuo codice"
        " funziona ancora."
    ),
    ("forgotten", "en"): (
        "Your face is forgotten / It is deleted here. The shop’s other kiosks follow as soon as they hear of"
        " it. / Your code keeps working."
    ),
    ("forgotten", "it"): (
        "Il tuo viso è dimenticato / Qui è cancellato. Gli altri schermi del negozio seguono appena lo sanno."
        " / Il tuo codice funziona ancora."
    ),
    ("join_group", "en"): (
        "New kiosk / For staff: hold this code to the camera of a kiosk that is already in use."
        " / Nuovo schermo / Per il personale: mostra questo codice alla telecamera di uno schermo già in uso."
    ),
    ("join_group", "it"): (
        "Nuovo schermo / Per il personale: mostra questo codice alla telecamera di uno schermo già in uso."
        " / New kiosk / For staff: hold this code to the camera of a kiosk that is already in use."
    ),
    ("admitted", "en"): (
        "The new kiosk is admitted / For staff: it joins as soon as both kiosks are online. / Il nuovo"
        " schermo è ammesso / Per il personale: si unisce appena entrambi sono in linea."
    ),
    ("admitted", "it"): (
        "Il nuovo schermo è ammesso / Per il personale: si unisce appena entrambi sono in linea. / The new"
        " kiosk is admitted / For staff: it joins as soon as both kiosks are online."
    ),
    ("introduce", "en"): (
        "For another shop / For staff: take a picture of this code and hold it to a kiosk of the other shop."
        " / Per un altro negozio / Per il personale: fotografa questo codice e mostralo a uno schermo"
        " dell’altro negozio."
    ),
    ("introduce", "it"): (
        "Per un altro negozio / Per il personale: fotografa questo codice e mostralo a uno schermo dell’altro"
        " negozio. / For another shop / For staff: take a picture of this code and hold it to a kiosk of the"
        " other shop."
    ),
    ("introduced", "en"): (
        "The other shop is known here / For staff: show this shop’s code there as well. / Qui l’altro negozio è"
        " noto / Per il personale: mostra anche là il codice di questo negozio."
    ),
    ("introduced", "it"): (
        "Qui l’altro negozio è noto / Per il personale: mostra anche là il codice di questo negozio. / The other"
        " shop is known here / For staff: show this shop’s code there as well."
    ),
    ("fault", "en"): (
        "One moment, please / We will be right back. Your points are safe."
        " / Un momento, per favore / Torniamo subito. I tuoi punti sono al sicuro."
        " / For staff: the camera gives no picture. / Per il personale: la telecamera non dà immagini."
    ),
    ("fault", "it"): (
        "Un momento, per favore / Torniamo subito. I tuoi punti sono al sicuro."
        " / One moment, please / We will be right back. Your points are safe."
        " / Per il personale: la telecamera non dà immagini. / For staff: the camera gives no picture."
    ),
}

HARD_NAMES = {
    "long": "Maximiliana-Wilhelmina von und zu Sonnenschein-Regenbogenbrücke",
    "unbroken": "W" * 64,
    "stacked": "Z" + "\u0351\u0360\u0321" * 20 + "o\u0334\u0315" * 8,
    "rightwards": "\u202eמישהו\u202e שם ארוך",
    "pictures": "🎉" * 20,
    "blank": " ",
}


@pytest.fixture(scope="module")
def stand() -> Iterator[KioskStand]:
    """A kiosk that speaks English first."""
    with kiosk_stand() as running:
        yield running


@pytest.fixture(scope="module")
def italian_stand() -> Iterator[KioskStand]:
    """A kiosk that speaks Italian first."""
    with kiosk_stand(languages=("it", "en")) as running:
        yield running


@contextmanager
def watched(browser: Browser, stand: KioskStand, size: tuple[int, int] = PORTRAIT) -> Iterator[Page]:
    """The page; at the end, that nothing was asked of anybody else and the console stayed silent."""
    page = open_page(browser, stand, size)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    try:
        yield page
        assert said == []
        assert {urlsplit(url).netloc for url in asked} == {urlsplit(stand.url).netloc}
    finally:
        page.close()


def read(page: Page) -> list[str]:
    """The lines a person reads below the store's name."""
    header = page.locator("#offline span:visible").all_inner_texts()
    parts = [page.locator(f"{part}").inner_text() for part in (".amount", ".words", "footer")]
    spoken = page.locator("#spoken-points").inner_text()
    lines = [line.strip() for line in [*header, *"\n".join(parts).split("\n")]]
    return [line for line in lines if line and line != spoken.strip()]


# --- what is said ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "it"])
def test_every_screen_says_its_words(browser: Browser, request: pytest.FixtureRequest, language: str) -> None:
    stand: KioskStand = request.getfixturevalue("stand" if language == "en" else "italian_stand")
    with watched(browser, stand) as page:
        for scene in scenes(language):
            if scene.name == "offline":
                continue
            show(page, stand, scene)
            assert (scene.name, " / ".join(read(page))) == (scene.name, READ[scene.name, language])
            assert page.get_attribute("html", "lang") == language
            assert page.inner_text("#store") == "Bottega Aurora"
            assert page.title() == load_texts(language)["title"]
    assert {name for name, _ in READ} == {*ScreenName, "greeting_receipt", "coupon", "deferred"}


def test_a_member_is_greeted_in_their_language_or_the_kiosks(browser: Browser, stand: KioskStand) -> None:
    with watched(browser, stand) as page:
        for asked, spoken, headline in (
            ("it", "it", "Ciao, Giulia!"),
            ("it-IT", "it", "Ciao, Giulia!"),
            ("IT", "it", "Ciao, Giulia!"),
            ("fr", "en", "Hello, Giulia!"),
            ("", "en", "Hello, Giulia!"),
            (None, "en", "Hello, Giulia!"),
        ):
            show(page, stand, Scene(name="greeting", screen=replace(GREETING, language=asked)))
            assert (asked, page.get_attribute("html", "lang"), page.inner_text("h1")) == (asked, spoken, headline)


def test_one_is_a_point_and_two_are_points(browser: Browser, stand: KioskStand) -> None:
    with watched(browser, stand) as page:
        for language, points, balance, said in (
            ("en", 1, 1, "+1 / point / Your balance 1 point"),
            ("en", 2, 0, "+2 / points / Your balance 0 points"),
            ("it", 1, 1, "+1 / punto / Il tuo saldo 1 punto"),
            ("it", 2, 21, "+2 / punti / Il tuo saldo 21 punti"),
            ("it", 1_000_000, 1_000_000, "+1.000.000 / punti / Il tuo saldo 1.000.000 punti"),
            ("en", 12_500, -30, "+12,500 / points / Your balance -30 points"),
        ):
            screen = replace(GREETING, language=language, points=points, balance=balance)
            show(page, stand, Scene(name="greeting", screen=screen))
            lines = read(page)
            assert " / ".join((*lines[:2], lines[-1])) == said
            assert page.inner_text("#spoken-points").strip() == " ".join(lines[:2])


def test_the_phone_clock_is_off_by_so_much(browser: Browser, stand: KioskStand) -> None:
    with watched(browser, stand) as page:
        for ahead_s, said in (
            (90, "It is about 2 minutes ahead."),
            (-20, "It is about 1 minute behind."),
            (3600, "It is about 60 minutes ahead."),
            (-10_800, "It is about 3 hours behind."),
            (400_000, "It is about 5 days ahead."),
            (None, "Set it to automatic and show your code again."),
        ):
            screen = Screen(name=ScreenName.WRONG_TIME, phone_ahead_s=ahead_s, language="en")
            show(page, stand, Scene(name="wrong_time", screen=screen))
            assert page.locator("#details p").first.inner_text() == said


def test_who_is_unknown_is_greeted_without_a_name_and_what_is_unknown_is_not_said(
    browser: Browser, stand: KioskStand
) -> None:
    with watched(browser, stand) as page:
        nameless = Screen(name=ScreenName.GREETING, points=5, language="en")
        show(page, stand, Scene(name="greeting", screen=nameless))
        assert read(page) == ["+5", "points", "Welcome!", "Today’s points are yours.", "Enjoy your visit."]
        repeated = Screen(name=ScreenName.COLLECTED, language="en")
        show(page, stand, Scene(name="collected", screen=repeated))
        assert read(page) == ["Welcome!", "Already collected today", "Come back tomorrow for more."]


def test_the_badge_comes_and_goes_with_the_line_and_counts_what_waits(browser: Browser, stand: KioskStand) -> None:
    with watched(browser, stand) as page:
        for status, said in (
            (OFFLINE, ["Offline – points are safe and follow", "3 waiting"]),
            (replace(OFFLINE, waiting=0), ["Offline – points are safe and follow"]),
            (replace(ONLINE, waiting=2), []),
        ):
            show(page, stand, Scene(name="idle", screen=IDLE, status=status))
            assert page.locator("#offline span:visible").all_inner_texts() == said


def test_the_place_of_the_full_privacy_notice_is_shown(browser: Browser) -> None:
    with kiosk_stand(privacy_address="aurora.example/privacy") as stand, watched(browser, stand) as page:
        show(page, stand, Scene(name="idle", screen=IDLE))
        assert read(page)[-2].endswith("Full privacy notice: aurora.example/privacy")


def test_every_word_comes_from_the_texts(browser: Browser) -> None:
    pseudo = PageTexts(languages=("en-XA",), texts={"en-XA": pseudo_texts()}, privacy_address=None)
    with kiosk_stand(texts=pseudo) as stand, watched(browser, stand) as page:
        for scene in scenes("en-XA", nickname="7"):
            show(page, stand, scene)
            words = " ".join((*read(page), page.title()))
            assert re.findall(r"[A-Za-z]+", words) == [], scene.name
            assert "⟦" in words


def pseudo_texts() -> Mapping[str, str]:
    """English with every letter outside {values} replaced, in brackets, half as long again."""
    letters = {**dict.fromkeys(range(ord("a"), ord("z") + 1), "ø"), **dict.fromkeys(range(ord("A"), ord("Z") + 1), "Ø")}
    texts = {}
    for key, text in load_texts("en").items():
        parts = re.split(r"(\{\w+\})", text)
        strange = "".join(part if part.startswith("{") else part.translate(letters) for part in parts)
        texts[key] = f"⟦{strange}{'·' * (len(text) // 2)}⟧"
    return texts


# --- how it looks ---------------------------------------------------------------------------------------------------

OUTSIDE = """() => {
  const words = "h1, .hello, #details p, .balance, .also p, footer p, .badge, #store, .offers button";
  const box = (each) => ({ name: each.id || each.className || each.tagName, ...each.getBoundingClientRect().toJSON() });
  const boxes = (chosen) => [...document.querySelectorAll(chosen)].filter((each) => each.checkVisibility()).map(box);
  const leaves = ({ left, top, right, bottom }) => Math.min(left, top) < -1
    || right > innerWidth + 1 || bottom > innerHeight + 1;
  const meets = (one, other) => one.bottom > other.top + 1 && other.bottom > one.top + 1
    && one.right > other.left + 1 && other.right > one.left + 1;
  const read = boxes(words);
  const crossed = read.flatMap((one, at) => [...read.slice(at + 1), ...boxes(".door")]
    .filter((other) => meets(one, other)).map((other) => `${one.name} over ${other.name}`));
  const doors = boxes(".door");
  const wide = boxes("#points").filter(({ width }) => width > doors[0].width - 4);
  return [...[...read, ...doors].filter(leaves), ...wide].map(({ name }) => name).concat(crossed);
}"""
SIZES = pytest.mark.parametrize("size", [PORTRAIT, LANDSCAPE, SMALL], ids=["portrait", "landscape", "small"])


@SIZES
def test_nothing_leaves_the_screen_or_covers_other_words(
    browser: Browser, stand: KioskStand, size: tuple[int, int]
) -> None:
    status = replace(OFFLINE, waiting=1234)
    with watched(browser, stand, size) as page:
        for scene in (*scenes("en"), *scenes("it")):
            show(page, stand, replace(scene, status=status))
            assert (scene.name, page.evaluate(OUTSIDE)) == (scene.name, [])


@SIZES
def test_no_name_breaks_the_layout(browser: Browser, stand: KioskStand, size: tuple[int, int]) -> None:
    status = replace(OFFLINE, store_name="Grande Emporio della Stazione Centrale di Reggio nell’Emilia")
    with watched(browser, stand, size) as page:
        for name, nickname in HARD_NAMES.items():
            for scene in scenes("it", nickname=nickname):
                if scene.screen.nickname is not None:
                    screen = replace(scene.screen, points=1_234_567, balance=987_654_321)
                    show(page, stand, replace(scene, screen=screen, status=status))
                    assert (name, scene.name, page.evaluate(OUTSIDE)) == (name, scene.name, [])


@SIZES
def test_a_wordier_language_fits_too(browser: Browser, size: tuple[int, int]) -> None:
    pseudo = PageTexts(languages=("en-XA",), texts={"en-XA": pseudo_texts()}, privacy_address=None)
    with kiosk_stand(texts=pseudo) as stand, watched(browser, stand, size) as page:
        for scene in scenes("en-XA"):
            show(page, stand, scene)
            assert (scene.name, page.evaluate(OUTSIDE)) == (scene.name, [])


CONTRASTS = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (part) => part <= 10.31475 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const ground = (each) => {
    for (let at = each; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.backgroundImage !== "none" || style.opacity !== "1") return [128, 128, 128];
      const [red, green, blue, alpha = 1] = parse(style.backgroundColor);
      if (alpha === 1) return [red, green, blue];
    }
    return [128, 128, 128];
  };
  const found = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const each = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !each.checkVisibility()) continue;
    const [one, other] = [luminance(parse(getComputedStyle(each).color)), luminance(ground(each))];
    found[walker.currentNode.textContent.trim()] = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  }
  return found;
}"""


def test_every_word_on_every_screen_stands_out_from_what_is_behind_it(browser: Browser, stand: KioskStand) -> None:
    with watched(browser, stand) as page:
        for scene in scenes("en"):
            show(page, stand, replace(scene, status=OFFLINE))
            found: Mapping[str, float] = page.evaluate(CONTRASTS)
            assert len(found) >= 3
            assert {text: ratio for text, ratio in found.items() if ratio < 7.0} == {}


def test_the_headline_reads_from_two_metres(browser: Browser, stand: KioskStand) -> None:
    """10 mm of capital height at 2 m; on a 24-inch panel (0.277 mm a pixel) that is a type size of 50 pixels."""
    with watched(browser, stand) as page:
        for scene in scenes("it", nickname=HARD_NAMES["long"]):
            if scene.name == "consent":
                continue  # whoever reads it stands near enough to tap
            show(page, stand, scene)
            sizes = [
                page.eval_on_selector(part, "each => parseFloat(getComputedStyle(each).fontSize)")
                for part in ("h1", "#details")
            ]
            assert min(sizes) >= 50, scene.name


def test_nothing_moves_for_who_asked_for_less_and_something_does_for_others(
    browser: Browser, stand: KioskStand
) -> None:
    with watched(browser, stand) as page:
        for scene in scenes("en"):
            show(page, stand, scene)
            assert page.evaluate("document.getAnimations().length") == 0
        page.emulate_media(reduced_motion="no-preference")
        show(page, stand, Scene(name="idle", screen=IDLE))
        assert page.evaluate("document.getAnimations().length") > 0


def test_the_words_are_a_live_region_and_pictures_are_silent(browser: Browser, stand: KioskStand) -> None:
    with watched(browser, stand) as page:
        show(page, stand, Scene(name="greeting", screen=GREETING))
        spoken = page.locator(".words").aria_snapshot()
        assert "Hello, Giulia!" in spoken
        assert "+10 points" in spoken
        assert page.get_attribute(".words", "aria-live") == "polite"
        assert page.locator("main svg:not([aria-hidden=true])").count() == 0
        assert page.locator("h1").count() == 1


def test_a_change_beside_the_screen_does_not_play_it_again(browser: Browser, stand: KioskStand) -> None:
    with watched(browser, stand) as page:
        show(page, stand, Scene(name="greeting", screen=GREETING))
        page.evaluate("document.querySelector('h1').firstChild.isTheSame = true")
        show(page, stand, Scene(name="greeting", screen=GREETING, status=OFFLINE))
        assert page.is_visible("#offline")
        assert page.evaluate("document.querySelector('h1').firstChild.isTheSame") is True


# --- what a stranger writes -----------------------------------------------------------------------------------------

HOSTILE = (
    "<img src=x onerror='window.hit=1'>",
    "<script>window.hit=1</script>",
    "</bdi><iframe src='https://evil.example/'></iframe>",
    "{name} {count} $& $1 \\u0000",
    "\u2028\u2029\r\ndata: {}\n\nid: 9",
    "javascript:window.hit=1",
)


def test_a_hostile_name_is_a_name(browser: Browser, stand: KioskStand) -> None:
    with watched(browser, stand) as page:
        show(page, stand, Scene(name="greeting", screen=GREETING))
        elements = page.locator("body *").count()
        for nickname in HOSTILE:
            screen = replace(GREETING, nickname=nickname, language=nickname)
            show(page, stand, Scene(name="greeting", screen=screen, status=replace(ONLINE, store_name=nickname)))
            assert page.text_content("h1 bdi") == nickname
            assert page.text_content("#store") == nickname
            assert page.locator("body *").count() == elements
            assert page.evaluate("window.hit") is None


def test_an_empty_name_is_no_name(browser: Browser, stand: KioskStand) -> None:
    with watched(browser, stand) as page:
        for nickname in ("", " ", "\u2003"):
            show(page, stand, Scene(name="greeting", screen=replace(GREETING, nickname=nickname)))
            assert page.inner_text("h1") == "Welcome!"


# --- time and trouble -----------------------------------------------------------------------------------------------


def test_a_screen_whose_time_is_over_gives_way_to_the_idle_one(browser: Browser, stand: KioskStand) -> None:
    with watched(browser, stand) as page:
        page.evaluate("document.body.dataset.screen = ''")
        stand.show(GREETING, seconds=0.3)
        page.wait_for_selector("body[data-screen=greeting]")
        page.wait_for_selector("body[data-screen=idle]")
        assert page.inner_text("h1") == "Show your code"


def test_a_newer_screen_is_not_cut_short_by_the_time_of_the_one_before(browser: Browser, stand: KioskStand) -> None:
    with watched(browser, stand) as page:
        stand.show(GREETING, seconds=0.3)
        show(page, stand, Scene(name="invalid", screen=Screen(name=ScreenName.INVALID)))
        page.wait_for_timeout(600)
        assert page.get_attribute("body", "data-screen") == "invalid"


def test_without_the_agent_the_page_asks_for_a_moment_and_then_goes_on(browser: Browser) -> None:
    with kiosk_stand() as stand, watched(browser, stand) as page:
        show(page, stand, Scene(name="greeting", screen=GREETING))
        stand.agent_leaves()
        page.wait_for_selector("body[data-screen=fault]")
        assert "Giulia" not in page.content()
        stand.agent_arrives()
        page.wait_for_selector("body[data-screen=greeting]")


def test_without_the_server_the_page_asks_for_a_moment(browser: Browser) -> None:
    with kiosk_stand() as stand:
        page = open_page(browser, stand, PORTRAIT)
        show(page, stand, Scene(name="greeting", screen=GREETING))
        stand.stop()
        page.wait_for_selector("body[data-screen=fault]")
        assert page.inner_text("h1") == "One moment, please"
        page.close()


def test_a_page_that_found_no_place_takes_the_next_free_one(browser: Browser) -> None:
    with kiosk_stand(streams_max=1) as stand:
        first = open_page(browser, stand, SMALL)
        show(first, stand, Scene(name="greeting", screen=GREETING))
        second = open_page(browser, stand, SMALL)
        second.wait_for_selector("body[data-screen=fault]")
        first.close()
        second.wait_for_selector("body[data-screen=greeting]")
        second.close()


def test_a_stream_that_fell_silent_is_opened_again_and_nothing_old_stands_meanwhile(browser: Browser) -> None:
    with kiosk_stand(heartbeat_s=600.0) as stand:
        page = browser.new_page(reduced_motion="reduce")
        page.clock.install()
        page.goto(stand.url)
        show(page, stand, Scene(name="greeting", screen=GREETING))
        page.evaluate(
            "seen = []; new MutationObserver(() => seen.push(document.body.dataset.screen))"
            ".observe(document.body, { attributeFilter: ['data-screen'] })"
        )
        page.clock.fast_forward(40_000)
        assert page.evaluate("seen") == []
        page.clock.fast_forward(10_000)
        page.wait_for_function("() => seen.length === 2")
        assert page.evaluate("seen") == ["fault", "greeting"]
        page.close()


def test_after_an_update_the_page_becomes_the_new_one(browser: Browser) -> None:
    with kiosk_stand() as old:
        page = open_page(browser, old, SMALL)
        show(page, old, Scene(name="idle", screen=IDLE))
        old.stop()
        with kiosk_stand(languages=("it",), port=urlsplit(old.url).port or 0):
            page.wait_for_selector("h1:text-is('Mostra il tuo codice')")
        page.close()


# --- faces ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def touch_stand() -> Iterator[KioskStand]:
    """A kiosk whose screen can be tapped."""
    with kiosk_stand(touch=True) as running:
        yield running


def scene_named(name: str) -> Scene:
    return next(scene for scene in scenes("en") if scene.name == name)


def taps(page: Page, stand: KioskStand, count: int) -> list[tuple[Offer, int | None]]:
    """What was tapped, once the agent has heard of so many taps."""
    for _ in range(200):
        if len(stand.touched) >= count:
            break
        page.wait_for_timeout(20)
    return [(touched.offer, touched.choice) for touched in stand.touched]


def test_a_finger_picks_a_nickname_or_none_of_them(browser: Browser, touch_stand: KioskStand) -> None:
    with watched(browser, touch_stand) as page:
        touch_stand.touched.clear()
        show(page, touch_stand, scene_named("choose"))
        page.get_by_role("button", name="A•••").click()
        assert taps(page, touch_stand, 1) == [(Offer.PICK, 2)]
        show(page, touch_stand, scene_named("idle"))
        assert page.get_by_role("button").count() == 0
        show(page, touch_stand, scene_named("choose"))
        page.get_by_role("button", name="None of these").click()
        assert taps(page, touch_stand, 2)[1] == (Offer.PICK, None)


@pytest.mark.parametrize(
    ("offer", "label"),
    [
        (Offer.NOT_ME, "That’s not me"),
        (Offer.RECOGNISE_ME, "Recognise me next time"),
        (Offer.FORGET_ME, "Forget my face"),
    ],
)
def test_a_greeting_offers_what_the_agent_offers(
    browser: Browser, touch_stand: KioskStand, offer: Offer, label: str
) -> None:
    with watched(browser, touch_stand) as page:
        touch_stand.touched.clear()
        show(page, touch_stand, Scene(name="greeting", screen=replace(GREETING, offers=(offer,))))
        page.get_by_role("button", name=label).click()
        assert taps(page, touch_stand, 1) == [(offer, None)]
        show(page, touch_stand, Scene(name="greeting", screen=GREETING))
        assert page.get_by_role("button").count() == 0


def test_yes_and_no_look_alike(browser: Browser, touch_stand: KioskStand) -> None:
    with watched(browser, touch_stand) as page:
        show(page, touch_stand, scene_named("consent"))
        looks = page.evaluate(
            """() => [...document.querySelectorAll("#offers button")].map((button) => {
              const style = getComputedStyle(button), box = button.getBoundingClientRect();
              const size = [Math.round(box.width), Math.round(box.height)];
              return [style.backgroundColor, style.color, style.fontSize, style.borderColor, ...size];
            })"""
        )
        assert len(looks) == 2
        assert looks[0] == looks[1]


@pytest.mark.parametrize("size", [PORTRAIT, LANDSCAPE, SMALL])
def test_what_a_finger_must_hit_is_large_and_in_view(
    browser: Browser, touch_stand: KioskStand, size: tuple[int, int]
) -> None:
    offers = Scene(name="greeting", screen=replace(GREETING, offers=(Offer.RECOGNISE_ME,)))
    with watched(browser, touch_stand, size) as page:
        for scene in (scene_named("choose"), scene_named("consent"), scene_named("enrol"), offers):
            show(page, touch_stand, scene)
            boxes = [button.bounding_box() for button in page.get_by_role("button").all()]
            assert boxes
            for box in boxes:
                assert box is not None
                assert min(box["width"], box["height"]) >= 96, scene.name
                assert box["y"] >= 0, scene.name
                assert box["y"] + box["height"] <= size[1], scene.name


def test_learning_shows_how_far_it_has_come_without_moving_the_page(browser: Browser, stand: KioskStand) -> None:
    with watched(browser, stand) as page:
        learning = Screen(name=ScreenName.ENROL, language="en", hint=StandHint.GOOD, taken=3, wanted=12)
        show(page, stand, Scene(name="enrol", screen=learning))
        assert page.evaluate("document.getElementById('progress').style.getPropertyValue('--learnt')") == "25"
        show(page, stand, Scene(name="enrol", screen=replace(learning, hint=StandHint.LOOK)))
        assert page.inner_text("h1") == "Look at the camera"


def test_a_request_to_join_is_shown_as_a_code_that_a_kiosk_reads(browser: Browser, stand: KioskStand) -> None:
    with watched(browser, stand) as page:
        show(page, stand, scene_named("join_group"))
        page.wait_for_function("() => document.getElementById('code').naturalWidth > 0")
        picture = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        (code,) = read_codes(np.asarray(picture, np.uint8), effort=Effort.FULL)
        assert code.text == REQUEST
        show(page, stand, scene_named("idle"))
        assert not page.is_visible("#code")


def test_a_coupon_can_be_photographed_off_the_screen(browser: Browser, stand: KioskStand) -> None:
    with watched(browser, stand) as page:
        show(page, stand, scene_named("coupon"))
        page.wait_for_function("() => document.getElementById('code').naturalWidth > 0")
        picture = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        (code,) = read_codes(np.asarray(picture, np.uint8), effort=Effort.FULL)
        assert code.text == COUPON
        assert not page.is_visible("#points")
        show(page, stand, scene_named("deferred"))
        assert not page.is_visible("#code")


def test_the_notice_says_whether_faces_are_looked_for(browser: Browser, stand: KioskStand) -> None:
    notices = ((ONLINE, "codes only"), (LOOKING, "only while you stand on the mark"), (ONLINE, "codes only"))
    with watched(browser, stand) as page:
        for status, words in notices:
            show(page, stand, Scene(name="idle", screen=IDLE, status=status))
            assert words in page.inner_text("footer")
