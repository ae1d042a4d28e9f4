"""Joining, credentials, consents and leaving, on both databases."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Delete, Update, delete, update
from sqlalchemy.exc import DatabaseError

from cloud.kit.database import reading, writing
from cloud.kit.events import drain
from cloud.members.actions import (
    LEFT,
    certify_phone,
    deny_cards,
    deny_phones,
    issue_card,
    leave,
    set_level,
    set_marketing,
    set_profile,
)
from cloud.members.queries import (
    card_in_hand,
    cards_of,
    consents_of,
    member_by_id,
    member_facts,
    member_of_bearer,
    members_after,
    phones_of,
)
from cloud.members.rules import (
    CARD_DAYS,
    CARD_SERIAL_MAX,
    PHONE_DAYS,
    CardRefusal,
    Language,
    MemberGone,
    PhoneRefusal,
    day_number,
)
from cloud.members.tables import member, member_consent
from shared.consent import DataLevel, Purpose
from shared.ids import MemberId, TenantId
from shared.tokens import parse_token, show_phone_code, step_of, verify_token
from tests.cloud.members.conftest import CENTRO, NOON, PROGRAMME, TENANT, WORDS, Town

PHONE = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x01")
OTHER_PHONE = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x02")


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _certify(town: Town, id: MemberId, phone: Ed25519PrivateKey, days: int = 0) -> bytes | PhoneRefusal:
    with writing(town.engine) as connection:
        now = NOON + timedelta(days=days)
        return certify_phone(connection, town.issuer, TENANT, id, public_key=_public(phone), now=now)


def test_who_joins_is_a_pseudonym_with_the_lowest_level(town: Town) -> None:
    anna = town.join(nickname="Anna")
    with reading(town.engine) as connection:
        assert member_by_id(connection, TENANT, anna.id) == anna
        assert consents_of(connection, TENANT, anna.id)[0].purpose is Purpose.PROGRAMME
    assert (anna.programme, anna.nickname, anna.level, anna.erased_at) == (PROGRAMME, "Anna", DataLevel.PSEUDONYM, None)


def test_the_bearer_secret_finds_its_member_and_nobody_else(town: Town) -> None:
    anna, _ = town.join(), town.join()
    with reading(town.engine) as connection:
        assert member_of_bearer(connection, bytes(22) + anna.id) == anna
        assert member_of_bearer(connection, bytes(32)) is None


def test_joining_again_with_the_same_secret_is_the_same_member(town: Town) -> None:
    anna = town.join()
    town.joined = 0
    assert town.join(nickname="Berta") == anna


def test_a_pseudonym_of_one_tenant_is_unknown_to_another(town: Town) -> None:
    anna = town.join()
    with reading(town.engine) as connection:
        assert member_by_id(connection, TenantId("bianchi"), anna.id) is None
        assert member_facts(connection, TenantId("bianchi"), [anna.id]) == {}


def test_facts_hold_those_who_are_known(town: Town) -> None:
    anna, berta = town.join(nickname="Anna"), town.join()
    with writing(town.engine) as connection:
        leave(connection, TENANT, berta.id, words=WORDS, now=NOON)
        facts = member_facts(connection, TENANT, [anna.id, berta.id, MemberId(b"nobody1234"), anna.id])
    assert facts.keys() == {anna.id, berta.id}
    assert (facts[anna.id].nickname, facts[anna.id].erased, facts[berta.id].erased) == ("Anna", False, True)


def test_members_are_listed_in_order_and_in_pieces(town: Town) -> None:
    ids = [town.join().id for _ in range(3)]
    with reading(town.engine) as connection:
        first = members_after(connection, TENANT, None, 2)
        rest = members_after(connection, TENANT, first[-1].id, 2)
    assert [known.id for known in first + rest] == ids


def test_a_certified_phone_shows_codes_that_kiosks_accept(town: Town) -> None:
    anna = town.join()
    certificate = _certify(town, anna.id, PHONE)
    assert isinstance(certificate, bytes)
    token = parse_token(show_phone_code(PHONE, certificate, step_of(NOON)))
    assert not isinstance(token, str)
    assert verify_token(token, {1: town.issuer.key.public_key()}, NOON) is None
    assert (token.member, token.expiry_day) == (anna.id, day_number(NOON) + PHONE_DAYS)


def test_certifying_again_renews(town: Town) -> None:
    anna = town.join()
    _certify(town, anna.id, PHONE)
    _certify(town, anna.id, PHONE, days=30)
    with reading(town.engine) as connection:
        (phone,) = phones_of(connection, TENANT, anna.id)
    assert phone.expiry_day == day_number(NOON) + 30 + PHONE_DAYS


def test_denied_phones_stay_denied_until_their_certificates_end(town: Town) -> None:
    anna = town.join()
    _certify(town, anna.id, PHONE)
    with writing(town.engine) as connection:
        deny_phones(connection, TENANT, anna.id, now=NOON)
        deny_phones(connection, TENANT, anna.id, now=NOON)
    assert _certify(town, anna.id, OTHER_PHONE, days=PHONE_DAYS) is PhoneRefusal.PHONES_DENIED
    assert _certify(town, anna.id, PHONE, days=PHONE_DAYS + 1) is PhoneRefusal.KEY_REVOKED
    assert isinstance(_certify(town, anna.id, OTHER_PHONE, days=PHONE_DAYS + 1), bytes)
    with reading(town.engine) as connection:
        assert not member_facts(connection, TENANT, [anna.id])[anna.id].phones_denied


def test_a_card_is_issued_and_printed_alike(town: Town) -> None:
    anna = town.join()
    with writing(town.engine) as connection:
        card = issue_card(connection, town.issuer, TENANT, anna.id, now=NOON)
        in_hand = card_in_hand(connection, TENANT, anna.id)
    assert not isinstance(card, CardRefusal)
    assert in_hand is not None
    assert (card.serial, card.expiry_day) == (in_hand.serial, in_hand.expiry_day) == (1, day_number(NOON) + CARD_DAYS)
    token = parse_token(card.text)
    assert not isinstance(token, str)
    assert verify_token(token, {1: town.issuer.key.public_key()}, NOON) is None


def test_a_second_card_denies_the_first(town: Town) -> None:
    anna = town.join()
    with writing(town.engine) as connection:
        issue_card(connection, town.issuer, TENANT, anna.id, now=NOON)
        assert member_facts(connection, TENANT, [anna.id])[anna.id].serial_floor == 0
        issue_card(connection, town.issuer, TENANT, anna.id, now=NOON)
        assert [card.denied for card in cards_of(connection, TENANT, anna.id)] == [True, False]
        assert member_facts(connection, TENANT, [anna.id])[anna.id].serial_floor == 2


def test_denied_cards_are_below_the_floor_and_a_new_one_above(town: Town) -> None:
    anna = town.join()
    with writing(town.engine) as connection:
        deny_cards(connection, TENANT, anna.id, now=NOON)
        assert member_facts(connection, TENANT, [anna.id])[anna.id].serial_floor == 0
        issue_card(connection, town.issuer, TENANT, anna.id, now=NOON)
        deny_cards(connection, TENANT, anna.id, now=NOON)
        deny_cards(connection, TENANT, anna.id, now=NOON)
        assert card_in_hand(connection, TENANT, anna.id) is None
        assert member_facts(connection, TENANT, [anna.id])[anna.id].serial_floor == 2
        issue_card(connection, town.issuer, TENANT, anna.id, now=NOON)
        assert card_in_hand(connection, TENANT, anna.id) is not None
        assert member_facts(connection, TENANT, [anna.id])[anna.id].serial_floor == 2


def test_serial_numbers_end_and_do_not_begin_again(town: Town) -> None:
    anna = town.join()
    with writing(town.engine) as connection:
        connection.execute(update(member).values(card_serial=CARD_SERIAL_MAX - 1))
        last = issue_card(connection, town.issuer, TENANT, anna.id, now=NOON)
        assert not isinstance(last, CardRefusal)
        assert issue_card(connection, town.issuer, TENANT, anna.id, now=NOON) is CardRefusal.SERIALS_USED_UP


def test_every_change_of_consent_is_a_line_of_its_own(town: Town) -> None:
    anna = town.join()
    with writing(town.engine) as connection:
        set_level(connection, TENANT, anna.id, level=DataLevel.PROFILE, words=WORDS, now=NOON)
        set_level(connection, TENANT, anna.id, level=DataLevel.PROFILE, words=WORDS, now=NOON)
        set_marketing(connection, TENANT, anna.id, given=True, words=WORDS, now=NOON)
        set_marketing(connection, TENANT, anna.id, given=False, words=WORDS, now=NOON)
        lines = consents_of(connection, TENANT, anna.id)
    assert [(line.number, line.purpose, line.level, line.given) for line in lines] == [
        (1, Purpose.PROGRAMME, DataLevel.PSEUDONYM, True),
        (2, Purpose.PROGRAMME, DataLevel.PROFILE, True),
        (3, Purpose.MARKETING, DataLevel.PROFILE, True),
        (4, Purpose.MARKETING, DataLevel.PROFILE, False),
    ]
    assert {line.words for line in lines} == {WORDS}


@pytest.mark.parametrize("change", [update(member_consent).values(given=0), delete(member_consent)])
def test_a_consent_line_cannot_be_changed(town: Town, change: Update | Delete) -> None:
    town.join()
    with pytest.raises(DatabaseError, match="insert-only"), writing(town.engine) as connection:
        connection.execute(change)


def test_who_leaves_has_no_name_and_no_credential(town: Town) -> None:
    anna = town.join(nickname="Anna", store=CENTRO)
    _certify(town, anna.id, PHONE)
    with writing(town.engine) as connection:
        issue_card(connection, town.issuer, TENANT, anna.id, now=NOON)
        leave(connection, TENANT, anna.id, words=WORDS, now=NOON)
        held = member_by_id(connection, TENANT, anna.id)
        assert held is not None
        assert (held.nickname, held.erased_at, held.serial_floor, held.phones_denied) == (None, NOON, 2, True)
        assert member_of_bearer(connection, bytes(22) + anna.id) is None
        assert [phone.revoked for phone in phones_of(connection, TENANT, anna.id)] == [True]
        assert card_in_hand(connection, TENANT, anna.id) is None
        last = consents_of(connection, TENANT, anna.id)[-1]
    assert (last.purpose, last.given) == (Purpose.PROGRAMME, False)


def test_nothing_can_be_changed_of_who_left(town: Town) -> None:
    anna = town.join()
    with writing(town.engine) as connection:
        leave(connection, TENANT, anna.id, words=WORDS, now=NOON)
    with pytest.raises(MemberGone), writing(town.engine) as connection:
        set_profile(connection, TENANT, anna.id, nickname="Anna", language=Language.ITALIAN)
    with pytest.raises(MemberGone):
        _certify(town, anna.id, PHONE)


def test_upper_domains_are_told_who_left(town: Town) -> None:
    anna = town.join(nickname="Anna")
    with writing(town.engine) as connection:
        leave(connection, TENANT, anna.id, words=WORDS, now=NOON)
    told: list[tuple[str, TenantId, bytes]] = []
    drain(
        town.engine, "test", [LEFT], lambda _, events: told.extend((new.topic, new.tenant, new.body) for new in events)
    )
    assert told == [("member.left", TENANT, anna.id)]
