"""The part of the member page that is about the face, in a real browser: agree, see where, withdraw, see the proofs."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, Page, expect

from cloud.catalogue.actions import create_store, set_daily_reward
from cloud.catalogue.queries import store_by_id
from cloud.catalogue.rules import FaceRules, Store
from cloud.kit.database import writing
from cloud.members.actions import keep_face_proofs, keep_templates, note_templates_told, set_template_key
from cloud.members.rules import Enrolment, FaceProof, Origin
from shared.biometrics import Forgetting
from shared.consent import BIOMETRIC_TEXT_VERSION
from shared.ids import CampaignId, DeviceId, MemberId, StoreId, parse_member
from tests.browser.member_stand import (
    PROGRAMME,
    STORE,
    TENANT,
    MemberStand,
    join,
    member_stand,
    open_phone,
    trusting_chromium,
)
from tests.support.chromium import why_no_chromium

KEY, OTHER_KEY = b"k" * 8, b"o" * 8
OTHER_STORE = StoreId("bottega-aurora-castello")
FIRST, SECOND = DeviceId("abcdefghijkl"), DeviceId("mnopqrstuvwx")


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
def page(browser: Browser, stand: MemberStand) -> Iterator[Page]:
    """The page of somebody who has joined, at their data."""
    with open_phone(browser) as phone:
        page = phone.new_page()
        join(page, stand)
        page.locator("nav [data-to=data]").click()
        yield page


def member_of(page: Page) -> MemberId:
    """Whose page it is."""
    member = parse_member(page.locator("#pseudonym").inner_text())
    assert member is not None
    return member


def learn(stand: MemberStand, member: MemberId) -> None:
    """The first kiosk learns the face, the second is told."""
    learnt = Enrolment(
        tenant=TENANT,
        store=STORE,
        member=member,
        key=KEY,
        embedder=bytes(8),
        sealed=b"sealed",
        text_version=BIOMETRIC_TEXT_VERSION,
        device=FIRST,
        frames=5,
        resealed=False,
        enrolled_at=stand.now(),
    )
    with writing(stand.engine) as connection:
        set_template_key(connection, STORE, KEY, stand.now())
        keep_templates(connection, [learnt], stand.now())
        note_templates_told(connection, STORE, SECOND, version=1, whole=True, now=stand.now())


def open_another_shop(stand: MemberStand) -> None:
    """A second shop of the programme, whose kiosks recognise faces and share a secret."""
    place = Store(
        id=OTHER_STORE,
        tenant=TENANT,
        merchant="aurora-srl",
        programme=PROGRAMME,
        name="Piazza Castello 1",
        zone="Europe/Rome",
        cutoff_hour=4,
    )
    with writing(stand.engine) as connection:
        if store_by_id(connection, OTHER_STORE) is not None:
            return
        assert create_store(connection, place, stand.now()) == place
        set_daily_reward(
            connection,
            OTHER_STORE,
            points=10,
            reduced_points=5,
            campaign=CampaignId("spring"),
            cards_reduced=False,
            faces=FaceRules(recognised=True),
            now=stand.now(),
        )
        set_template_key(connection, OTHER_STORE, OTHER_KEY, stand.now())


def pass_on(stand: MemberStand, member: MemberId) -> None:
    """The first shop's kiosk seals the template for the second, whose kiosk seals it anew."""
    given = Enrolment(
        tenant=TENANT,
        store=OTHER_STORE,
        member=member,
        key=OTHER_KEY,
        embedder=bytes(8),
        sealed=b"sealed for the other",
        text_version=BIOMETRIC_TEXT_VERSION,
        device=FIRST,
        frames=0,
        resealed=False,
        enrolled_at=stand.now(),
        given_by=STORE,
    )
    with writing(stand.engine) as connection:
        keep_templates(connection, [given], stand.now())
        keep_templates(connection, [replace(given, device=SECOND, resealed=True, given_by=None)], stand.now())
        note_templates_told(connection, OTHER_STORE, SECOND, version=1, whole=True, now=stand.now())


def prove(stand: MemberStand, member: MemberId) -> None:
    """The second kiosk says that it has deleted."""
    origin = Origin(device=SECOND, epoch=1, seq=1)
    proof = FaceProof(tenant=TENANT, store=STORE, member=member, why=Forgetting.WITHDRAWN, origin=origin)
    with writing(stand.engine) as connection:
        keep_face_proofs(connection, [proof], stand.now())


def test_agree_be_known_withdraw_and_see_the_proofs(page: Page, stand: MemberStand) -> None:
    section, state = page.locator("section.face"), page.locator("#face-state")
    expect(state).to_have_text(f"You have not agreed (text {BIOMETRIC_TEXT_VERSION}).")
    for word in ("No picture.", "cannot open them", "until you withdraw", "Your code always works"):
        expect(section).to_contain_text(word)
    expect(page.locator("#face-stores")).to_be_hidden()
    page.locator("#face-give").click()
    expect(state).to_contain_text("You agreed to text 1.")
    expect(page.locator("#history li").first).to_contain_text("Recognition at the door: given")

    learn(stand, member_of(page))
    page.locator("nav [data-to=code]").click()
    page.locator("nav [data-to=data]").click()
    expect(page.locator("#face-stores li")).to_contain_text("Via Garibaldi 8")
    page.locator("#face-withdraw").click()
    page.locator("#ask button[value=yes]").click()
    expect(page.locator("#face-give")).to_be_visible()
    expect(page.locator("#face-stores")).to_be_hidden()
    expect(page.locator("#face-proofs li").nth(0)).to_contain_text("Via Garibaldi 8, kiosk abcdef")
    expect(page.locator("#face-proofs li")).to_contain_text(["waiting for its proof", "waiting for its proof"])

    prove(stand, member_of(page))
    page.locator("[data-language=it]").click()
    expect(page.locator("#face-proofs li").nth(1)).to_contain_text("provato dalla firma del totem")
    expect(page.locator("#face-proofs li").nth(0)).to_contain_text("in attesa della prova")
    expect(page.locator("#history li").first).to_contain_text("Riconoscimento all’ingresso: revocato")


def test_allow_another_shop_by_name_and_take_it_back_there_alone(page: Page, stand: MemberStand) -> None:
    open_another_shop(stand)
    others = page.locator("#face-others")
    page.locator("#face-give").click()
    expect(page.locator("#face-withdraw")).to_be_visible()
    expect(others, "known nowhere yet").to_be_hidden()
    learn(stand, member_of(page))
    page.locator("nav [data-to=code]").click()
    page.locator("nav [data-to=data]").click()
    expect(others.locator("li")).to_contain_text("Piazza Castello 1")
    expect(others.locator("li")).to_contain_text("not allowed")
    expect(page.locator("#face-others-lead")).to_contain_text("only that shop’s kiosks can open them")

    page.get_by_role("button", name="Allow: Piazza Castello 1").click()
    expect(others.locator("li")).to_contain_text("allowed; you are not known there yet")
    expect(page.locator("#history li").first).to_contain_text("Recognition at Piazza Castello 1: given")
    pass_on(stand, member_of(page))
    page.locator("[data-language=it]").click()
    expect(page.locator("#face-stores li")).to_contain_text(["Piazza Castello 1", "Via Garibaldi 8"])
    expect(others.locator("li")).to_contain_text("dal")

    page.get_by_role("button", name="Revoca e cancella: Piazza Castello 1").click()
    expect(page.locator("#ask-text")).to_contain_text("Gli altri negozi continuano a riconoscerti.")
    page.locator("#ask button[value=no]").click()
    expect(page.locator("#face-stores li")).to_have_count(2)
    page.get_by_role("button", name="Revoca e cancella: Piazza Castello 1").click()
    page.locator("#ask button[value=yes]").click()
    expect(page.locator("#face-stores li")).to_have_count(1)
    expect(page.locator("#face-stores li")).to_contain_text("Via Garibaldi 8")
    expect(page.locator("#face-proofs li")).to_contain_text(["Piazza Castello 1, totem mnopqr"])
    expect(page.locator("#history li").first).to_contain_text("Riconoscimento da Piazza Castello 1: revocato")
    expect(others.locator("li")).to_contain_text("non permesso")


def test_a_question_that_is_not_confirmed_withdraws_nothing(page: Page) -> None:
    page.locator("#face-give").click()
    page.locator("#face-withdraw").click()
    page.locator("#ask button[value=no]").click()
    expect(page.locator("#face-withdraw")).to_be_visible()
    expect(page.locator("#face-state")).to_contain_text("You agreed to text 1.")


def test_a_lease_that_ran_out_is_said_to_have(page: Page, stand: MemberStand) -> None:
    stand.clock_shift = -timedelta(days=50)
    try:
        page.locator("#face-give").click()
        expect(page.locator("#face-withdraw")).to_be_visible()
        stand.clock_shift = -timedelta(days=45)
        learn(stand, member_of(page))
        page.locator("#face-withdraw").click()
        page.locator("#ask button[value=yes]").click()
        expect(page.locator("#face-proofs li").first).to_contain_text("no proof came; its time ran out")
    finally:
        stand.clock_shift = timedelta(0)


def test_the_version_of_the_text_is_the_one_of_both_halves(page: Page) -> None:
    version = page.evaluate("async () => (await import('/member/texts.js')).BIOMETRIC_VERSION")
    assert version == BIOMETRIC_TEXT_VERSION
