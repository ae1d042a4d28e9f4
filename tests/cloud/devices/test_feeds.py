"""What a device that shows up is told: its epoch and the pages of each feed it misses. On both databases.

The device's end is edge.core's own: pages are applied by the rule that kiosks apply them by.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, select

from cloud.catalogue.actions import set_daily_reward
from cloud.catalogue.queries import policy_in_force
from cloud.devices.actions import PAGES_A_FEED, answer_state, leap_feeds, record_state, revoke_device, tell_time
from cloud.devices.queries import statuses_of
from cloud.kit.database import reading, writing
from cloud.kit.keyring import Keyring
from cloud.members.actions import Issuer, Joining, deny_cards, issue_card, join, mark_seen
from cloud.members.rules import Channel, ConsentWords, Language
from cloud.members.tables import member
from edge.core.feeds import HeldFeed, PageVerdict, judge_page
from shared.answers import (
    PAGE_ENTRIES_MAX,
    AllotmentIssued,
    Answer,
    DenyPage,
    EpochIssued,
    FeedName,
    GroupPage,
    KeyPage,
    Page,
    PolicyPage,
    Receipt,
    RevocationPage,
    RosterPage,
    TemplatePage,
    TimeTold,
    name_of,
)
from shared.biometrics import SealedTemplate
from shared.business_day import milliseconds
from shared.consent import DataLevel
from shared.envelope import MESSAGE_BYTES_MAX, DeviceState, FeedVersions, TimeAsked
from shared.ids import CampaignId, DeviceId, MemberId
from shared.policy import Policy
from tests.cloud.devices.conftest import NORD, NOW, STORE, Registry
from tests.cloud.devices.kiosk import Kiosk

DATABASE = b"d" * 16
MONTH = timedelta(days=30)
ISSUER = Issuer(id=1, key=Ed25519PrivateKey.from_private_bytes(bytes(32)))


@dataclass(slots=True, kw_only=True)
class Reader:
    """A device that asks until it has read all, as edge.core has it."""

    engine: Engine
    keyring: Keyring
    device: DeviceId
    epoch: int = 0
    session: int = 1
    database: bytes = DATABASE
    held: dict[FeedName, HeldFeed] = field(default_factory=dict)
    members: set[bytes] = field(default_factory=set)
    denied: set[bytes] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)
    group: GroupPage | None = None
    templates: dict[bytes, SealedTemplate] = field(default_factory=dict)
    leased_ms: int = 0

    def state(self, *, online: bool = True, session: int | None = None) -> DeviceState:
        """What it says of itself."""
        versions = {name.value: self.held.get(name, HeldFeed()).version for name in FeedName}
        return DeviceState(
            device=self.device,
            session=self.session if session is None else session,
            online=online,
            database=self.database,
            epoch=self.epoch,
            head=7,
            settled=5,
            feeds=FeedVersions(**versions),
            allotment=0,
            software="0.1",
        )

    def ask(self, now: datetime) -> tuple[Answer, ...]:
        """One answer, and everything in it applied."""
        with writing(self.engine) as connection:
            answers = answer_state(connection, self.keyring, self.device, self.state(), now)
        for answer in answers:
            self._hear(answer)
        return answers

    def catch_up(self, now: datetime) -> int:
        """Asks as long as a feed has more; how many answers that took."""
        for count in range(1, 50):
            if not any(getattr(answer, "more", False) for answer in self.ask(now)):
                return count
        raise AssertionError("it never ends")

    def _hear(self, answer: Answer) -> None:
        match answer:
            case EpochIssued():
                assert answer.database == self.database
                self.epoch = answer.epoch
            case EpochIssued() | AllotmentIssued() | Receipt() | TimeTold():
                raise AssertionError(answer)
            case _:
                self._apply(answer)

    def _apply(self, page: Page) -> None:
        name = name_of(page)
        assert judge_page(page, self.held.get(name, HeldFeed())) is PageVerdict.APPLY
        self.held[name] = HeldFeed(version=page.version, issued_ms=page.issued_ms)
        if isinstance(page, RosterPage):
            self.members |= {entry.member for entry in page.entries if not entry.removed}
            self.members -= {entry.member for entry in page.entries if entry.removed}
        if isinstance(page, DenyPage):
            self.denied |= {entry.member for entry in page.entries}
        if isinstance(page, RevocationPage):
            self.revoked |= {entry.device for entry in page.entries}
        if isinstance(page, GroupPage):
            self.group = page
        if isinstance(page, TemplatePage):
            self._apply_templates(page)

    def _apply_templates(self, page: TemplatePage) -> None:
        if page.reset:
            self.templates.clear()
        for entry in page.entries:
            if entry.template is None:
                self.templates.pop(entry.member, None)
            else:
                self.templates[entry.member] = entry.template
        if not page.more:
            self.leased_ms = page.issued_ms


@pytest.fixture
def reader(registry: Registry) -> Reader:
    """A certified kiosk of a store that has terms, which has heard nothing yet."""
    set_terms(registry.engine)
    id = registry.certified(Kiosk())
    return Reader(engine=registry.engine, keyring=registry.keyring, device=id)


def set_terms(engine: Engine, *, points: int = 10) -> None:
    """The store's terms."""
    with writing(engine) as connection:
        policy = set_daily_reward(
            connection,
            STORE,
            points=points,
            reduced_points=5,
            campaign=CampaignId("spring"),
            cards_reduced=False,
            now=NOW,
        )
        assert isinstance(policy, Policy)


def add_members(engine: Engine, numbers: range, now: datetime = NOW) -> list[MemberId]:
    """That many members, seen at the store."""
    joining = Joining(
        tenant=NORD,
        programme="club",
        store=None,
        nickname=None,
        language=Language.ENGLISH,
        level=DataLevel.PSEUDONYM,
        words=ConsentWords(text_version=1, language=Language.ENGLISH, channel=Channel.PAGE),
    )
    ids = [MemberId(number.to_bytes(10, "big")) for number in numbers]
    with writing(engine) as connection:
        join(connection, joining, id=ids[0], secret_digest=ids[0].rjust(32), now=now)
        row = connection.execute(select(member).where(member.c.id == ids[0])).mappings().one()
        if len(ids) > 1:
            connection.execute(member.insert(), [dict(row) | {"id": id} for id in ids[1:]])
        mark_seen(connection, STORE, ids, now)
    return ids


def pages(answers: Sequence[Answer]) -> list[FeedName]:
    """The feeds of the pages among the answers, in their order."""
    return [name_of(answer) for answer in answers if isinstance(answer, Page)]


def test_a_new_kiosk_is_told_everything_in_order(reader: Reader) -> None:
    members = add_members(reader.engine, range(1, 4))
    answers = reader.ask(NOW)
    assert isinstance(answers[0], KeyPage), "a new kiosk cannot check the rest before it has the keys"
    assert isinstance(answers[1], EpochIssued)
    assert pages(answers) == list(FeedName)
    assert reader.epoch == 1
    assert reader.members == set(members)


def test_a_kiosk_that_knows_all_has_its_ages_renewed(reader: Reader) -> None:
    reader.catch_up(NOW)
    answers = reader.ask(NOW + timedelta(days=1))
    ageless = {FeedName.KEYS, FeedName.STORE}
    assert pages(answers) == [name for name in FeedName if name not in ageless]
    assert len(answers) == 6, "the epoch is known"
    fresh = milliseconds(NOW + timedelta(days=1))
    assert {held.issued_ms for name, held in reader.held.items() if name not in ageless} == {fresh}
    policy = answers[0]
    assert isinstance(policy, PolicyPage)
    assert policy.policy is None, "unchanged terms are not sent again"


def test_a_kiosk_that_missed_a_month_reads_it_in_pages(reader: Reader, registry: Registry) -> None:
    before = add_members(reader.engine, range(1, 11))
    assert reader.catch_up(NOW) == 1
    after = NOW + MONTH
    missed = add_members(reader.engine, range(100, 100 + PAGES_A_FEED * PAGE_ENTRIES_MAX + 500), after)
    other = registry.certified(Kiosk(), now=after)
    set_terms(reader.engine, points=20)
    with writing(reader.engine) as connection:
        issue_card(connection, ISSUER, NORD, before[0], now=after)
        deny_cards(connection, NORD, before[0], now=after)
        revoke_device(connection, other, after)
    assert reader.catch_up(after) == 2
    assert reader.members == {*before, *missed}
    assert reader.denied == {before[0]}
    assert reader.revoked == {other}
    assert reader.held[FeedName.POLICY].version == 2


def test_an_answer_is_bounded(reader: Reader) -> None:
    add_members(reader.engine, range(PAGES_A_FEED * PAGE_ENTRIES_MAX + 1))
    answers = reader.ask(NOW)
    roster = [answer for answer in answers if isinstance(answer, RosterPage)]
    assert [len(page.entries) for page in roster] == [PAGE_ENTRIES_MAX] * PAGES_A_FEED
    assert roster[-1].more, "the kiosk knows that it must ask again"
    assert max(len(reader.keyring.sign(page)) for page in roster) < MESSAGE_BYTES_MAX


def test_an_older_page_is_never_sent(reader: Reader) -> None:
    """A restored cloud is behind its kiosks: it has nothing to tell them until it has passed them."""
    reader.catch_up(NOW)
    for name in FeedName:
        reader.held[name] = HeldFeed(version=1000, issued_ms=0)
    assert reader.ask(NOW) == ()


def test_a_store_without_terms_has_no_policy_page(registry: Registry) -> None:
    reader = Reader(engine=registry.engine, keyring=registry.keyring, device=registry.certified(Kiosk()))
    assert FeedName.POLICY not in pages(reader.ask(NOW))


def test_a_restored_database_is_given_its_epoch_again(reader: Reader) -> None:
    reader.ask(NOW)
    reader.database = b"e" * 16
    reader.ask(NOW)
    assert reader.epoch == 2
    reader.database, reader.epoch = DATABASE, 0
    reader.ask(NOW)
    assert reader.epoch == 1


def test_a_revoked_kiosk_is_told_just_that(reader: Reader) -> None:
    reader.ask(NOW)
    with writing(reader.engine) as connection:
        revoke_device(connection, reader.device, NOW)
    reader.database, reader.epoch = b"n" * 16, 0
    reader.held.pop(FeedName.KEYS)
    assert pages(reader.ask(NOW)) == [FeedName.KEYS, FeedName.REVOCATIONS]
    assert (reader.revoked, reader.epoch) == ({reader.device}, 0)


def test_who_is_not_confirmed_is_told_nothing(registry: Registry) -> None:
    waiting = registry.claimed(Kiosk()).device.id
    for id in (waiting, DeviceId("nobody")):
        assert Reader(engine=registry.engine, keyring=registry.keyring, device=id).ask(NOW) == ()


def test_a_will_is_noted_and_a_late_one_hides_no_birth(reader: Reader) -> None:
    reader.ask(NOW)
    reader.session = 2
    reader.ask(NOW + timedelta(minutes=1))
    with writing(reader.engine) as connection:
        will = reader.state(online=False, session=1)
        assert answer_state(connection, reader.keyring, reader.device, will, NOW + timedelta(minutes=2)) == ()
        status = statuses_of(connection, [reader.device])[reader.device]
        assert (status.is_online, status.seen_at, status.head) == (True, NOW + timedelta(minutes=1), 7)
        record_state(connection, reader.device, reader.state(online=False), NOW + timedelta(minutes=3))
        assert not statuses_of(connection, [reader.device])[reader.device].is_online


def test_the_status_of_a_stranger_is_not_kept(reader: Reader) -> None:
    with writing(reader.engine) as connection:
        record_state(connection, DeviceId("nobody"), reader.state(), NOW)
    with reading(reader.engine) as connection:
        assert statuses_of(connection, [DeviceId("nobody"), reader.device]) == {}


def test_the_time_is_told_to_who_asked() -> None:
    told = tell_time(TimeAsked(nonce=b"n" * 16), NOW)
    assert (told.nonce, told.instant_ms) == (b"n" * 16, milliseconds(NOW))


def test_a_database_that_was_brought_back_is_believed_again(reader: Reader, registry: Registry) -> None:
    """Kiosks hold versions that are lost here; after the leap they learn what is new and keep what they know."""
    members = add_members(reader.engine, range(3))
    other = registry.certified(Kiosk())
    with writing(reader.engine) as connection:
        revoke_device(connection, other, NOW)
    reader.catch_up(NOW)
    for name in set(FeedName) - {FeedName.KEYS}:
        reader.held[name] = HeldFeed(version=reader.held[name].version + 50, issued_ms=milliseconds(NOW))
    assert reader.ask(NOW) == ()
    later = NOW + timedelta(days=1)
    with writing(reader.engine) as connection:
        leap_feeds(connection, later)
        leap_feeds(connection, later)
    new = add_members(reader.engine, range(10, 11), later)
    assert reader.catch_up(later) == 1
    assert reader.members == {*members, *new}
    assert reader.revoked == {other}
    assert {held.issued_ms for name, held in reader.held.items() if name is not FeedName.KEYS} == {milliseconds(later)}
    with reading(reader.engine) as connection:
        policy = policy_in_force(connection, STORE)
    assert policy is not None
    assert policy.version == reader.held[FeedName.POLICY].version
