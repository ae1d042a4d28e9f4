"""The member page in a real browser: joining, the changing code, the card, languages, a line that is down."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib.resources import files
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
import zxingcpp
from numpy.typing import NDArray
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from cloud.members.page import ASSETS
from cloud.members.rules import CONSENT_TEXT_VERSION
from shared.ids import MemberId, parse_member
from shared.tokens import Card, PhoneCode, Token, parse_token, step_of, verify_token
from tests.browser.member_stand import PHONE, MemberStand, join, member_stand, open_phone, trusting_chromium
from tests.support.chromium import why_no_chromium

AA = 4.5  # WCAG 2.2: the least contrast of ordinary text
TARGET_PX = 44  # larger than the 24 px that WCAG 2.2 AA asks for: thumbs at a shop door
CODE_MM = 50
PIXELS_A_MM = 6.1  # of the finest phone screens, in CSS pixels

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def stand() -> Iterator[MemberStand]:
    """The cloud with its page."""
    with member_stand() as running:
        yield running


@pytest.fixture(scope="module")
def browser(stand: MemberStand) -> Iterator[Browser]:
    """A browser that trusts the cloud's certificate."""
    reason = why_no_chromium()
    if reason is not None:
        pytest.skip(reason)
    with trusting_chromium(stand) as running:
        yield running


@pytest.fixture
def phone(browser: Browser, stand: MemberStand) -> Iterator[BrowserContext]:
    """A fresh phone; the cloud's clock is right again afterwards."""
    with open_phone(browser) as fresh:
        yield fresh
    stand.clock_shift = timedelta(0)


@pytest.fixture
def page(phone: BrowserContext) -> Iterator[Page]:
    """A page that must not complain, nor ask anybody but the cloud."""
    page = phone.new_page()
    complaints: list[str] = []
    asked: set[str] = set()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.add(str(urlsplit(request.url).hostname)))
    yield page
    assert asked <= {"localhost"}
    assert [text for text in complaints if not _is_the_lines_own(text)] == []


def _is_the_lines_own(text: str) -> bool:
    """True for what the browser itself writes when a request fails or is refused, and where a test injects a script."""
    return text.startswith("Failed to load resource") or "inline script" in text


def _picture(png: bytes) -> Image:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return image.astype(np.uint8)


def _read(png: bytes) -> tuple[str, zxingcpp.Barcode]:
    (code,) = zxingcpp.read_barcodes(_picture(png), formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode))
    return code.text, code


def _code_shown(page: Page) -> Token:
    text, _ = _read(page.locator("#frame").screenshot())
    token = parse_token(text)
    assert not isinstance(token, str)
    return token


def _kept(page: Page, part: str) -> object:
    return page.evaluate(
        f"async () => {{ const kept = await (await import('/member/keep.js')).load(); return {part}; }}"
    )


def _member(page: Page) -> MemberId:
    member = parse_member(str(_kept(page, "kept.me.member")))
    assert member is not None
    return member


def _tab(page: Page, name: str) -> None:
    page.locator(f"nav [data-to={name}]").click()


def _make_card(page: Page) -> None:
    _tab(page, "card")
    page.locator("#card-make").click()
    page.locator("#paper-code svg").wait_for()


def test_joining_ends_with_a_code_that_kiosks_accept(page: Page, stand: MemberStand) -> None:
    join(page, stand)
    assert page.evaluate("isSecureContext")
    text, symbol = _read(page.screenshot())
    token = parse_token(text)
    assert isinstance(token, PhoneCode)
    issuers = {stand.keyring.issuer_id: stand.keyring.issuer_key.public_key()}
    assert verify_token(token, issuers, stand.now()) is None
    assert token.member == _member(page)
    assert (len(text), symbol.ec_level, symbol.symbology_identifier) == (273, "M", "]Q1")
    assert page.locator("#code").get_attribute("data-modules") == "57"  # version 10
    expect(page.locator("#hello")).to_have_text("Hello Giulia")
    expect(page.locator("#balance")).to_have_text("0points")
    assert urlsplit(page.url).path == "/me"


def test_the_private_key_cannot_leave_the_browser(page: Page, stand: MemberStand) -> None:
    join(page, stand)
    assert _kept(page, "kept.keys.privateKey.extractable") is False
    assert _kept(page, "kept.keys.privateKey.algorithm.name") == "Ed25519"
    refused = _kept(page, "await crypto.subtle.exportKey('pkcs8', kept.keys.privateKey).catch((e) => e.name)")
    assert refused == "InvalidAccessError"
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


def test_the_code_changes_with_the_step(page: Page, stand: MemberStand) -> None:
    page.clock.install()
    join(page, stand)
    first = _code_shown(page)
    assert isinstance(first, PhoneCode)
    stand.clock_shift = timedelta(seconds=30)
    page.clock.run_for(30_000)
    page.wait_for_function(f"document.getElementById('code').dataset.step > {first.step}")
    second = _code_shown(page)
    assert isinstance(second, PhoneCode)
    assert second.step in (first.step + 1, first.step + 2)
    assert (second.certified, second.signature != first.signature) == (first.certified, True)


def test_a_phone_whose_clock_is_off_shows_the_true_step_and_says_so(page: Page, stand: MemberStand) -> None:
    stand.clock_shift = timedelta(minutes=10)
    join(page, stand)
    token = _code_shown(page)
    assert isinstance(token, PhoneCode)
    assert abs(token.step - step_of(stand.now())) <= 1
    expect(page.locator("#code-note")).to_have_text(
        "Your phone’s clock is off by 10 min. The code uses the right time."
    )


def test_the_balance_moves_while_one_looks(page: Page, stand: MemberStand) -> None:
    join(page, stand)
    stand.give(_member(page), 1240)
    expect(page.locator("#balance")).to_have_text("1,240points", timeout=15_000)


def test_opening_the_page_again_is_the_same_member(page: Page, stand: MemberStand) -> None:
    join(page, stand)
    member, certificate = _member(page), _kept(page, "Array.from(kept.certificate)")
    page.goto(stand.join_url)
    page.locator("#code[data-step]").wait_for()
    assert (_member(page), _kept(page, "Array.from(kept.certificate)")) == (member, certificate)


def test_a_lost_answer_does_not_make_a_second_member(page: Page, stand: MemberStand, phone: BrowserContext) -> None:
    page.goto(stand.join_url)

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    phone.route("**/v1/members", lose)
    page.locator("#join-form button").click()
    expect(page.locator("#toast")).to_have_text("The cloud cannot be reached just now.")
    secret = _kept(page, "kept.secret")
    phone.unroute("**/v1/members")
    page.locator("#join-form button").click()
    page.locator("#code[data-step]").wait_for()
    assert _kept(page, "kept.secret") == secret


def test_the_code_goes_on_without_a_line(page: Page, stand: MemberStand, phone: BrowserContext) -> None:
    page.clock.install()
    join(page, stand)
    step = int(page.locator("#code").get_attribute("data-step") or 0)
    phone.set_offline(True)
    page.clock.run_for(35_000)
    expect(page.locator("#code-note")).to_contain_text("Your code works all the same")
    page.wait_for_function(f"document.getElementById('code').dataset.step > {step}")
    assert isinstance(_code_shown(page), PhoneCode)
    phone.set_offline(False)
    page.clock.run_for(10_000)
    expect(page.locator("#code-note")).to_be_hidden()


KEPT_FOR_OFFLINE = """async () => {
  while ((await navigator.serviceWorker.getRegistration("/me"))?.active?.state !== "activated") {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}"""


def test_the_page_itself_opens_without_a_line(page: Page, stand: MemberStand, phone: BrowserContext) -> None:
    join(page, stand)
    page.evaluate(KEPT_FOR_OFFLINE)
    phone.set_offline(True)
    page.goto(f"{stand.url}/me")
    page.locator("#code[data-step]").wait_for(timeout=20_000)
    expect(page.locator("#hello")).to_have_text("Hello Giulia")
    assert isinstance(_code_shown(page), PhoneCode)


def test_a_card_is_made_printed_and_replaced(page: Page, stand: MemberStand) -> None:
    join(page, stand)
    _make_card(page)
    expect(page.locator("#paper-name")).to_have_text("Giulia")
    text, symbol = _read(page.locator("#paper").screenshot())
    card = parse_token(text)
    assert isinstance(card, Card)
    assert (card.serial, card.member, symbol.ec_level, len(text)) == (1, _member(page), "Q", 126)
    page.locator("#card-replace").click()
    page.locator("#ask button[value=no]").click()
    page.locator("#card-replace").click()
    page.locator("#ask button[value=yes]").click()
    expect(page.locator("#paper-number")).to_have_text("Card 2")
    expect(page.locator("#paper")).to_be_visible()
    replaced = parse_token(_read(page.locator("#paper").screenshot())[0])
    assert isinstance(replaced, Card)
    assert replaced.serial == 2
    page.locator("#card-block").click()
    page.locator("#ask button[value=yes]").click()
    expect(page.locator("#card-make")).to_be_visible()
    expect(page.locator("#paper")).to_be_hidden()


def test_on_paper_there_is_the_card_alone_with_a_code_of_45_mm(page: Page, stand: MemberStand) -> None:
    join(page, stand)
    _make_card(page)
    page.emulate_media(media="print")
    sizes: list[list[float]] = page.evaluate(
        """() => ["paper", "paper-code"].map((id) => document.getElementById(id).getBoundingClientRect())
        .map(({ width, height }) => [width, height].map((pixels) => pixels * 25.4 / 96))"""
    )
    assert np.allclose(np.array(sizes), np.array([[85.6, 54.0], [46.0, 46.0]]), atol=0.1)
    for hidden in (".top", "nav", "#toast", "#card-print", "[data-for=card] h1"):
        assert page.locator(hidden).first.is_hidden()
    assert isinstance(parse_token(_read(page.screenshot())[0]), Card)


def test_nickname_level_and_offers_are_changed_and_on_record(page: Page, stand: MemberStand) -> None:
    join(page, stand)
    _tab(page, "data")
    form = page.locator("#data-form")
    form.locator("[name=nickname]").fill("Giulietta")
    form.locator("[name=level][value='2']").check()
    form.locator("[name=marketing]").check()
    form.locator("button").click()
    expect(page.locator("#history li")).to_have_count(3)
    expect(page.locator("#history li").first).to_contain_text("Offers: given")
    form.locator("[name=marketing]").uncheck()
    form.locator("button").click()
    expect(page.locator("#history li").first).to_contain_text("Offers: withdrawn")
    _tab(page, "code")
    expect(page.locator("#hello")).to_have_text("Hello Giulietta")


def test_a_nickname_that_a_screen_cannot_show_is_refused(page: Page, stand: MemberStand) -> None:
    join(page, stand)
    _tab(page, "data")
    page.locator("#data-nickname").fill("ab\u202edc")
    page.locator("#data-form button").click()
    expect(page.locator("#toast")).to_have_text("Please choose another nickname: at most 40 ordinary characters.")


def test_a_hostile_nickname_is_only_text(page: Page, stand: MemberStand) -> None:
    join(page, stand, "<img src=x onerror=alert(1)>")
    expect(page.locator("#hello")).to_have_text("Hello <img src=x onerror=alert(1)>")
    assert page.locator("main img").count() == 0


def test_leaving_forgets_everything_on_the_phone(page: Page, stand: MemberStand) -> None:
    join(page, stand)
    _tab(page, "data")
    page.locator("#leave").click()
    page.locator("#ask button[value=yes]").click()
    expect(page.locator("#trouble-title")).to_have_text("Goodbye.")
    assert _kept(page, "kept") is None
    expect(page.locator("nav")).to_be_hidden()
    page.goto(f"{stand.url}/me")
    expect(page.locator("#trouble-title")).to_have_text("Nobody here yet")


def test_italian_from_the_first_word(browser: Browser, stand: MemberStand) -> None:
    with open_phone(browser, language="it") as phone:
        page = phone.new_page()
        join(page, stand)
        assert page.locator("html").get_attribute("lang") == "it"
        expect(page.locator("#hello")).to_have_text("Ciao Giulia")
        expect(page.locator("#hold")).to_have_text("Mostra il telefono alla telecamera all’ingresso.")
        assert _kept(page, "kept.me.language") == "it"
        stand.give(_member(page), 1240)
        expect(page.locator("#balance")).to_have_text("1.240punti", timeout=15_000)
        page.locator("[data-language=en]").click()
        expect(page.locator("#hello")).to_have_text("Hello Giulia")
        _tab(page, "data")
        expect(page.locator("#history li").first).to_contain_text("Programme, level 1: given")


def test_both_languages_have_every_word_and_the_version_agrees(page: Page, stand: MemberStand) -> None:
    page.goto(stand.join_url)
    said = page.evaluate(
        """async () => { const { TEXTS, CONSENT_VERSION } = await import("/member/texts.js");
        return [CONSENT_VERSION, Object.keys(TEXTS.en), Object.keys(TEXTS.it), Object.values(TEXTS).map((texts) =>
        Object.values(texts).map((text) => [...text.matchAll(/\\{\\w+\\}/g)].map(String).sort()))]; }"""
    )
    version, english, italian, (english_names, italian_names) = said
    assert version == CONSENT_TEXT_VERSION
    assert english == italian
    assert english_names == italian_names
    html = files("cloud.members.page").joinpath("index.html").read_text()
    wanted = set(re.findall(r'data-(?:text|label)="(\w+)"', html))
    assert wanted <= set(english)


def test_without_a_key_store_the_page_says_so_and_offers_the_card(page: Page, stand: MemberStand) -> None:
    page.add_init_script(
        "crypto.subtle.generateKey = () => Promise.reject(new DOMException('no', 'NotSupportedError'))"
    )
    page.goto(stand.join_url)
    page.locator("#join-form button").click()
    expect(page.locator("#code-note")).to_contain_text("A printed card works everywhere.")
    expect(page.locator("#frame")).to_be_hidden()
    page.locator("#to-card").click()
    page.locator("#card-make").click()
    page.locator("#paper-code svg").wait_for()
    assert isinstance(parse_token(_read(page.locator("#paper").screenshot())[0]), Card)


def test_on_an_insecure_origin_the_page_says_so_and_offers_the_card(page: Page, stand: MemberStand) -> None:
    page.add_init_script(
        "Object.defineProperty(globalThis, 'isSecureContext', { value: false });"
        "Object.defineProperty(crypto, 'subtle', { value: undefined })"
    )
    page.goto(stand.join_url)
    page.locator("#join-form button").click()
    expect(page.locator("#code-note")).to_contain_text("not opened over a secure connection")
    expect(page.locator("#to-card")).to_be_visible()


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/join", "Which shop?"),
        ("/join?programme=nobody", "Which shop?"),
        ("/join?programme=../../v1", "Which shop?"),
        ("/me", "Nobody here yet"),
    ],
)
def test_a_wrong_address_is_explained(page: Page, stand: MemberStand, path: str, title: str) -> None:
    page.goto(stand.url + path)
    expect(page.locator("#trouble-title")).to_have_text(title)


def test_the_code_is_50_mm_wide_on_a_phone_and_fits_a_small_one(browser: Browser, stand: MemberStand) -> None:
    for width, least in ((PHONE[0], CODE_MM * PIXELS_A_MM), (360, 50 * 5.6), (320, 270)):
        with open_phone(browser, size=(width, 700)) as phone:
            page = phone.new_page()
            join(page, stand, "Maximiliana Wilhelmina von Sonnenschein")
            box = page.locator("#code").bounding_box()
            assert box is not None
            assert box["width"] >= least
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert isinstance(_code_shown(page), PhoneCode)


def _open_views(page: Page, stand: MemberStand) -> Iterator[str]:
    page.goto(stand.join_url)
    page.locator("#join-form button").wait_for()
    yield "join"
    join(page, stand)
    yield "code"
    _make_card(page)
    yield "card"
    _tab(page, "data")
    page.locator("#history li").first.wait_for()
    yield "data"


CONTROLS = """() => [...document.querySelectorAll("button, input, [role=img]")].filter((e) => e.checkVisibility())
  .map((e) => {
    const box = (e.closest("label") ?? e).getBoundingClientRect();
    const labels = [...(e.labels ?? [])].map((label) => label.textContent).join("");
    const name = e.getAttribute("aria-label") || e.textContent.trim() || labels.trim();
    return [e.outerHTML.slice(0, 80), name, Math.min(box.width, box.height)];
  })"""


def test_everything_to_touch_has_a_name_and_is_large_enough(page: Page, stand: MemberStand) -> None:
    for view in _open_views(page, stand):
        controls = page.evaluate(CONTROLS)
        assert len(controls) >= 6, view
        assert [html for html, name, size in controls if not name or size < TARGET_PX] == [], view
        assert page.locator("h1:visible").count() == 1
        assert page.title() == "Bottega Aurora · Member"


CONTRASTS = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map((v) => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    for (let node = e; node; node = node.parentElement) {
      const style = getComputedStyle(node);
      const stops = style.backgroundImage.match(/rgba?\\([^)]*\\)/g);
      if (stops) return stops.map(rgb);
      const color = rgb(style.backgroundColor);
      if (color[3] !== 0) return [color];
    }
    return [[255, 255, 255]];
  };
  const texts = [...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() && !e.closest("svg") &&
    [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()));
  return texts.map((e) => [e.textContent.trim().slice(0, 40), Math.min(...ground(e).map((g) => {
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(g)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  }))]);
}"""


def test_every_text_has_the_contrast_to_be_read(page: Page, stand: MemberStand) -> None:
    for view in _open_views(page, stand):
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) >= 6, view
        assert [(text, ratio) for text, ratio in contrasts if ratio < AA] == [], view


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page: Page, stand: MemberStand) -> None:
    join(page, stand)
    assert page.evaluate("document.activeElement.id") == "hello"
    reached = {}
    for _ in range(7):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "() => { const { dataset } = document.activeElement;"
            " return [dataset.language ?? dataset.to, getComputedStyle(document.activeElement).outlineStyle]; }"
        )
        reached[name] = outline
    assert {name: reached.get(name) for name in ("en", "it", "code", "card", "data")} == dict.fromkeys(
        ("en", "it", "code", "card", "data"), "solid"
    )
    page.locator("nav [data-to=data]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-for=data] h1")).to_be_focused()


def test_the_pages_policy_lets_nothing_in_from_outside(page: Page, stand: MemberStand) -> None:
    answer = page.goto(stand.join_url)
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    refused = page.evaluate(
        """() => new Promise((resolve) => {
        addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
        const script = document.createElement("script");
        script.textContent = "globalThis.got = 1";
        document.head.append(script); })"""
    )
    assert (refused, page.evaluate("globalThis.got")) == ("script-src-elem", None)


def test_every_file_of_the_page_is_served_and_only_those(page: Page, stand: MemberStand) -> None:
    names = [f"/member/{name}" for name in ASSETS]
    get: Callable[[str], int] = lambda path: page.request.get(stand.url + path).status  # noqa: E731
    assert {get(path) for path in names} == {200}
    assert {get(path) for path in ("/member/__init__.py", "/member/../api.py", "/member/", "/member/index.html")} == {
        404
    }
    first = page.request.get(stand.url + names[0])
    again = page.request.get(stand.url + names[0], headers={"If-None-Match": first.headers["etag"]})
    assert again.status == 304
