"""The deny list and the rosters as kiosks read them, on both databases."""

from datetime import timedelta

from cloud.catalogue.queries import unit_of
from cloud.kit.database import reading, writing
from cloud.ledger.actions import post
from cloud.ledger.rules import EntryDraft, EntryKind, Posting, issuance_account, member_account
from cloud.members.actions import certify_phone, deny_phones, issue_card, leave, mark_seen, set_profile, sweep_rosters
from cloud.members.queries import deny_page, roster_page
from cloud.members.rules import PHONE_DAYS, ROSTER_AGE_MAX, Language
from shared.answers import DenyEntry, RosterEntry
from shared.business_day import milliseconds
from shared.ids import MemberId, StoreId
from tests.cloud.members.conftest import CENTRO, NOON, PORTO, TENANT, UNIT, WORDS, Town


def _read_roster(
    town: Town, store: StoreId, *, held: dict[bytes, RosterEntry], base: int, limit: int = 2, days: int = 0
) -> int:
    """The version reached; `held` is what a kiosk that applies every page knows then."""
    while True:
        with reading(town.engine) as connection:
            page = roster_page(connection, store, base, limit, NOON + timedelta(days=days))
        assert page.base == base
        assert len(page.entries) <= limit
        for entry in page.entries:
            if entry.removed:
                held.pop(entry.member, None)
            else:
                held[entry.member] = entry
        base = page.version
        if not page.more:
            return base


def _give(town: Town, id: MemberId, points: int) -> None:
    target, source = member_account(TENANT, id, UNIT), issuance_account(TENANT, UNIT)
    legs = (Posting(account=target, amount=points), Posting(account=source, amount=-points))
    draft = EntryDraft(id=bytes(6) + id, tenant=TENANT, kind=EntryKind.MINT, effective_at=NOON, postings=legs)
    with writing(town.engine) as connection:
        post(connection, [draft], recorded_at=NOON)


def test_a_new_kiosk_reads_everybody_in_pages(town: Town) -> None:
    ids = {town.join(nickname=f"M{number}", store=CENTRO).id for number in range(5)}
    held: dict[bytes, RosterEntry] = {}
    assert _read_roster(town, CENTRO, held=held, base=0) == 5
    assert held.keys() == ids
    assert _read_roster(town, CENTRO, held=held, base=5) == 5


def test_a_roster_entry_says_name_language_balance_and_its_time(town: Town) -> None:
    anna = town.join(nickname="Anna", store=CENTRO)
    _give(town, anna.id, 70)
    held: dict[bytes, RosterEntry] = {}
    _read_roster(town, CENTRO, held=held, base=0)
    assert held[anna.id] == RosterEntry(
        member=anna.id, nickname="Anna", language="en", balance=70, balance_ms=milliseconds(NOON)
    )


def test_a_sighting_sends_the_entry_again_and_only_it(town: Town) -> None:
    anna, _ = town.join(store=CENTRO), town.join(store=CENTRO)
    _give(town, anna.id, 20)
    with writing(town.engine) as connection:
        mark_seen(connection, CENTRO, [anna.id, anna.id], NOON)
    held: dict[bytes, RosterEntry] = {}
    _read_roster(town, CENTRO, held=held, base=2)
    assert {id: entry.balance for id, entry in held.items()} == {anna.id: 20}


def test_a_member_is_on_the_rosters_of_the_stores_that_saw_them(town: Town) -> None:
    anna = town.join(store=CENTRO)
    stranger = town.join()
    with writing(town.engine) as connection:
        mark_seen(connection, PORTO, [stranger.id], NOON)
        mark_seen(connection, PORTO, [], NOON)
    centro: dict[bytes, RosterEntry] = {}
    porto: dict[bytes, RosterEntry] = {}
    assert _read_roster(town, CENTRO, held=centro, base=0) == 1
    assert _read_roster(town, PORTO, held=porto, base=0) == 1
    assert (set(centro), set(porto)) == ({anna.id}, {stranger.id})


def test_a_new_name_reaches_every_store_that_knows_the_member(town: Town) -> None:
    anna = town.join(nickname="Anna", store=CENTRO)
    with writing(town.engine) as connection:
        mark_seen(connection, PORTO, [anna.id], NOON)
    with writing(town.engine) as connection:
        set_profile(connection, TENANT, anna.id, nickname="Annina", language=Language.ITALIAN)
    for store in (CENTRO, PORTO):
        held: dict[bytes, RosterEntry] = {}
        _read_roster(town, store, held=held, base=1)
        assert (held[anna.id].nickname, held[anna.id].language) == ("Annina", "it")


def test_who_left_is_removed_and_stays_removed(town: Town) -> None:
    anna = town.join(nickname="Anna", store=CENTRO)
    held: dict[bytes, RosterEntry] = {}
    version = _read_roster(town, CENTRO, held=held, base=0)
    with writing(town.engine) as connection:
        leave(connection, TENANT, anna.id, words=WORDS, now=NOON)
    version = _read_roster(town, CENTRO, held=held, base=version)
    assert held == {}
    with writing(town.engine) as connection:
        mark_seen(connection, CENTRO, [anna.id], NOON)  # a claim from before, that came late
    _read_roster(town, CENTRO, held=held, base=version)
    assert held == {}


def test_a_kiosk_learns_of_who_was_absent_too_long(town: Town) -> None:
    anna, berta = town.join(store=CENTRO), town.join(store=CENTRO)
    held: dict[bytes, RosterEntry] = {}
    version = _read_roster(town, CENTRO, held=held, base=0)
    with writing(town.engine) as connection:
        mark_seen(connection, CENTRO, [berta.id], NOON + timedelta(days=1))
    assert sweep_rosters(town.engine, NOON + ROSTER_AGE_MAX) == 0
    assert sweep_rosters(town.engine, NOON + ROSTER_AGE_MAX + timedelta(seconds=1)) == 1
    assert sweep_rosters(town.engine, NOON + ROSTER_AGE_MAX + timedelta(seconds=1)) == 0
    _read_roster(town, CENTRO, held=held, base=version)
    assert held.keys() == {berta.id}
    with writing(town.engine) as connection:
        mark_seen(connection, CENTRO, [anna.id], NOON + timedelta(days=200))
    _read_roster(town, CENTRO, held=held, base=version)
    assert held.keys() == {anna.id, berta.id}


def test_before_the_sweep_a_page_already_leaves_out_who_is_absent_too_long(town: Town) -> None:
    town.join(store=CENTRO)
    held: dict[bytes, RosterEntry] = {}
    _read_roster(town, CENTRO, held=held, base=0, days=181)
    assert held == {}


def test_a_roster_is_kept_to_its_size(town: Town) -> None:
    ids = [town.join(store=CENTRO, now=NOON + timedelta(minutes=number)).id for number in range(5)]
    assert sweep_rosters(town.engine, NOON + timedelta(hours=1), members_max=2, at_once=1) == 3
    held: dict[bytes, RosterEntry] = {}
    _read_roster(town, CENTRO, held=held, base=0)
    assert held.keys() == set(ids[3:])


def test_a_kiosk_from_the_future_starts_again(town: Town) -> None:
    anna = town.join(store=CENTRO)
    with reading(town.engine) as connection:
        page = roster_page(connection, CENTRO, 99, 10, NOON)
        assert (page.base, page.reset, page.version) == (0, True, 1)
        assert [entry.member for entry in page.entries] == [anna.id]
        denied = deny_page(connection, TENANT, 99, 10)
        assert (denied.base, denied.reset, denied.version, denied.entries) == (0, True, 0, ())


def test_the_deny_list_names_floors_and_phones(town: Town) -> None:
    anna, berta = town.join(), town.join()
    with writing(town.engine) as connection:
        issue_card(connection, town.issuer, TENANT, anna.id, now=NOON)
        issue_card(connection, town.issuer, TENANT, anna.id, now=NOON)
        deny_phones(connection, TENANT, berta.id, now=NOON)
        page = deny_page(connection, TENANT, 0, 10)
        assert page.entries == (
            DenyEntry(member=anna.id, serial_floor=2),
            DenyEntry(member=berta.id, phones=True),
        )
        assert (page.version, page.more, page.reset) == (2, False, False)
        first = deny_page(connection, TENANT, 0, 1)
        assert (first.version, first.more, first.entries) == (1, True, page.entries[:1])
        assert deny_page(connection, TENANT, 1, 1).entries == page.entries[1:]
        assert deny_page(connection, TENANT, 2, 10).entries == ()


def test_a_lifted_denial_is_told_to_who_knew_of_it_and_to_nobody_else(town: Town) -> None:
    anna = town.join()
    with writing(town.engine) as connection:
        certify_phone(connection, town.issuer, TENANT, anna.id, public_key=bytes(32), now=NOON)
        deny_phones(connection, TENANT, anna.id, now=NOON)
        later = NOON + timedelta(days=PHONE_DAYS + 1)
        certify_phone(connection, town.issuer, TENANT, anna.id, public_key=bytes(31) + b"\1", now=later)
        assert deny_page(connection, TENANT, 1, 10).entries == (DenyEntry(member=anna.id, removed=True),)
        fresh = deny_page(connection, TENANT, 0, 10)
        assert (fresh.entries, fresh.version) == ((), 2)


def test_the_unit_of_balances_is_the_programmes(town: Town) -> None:
    with reading(town.engine) as connection:
        assert unit_of(connection, CENTRO) == UNIT
