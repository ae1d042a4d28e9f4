"""Coupons at the doors of one store: shown once, deferred and told, and asked about before."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from edge.channel.messages import PeerAsked, PeersAsked, PeersTold
from edge.core.instant import owner_of
from edge.core.lan import RightAsked, RightTold
from edge.core.reward import claim_of
from edge.core.screen import Screen, ScreenName
from edge.db import instants
from edge.errors import StorageFull
from shared.answers import HubLease, RevocationPage, RevokedDevice, RosterEntry, StoreKiosk, StorePage
from shared.business_day import ClockTrust, milliseconds
from shared.coupons import digest_of, is_issued_by, read_coupon
from shared.envelope import ClaimMade, InstantSaid
from shared.ids import ClaimId, DeviceId, MemberId
from shared.instants import Deferral, InstantOutcome
from shared.policy import INSTANT_A_DAY_MAX, InstantMode, InstantTerms, Policy
from tests.support.entrances import DEVICE, NOON, Kiosk, Phone, card, member_id, policy

ANNA = member_id(1)
A, B, C = DeviceId("a"), DeviceId("b"), DeviceId("c")
DAY = policy().calendar.business_day(NOON)


def terms(mode: InstantMode, a_day: int = 5) -> Policy:
    return policy(instant=InstantTerms(mode=mode, series="espresso", label="A free espresso", a_day=a_day))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """Three kiosks of one store, which hear each other until told otherwise. `c` leads."""

    kiosks: dict[DeviceId, Kiosk]

    def cut(self, one: DeviceId) -> None:
        """Nobody hears this kiosk any more, and it hears nobody."""
        self.kiosks[one].lan.reached.clear()
        for kiosk in self.kiosks.values():
            kiosk.lan.reached.pop(one, None)

    def later(self, **duration: float) -> None:
        """Time passes everywhere."""
        for kiosk in self.kiosks.values():
            kiosk.clock.advance(timedelta(**duration))
            kiosk.agent.tick()
            kiosk.lan.carry()

    def show(self, device: DeviceId, member: MemberId) -> Screen:
        """What the kiosk shows the member in the end."""
        kiosk = self.kiosks[device]
        kiosk.clock.advance(timedelta(seconds=30))
        kiosk.agent.see_codes((), kiosk.clock.uptime_ns)
        kiosk.agent.see_codes((card(kiosk.keys, member),), kiosk.clock.uptime_ns)
        kiosk.lan.carry()
        return kiosk.display.last

    def shown(self, member: MemberId) -> list[DeviceId]:
        """The kiosks whose claims say that they showed the member's coupon."""
        return [
            device
            for device, kiosk in self.kiosks.items()
            for fact in kiosk.facts()
            if isinstance(fact, ClaimMade) and fact.member == member
            if fact.instant is not None and fact.instant.outcome is InstantOutcome.SHOWN
        ]


def open_shop(folder: Path, wanted: Policy) -> Shop:
    kiosks = {device: Kiosk(folder, device=device, seed=ord(device)) for device in (A, B, C)}
    for device, kiosk in kiosks.items():
        kiosk.ready(terms=wanted)
        kiosk.lan.reached.update({other: kiosks[other] for other in kiosks if other != device})
    shop = Shop(kiosks=kiosks)
    tell_store(shop)
    shop.later(seconds=1)
    return shop


def tell_store(shop: Shop, version: int = 1, owners: tuple[str, ...] = (A, B, C), **changes: object) -> None:
    for kiosk in shop.kiosks.values():
        page = StorePage(
            base=0,
            version=version,
            more=False,
            issued_ms=milliseconds(kiosk.clock.instant),
            kiosks=tuple(
                StoreKiosk(device=name, public=one.signing_key.public_key().public_bytes_raw(), lan=f"{name}:8446")
                for name, one in shop.kiosks.items()
            ),
            owners=owners,
            hub=HubLease(device=C, ends_ms=milliseconds(kiosk.clock.instant + timedelta(days=1))),
        )
        assert kiosk.tell(page)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return open_shop(tmp_path, terms(InstantMode.HUB))


@pytest.fixture
def free(tmp_path: Path) -> Kiosk:
    made = Kiosk(tmp_path)
    made.ready(terms=terms(InstantMode.FREE, a_day=2))
    return made


def owned_by(device: DeviceId, after: int = 0) -> MemberId:
    return next(
        member for number in range(after + 1, 1000) if owner_of(member := member_id(number), DAY, (A, B, C)) == device
    )


def said(kiosk: Kiosk) -> list[InstantSaid | None]:
    return [fact.instant for fact in kiosk.facts() if isinstance(fact, ClaimMade)]


def test_a_coupon_is_stored_with_its_claim_and_shown_with_a_code_the_kiosk_signed(free: Kiosk) -> None:
    screen = free.show(card(free.keys, ANNA))
    assert (screen.name, screen.coupon, screen.label) == (
        ScreenName.GREETING,
        InstantOutcome.SHOWN,
        "A free espresso",
    )
    assert screen.code is not None
    coupon = read_coupon(screen.code)
    assert coupon is not None
    assert (coupon.claim.hex(), coupon.device, coupon.series) == (screen.claim, DEVICE, "espresso")
    assert is_issued_by(screen.code, free.signing_key.public_key())
    assert said(free) == [
        InstantSaid(series="espresso", outcome=InstantOutcome.SHOWN, code=digest_of(screen.code), why=None)
    ]


def test_who_comes_back_that_day_sees_the_same_coupon(free: Kiosk) -> None:
    first = free.show(card(free.keys, ANNA))
    again = free.show(card(free.keys, ANNA))
    assert (again.name, again.code) == (ScreenName.COLLECTED, first.code)
    assert len(said(free)) == 1


def test_terms_without_a_coupon_give_none(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.ready()
    screen = kiosk.show(card(kiosk.keys, ANNA))
    assert (screen.name, screen.coupon, screen.code) == (ScreenName.GREETING, None, None)
    assert said(kiosk) == [None]


def test_a_kiosk_gives_no_more_a_day_than_its_terms_allow(free: Kiosk) -> None:
    outcomes = [free.show(card(free.keys, member_id(number))).coupon for number in range(1, 4)]
    assert outcomes == [InstantOutcome.SHOWN, InstantOutcome.SHOWN, InstantOutcome.DEFERRED]
    last = said(free)[-1]
    assert last is not None
    assert (last.why, last.code) == (Deferral.EXHAUSTED, None)
    free.clock.advance(timedelta(days=1))
    free.agent.tick()
    free.tell_time()
    assert free.show(card(free.keys, ANNA)).coupon is InstantOutcome.SHOWN


def test_a_visit_that_is_dated_later_has_its_coupon_deferred(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.agent.link_starts()
    kiosk.agent.line_up()
    kiosk.learn_all(terms=terms(InstantMode.FREE))
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.NOTED
    kiosk.agent.tick()
    kiosk.tell_time()
    kiosk.agent.tick()
    (instant,) = said(kiosk)
    assert instant is not None
    assert instant.why is Deferral.DATED


def test_a_clock_that_nobody_set_for_a_day_defers(free: Kiosk) -> None:
    free.agent.line_down()
    free.clock.advance(timedelta(days=1, seconds=1))
    screen = free.show(card(free.keys, ANNA))
    assert (screen.points, screen.coupon) == (10, InstantOutcome.DEFERRED)
    free.agent.line_up()
    assert [one.why for one in said(free) if one is not None] == [Deferral.TIME]


def test_a_confirmed_coupon_is_told_on_the_next_visit(free: Kiosk) -> None:
    free.know(RosterEntry(member=ANNA, nickname="Anna", coupon="A free espresso"))
    assert free.show(card(free.keys, ANNA)).confirmed == "A free espresso"
    free.know(RosterEntry(member=ANNA, nickname="Anna"), version=2)
    assert free.show(card(free.keys, ANNA)).confirmed is None


def test_owners_show_and_others_defer(tmp_path: Path) -> None:
    shop = open_shop(tmp_path, terms(InstantMode.OWNER))
    member = owned_by(A)
    assert shop.show(B, member).coupon is InstantOutcome.DEFERRED
    assert shop.show(A, member).coupon is InstantOutcome.SHOWN
    assert shop.show(C, member).coupon is InstantOutcome.DEFERRED
    assert shop.shown(member) == [A]


@pytest.mark.parametrize("owner", [A, B, C])
@pytest.mark.parametrize("door", [A, B, C])
def test_whoever_asks_the_hub_first_shows(shop: Shop, owner: DeviceId, door: DeviceId) -> None:
    member = owned_by(owner)
    assert shop.show(door, member).coupon is InstantOutcome.SHOWN
    for other in {A, B, C} - {door}:
        assert shop.show(other, member).coupon is InstantOutcome.DEFERRED
    assert shop.shown(member) == [door]


@pytest.mark.parametrize("owner", [A, B])
def test_when_the_hub_dies_its_gifts_are_remembered(shop: Shop, owner: DeviceId) -> None:
    member = owned_by(owner)
    other = B if owner == A else A
    assert shop.show(other, member).coupon is InstantOutcome.SHOWN
    shop.cut(C)
    shop.later(minutes=5)
    assert shop.show(owner, member).coupon is InstantOutcome.DEFERRED, "the owner agreed and knows"
    assert shop.shown(member) == [other]


def test_when_the_hub_dies_owners_go_on_alone(shop: Shop) -> None:
    shop.cut(C)
    mine, theirs = owned_by(A), owned_by(B)
    assert shop.show(A, mine).coupon is InstantOutcome.SHOWN, "asked, silent, and so the owner rule"
    shop.later(minutes=5)
    # A knows B to be there by now: with the lease still C's nobody else leads.
    assert shop.show(A, theirs).coupon is InstantOutcome.DEFERRED
    assert shop.show(B, theirs).coupon is InstantOutcome.SHOWN


def test_an_island_shows_what_it_owns_and_nobody_shows_it_twice(shop: Shop) -> None:
    shop.cut(A)
    for number in range(1, 6):
        member = member_id(number)
        for door in (A, B, C):
            shop.show(door, member)
        assert len(shop.shown(member)) <= 1


def test_a_hub_without_the_owner_does_not_give(shop: Shop) -> None:
    shop.cut(A)
    member = owned_by(A)
    assert shop.show(B, member).coupon is InstantOutcome.DEFERRED
    (instant,) = said(shop.kiosks[B])
    assert instant is not None
    assert instant.why is Deferral.UNREACHED
    assert shop.show(A, member).coupon is InstantOutcome.SHOWN


def test_free_kiosks_show_each_on_their_own(tmp_path: Path) -> None:
    shop = open_shop(tmp_path, terms(InstantMode.FREE))
    for door in (A, B, C):
        assert shop.show(door, ANNA).coupon is InstantOutcome.SHOWN
    assert shop.shown(ANNA) == [A, B, C]


def test_the_member_waits_until_the_others_have_answered(shop: Shop) -> None:
    kiosk = shop.kiosks[A]
    member = owned_by(B)
    kiosk.lan.told.clear()
    kiosk.agent.see_codes((card(kiosk.keys, member),), kiosk.clock.uptime_ns)
    assert kiosk.display.last.name is ScreenName.IDLE
    (asked,) = [one for one in kiosk.lan.told if isinstance(one, PeersAsked)]
    assert asked.peers == (C, B)
    kiosk.agent.tick()
    assert kiosk.display.last.name is ScreenName.IDLE
    kiosk.clock.advance(timedelta(seconds=3))
    kiosk.agent.tick()
    assert kiosk.display.last.coupon is InstantOutcome.DEFERRED, "nobody answered in time"
    kiosk.agent.hear_peers(kiosk.lan.answers_to(asked))
    assert len(said(kiosk)) == 1, "an answer that comes late changes nothing"


def test_a_second_member_does_not_wait_for_the_first(shop: Shop) -> None:
    kiosk = shop.kiosks[A]
    kiosk.agent.see_codes((card(kiosk.keys, owned_by(B)),), kiosk.clock.uptime_ns)
    kiosk.agent.see_codes((card(kiosk.keys, owned_by(C)),), kiosk.clock.uptime_ns)
    kiosk.lan.carry()
    coupons = [one.coupon for one in kiosk.display.shown if one.coupon is not None]
    assert coupons == [InstantOutcome.DEFERRED, InstantOutcome.SHOWN]


def test_the_next_step_of_a_phone_waits_with_the_first(shop: Shop) -> None:
    kiosk = shop.kiosks[A]
    phone = Phone(kiosk.keys, owned_by(B))
    kiosk.agent.see_codes((phone.show(kiosk.clock.instant),), kiosk.clock.uptime_ns)
    kiosk.clock.advance(timedelta(seconds=15))
    kiosk.agent.see_codes((phone.show(kiosk.clock.instant),), kiosk.clock.uptime_ns)
    kiosk.lan.carry()
    assert [one.outcome for one in said(kiosk) if one is not None] == [InstantOutcome.SHOWN]


def test_a_right_that_cannot_be_written_down_is_not_given(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop.kiosks[C].database, "transaction", no_room)
    member = owned_by(B)
    assert shop.show(A, member).coupon is InstantOutcome.DEFERRED
    assert instants.right_to(shop.kiosks[B].database.connection, claim_of(member, policy(), DAY)) is None


def test_a_kiosk_gives_its_word_for_a_day_that_can_be_today(shop: Shop) -> None:
    hub = shop.kiosks[C].agent

    def holder(day: str, claim: bytes = bytes(16)) -> str | None:
        asked = PeerAsked(number=1, device=A, question=RightAsked(claim=claim, business_day=day))
        told = hub.answer_peer(asked).answer
        assert isinstance(told, RightTold)
        return told.holder

    assert holder("2026-11-22") is None
    assert holder("2026-11-21") == A
    assert holder("2026-11-18", bytes(15) + b"1") is None
    with shop.kiosks[C].database.transaction() as connection:
        for number in range(INSTANT_A_DAY_MAX):
            instants.give_right(connection, ClaimId((number + 1).to_bytes(16, "big")), A, "2026-11-20")
    assert holder("2026-11-20", bytes(15) + b"\x02") == A, "given before"
    assert holder("2026-11-20", b"2" + bytes(15)) is None, "more than a kiosk can show"


def test_a_kiosk_without_terms_gives_no_word(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    asked = PeerAsked(number=1, device=A, question=RightAsked(claim=bytes(16), business_day="2026-11-20"))
    assert kiosk.agent.answer_peer(asked).answer == RightTold(holder=None)


def no_room() -> None:
    raise StorageFull("no room")


def test_link_is_told_who_the_others_are_and_of_every_change(shop: Shop) -> None:
    kiosk = shop.kiosks[A]
    peers = [one for one in kiosk.lan.told if isinstance(one, PeersTold)]
    assert [[peer.device for peer in one.peers] for one in peers] == [["b", "c"]]
    now_ms = milliseconds(kiosk.clock.instant)
    entries = (RevokedDevice(device=B, since_ms=now_ms),)
    kiosk.tell(RevocationPage(base=0, version=1, more=False, issued_ms=now_ms, reset=True, entries=entries))
    kiosk.agent.tick()
    kiosk.agent.link_starts()
    kiosk.agent.tick()
    peers = [one for one in kiosk.lan.told if isinstance(one, PeersTold)]
    assert [[peer.device for peer in one.peers] for one in peers] == [["b", "c"], ["c"], ["c"]]


def test_a_kiosk_whose_cloud_is_away_has_its_time_from_the_hub(shop: Shop) -> None:
    kiosk = shop.kiosks[A]
    kiosk.agent.line_down()
    kiosk.clock.restart("boot-2")
    kiosk.clock.instant -= timedelta(days=300)
    assert kiosk.agent.status().clock_trust == ClockTrust.UNKNOWN
    for _ in range(3):
        kiosk.clock.advance(timedelta(seconds=61))
        kiosk.agent.tick()
        kiosk.lan.carry()
    assert kiosk.agent.status().clock_trust == ClockTrust.SYNCED
    assert kiosk.agent.status().business_day == DAY.isoformat()


def test_a_hub_that_does_not_know_the_time_itself_tells_none(shop: Shop) -> None:
    for kiosk in shop.kiosks.values():
        kiosk.agent.line_down()
        kiosk.clock.restart("boot-2")
        kiosk.clock.instant -= timedelta(days=300)
    shop.later(seconds=61)
    shop.later(seconds=61)
    assert {kiosk.agent.status().clock_trust for kiosk in shop.kiosks.values()} == {ClockTrust.UNKNOWN}


def in_the_dark(shop: Shop, boot: str) -> None:
    """Every kiosk boots anew, without the cloud and with a clock that was never set."""
    for kiosk in shop.kiosks.values():
        kiosk.agent.line_down()
        kiosk.clock.restart(boot)
        kiosk.clock.instant -= timedelta(days=300)
        kiosk.restart()


def test_a_visit_of_a_boot_that_ended_without_the_time_is_dated_by_who_saw_it(shop: Shop) -> None:
    in_the_dark(shop, "boot-2")
    shop.later(seconds=1)
    shop.later(seconds=40)
    door, hub = shop.kiosks[A], shop.kiosks[C]
    assert shop.show(A, ANNA).name is ScreenName.NOTED
    seen_at = door.clock.uptime_ns

    door.clock.restart("boot-3")  # the power again, before anybody knew the time
    door.restart()
    for kiosk in shop.kiosks.values():
        kiosk.clock.instant = NOON + timedelta(days=3)
        kiosk.agent.link_starts()
        kiosk.agent.line_up()
        kiosk.tell_time()
    for _ in range(15):
        shop.later(minutes=1)
    (fact,) = [fact for fact in door.facts() if isinstance(fact, ClaimMade)]
    boots_ago = (hub.clock.uptime_ns - seen_at) // 1_000_000_000
    noted = hub.clock.instant - timedelta(seconds=boots_ago)
    assert fact.business_day == policy().calendar.business_day(noted).isoformat()
    assert fact.noted_seq is not None
    assert door.agent.status().visits_waiting == 0


def test_a_kiosk_that_saw_nothing_of_a_boot_cannot_date_it(shop: Shop) -> None:
    in_the_dark(shop, "boot-2")
    shop.cut(A)
    assert shop.show(A, ANNA).name is ScreenName.NOTED
    door = shop.kiosks[A]
    door.clock.restart("boot-3")
    door.restart()
    door.lan.reached.update({C: shop.kiosks[C]})
    door.clock.instant = NOON + timedelta(days=3)
    door.agent.link_starts()
    door.agent.line_up()
    door.tell_time()
    for _ in range(15):
        shop.later(minutes=1)
    assert door.agent.status().visits_waiting == 1
