"""Ids, points, consent, business days, topics: small values, each with its edges."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.business_day import ClockReading, StoreCalendar, instant_of, milliseconds
from shared.consent import DataLevel, Field, may_read
from shared.ids import (
    DeviceId,
    MemberId,
    RuleId,
    StoreId,
    TenantId,
    derive_claim_id,
    format_member,
    parse_device,
    parse_member,
    parse_store,
)
from shared.points import Money, Points, UnitsDiffer
from shared.policy import FACE_FALSE_POSITIVES_PPM_MAX, policy_fault
from shared.topics import Down, Up, UpTopic, down, down_filter, parse_down, parse_up, up, up_filter
from tests.support.entrances import policy

ROME = StoreCalendar(zone="Europe/Rome", cutoff_hour=4)


def claim(day: date = date(2026, 11, 20), member: bytes = b"m" * 10, tenant: str = "t", store: str = "s") -> bytes:
    return derive_claim_id(
        b"k" * 32,
        tenant=TenantId(tenant),
        rule=RuleId("daily"),
        store=StoreId(store),
        business_day=day,
        member=MemberId(member),
    )


def test_a_claim_id_is_the_same_wherever_and_whenever_it_is_derived() -> None:
    assert claim().hex() == "24c44f2023adbce3f68fed2ad37e04d4"


def test_a_claim_id_depends_on_each_of_its_parts_and_on_where_they_end() -> None:
    others = (claim(day=date(2026, 11, 21)), claim(member=b"n" * 10), claim(tenant="ts", store=""), claim(store="ss"))
    assert len({claim(), *others}) == 5


def test_a_pseudonym_survives_being_written() -> None:
    member = MemberId(bytes(range(10)))
    assert parse_member(format_member(member)) == member
    assert parse_member("not-base32!") is None
    assert parse_member("aaaaaaaa") is None


@pytest.mark.parametrize("text", ["", "a" * 33, "a/b", "a+", "#", "A", "kiosk 1", "è"])
def test_what_may_not_be_a_topic_level_is_no_device(text: str) -> None:
    assert parse_device(text) is None


@pytest.mark.parametrize("text", ["", "-", "a-", "-a", "a--b", "A", "via roma", "è", "a" * 41])
def test_what_the_catalogue_would_not_name_a_store_is_none(text: str) -> None:
    assert parse_store(text) is None
    assert parse_store("via-roma-7") == "via-roma-7"


def test_points_add_up_within_their_unit_only() -> None:
    ten, five = Points(amount=10, unit="PT:a"), Points(amount=5, unit="PT:a")
    assert ten + five == Points(amount=15, unit="PT:a")
    assert five - ten == Points(amount=-5, unit="PT:a")
    assert ten.covers(five)
    assert not five.covers(ten)
    with pytest.raises(UnitsDiffer) as raised:
        ten + Points(amount=1, unit="PT:b")
    assert (raised.value.left, raised.value.right) == ("PT:a", "PT:b")
    assert Money(minor=1050, currency="EUR").minor == 1050


def test_a_level_opens_what_lower_levels_open_and_no_more() -> None:
    assert may_read(DataLevel.PSEUDONYM, Field.POINTS)
    assert not may_read(DataLevel.PSEUDONYM, Field.CONTACT)
    assert may_read(DataLevel.PROFILE, Field.CONTACT)
    assert not may_read(DataLevel.PROFILE, Field.PURCHASES)
    assert may_read(DataLevel.PERSONA, Field.PURCHASES)


@pytest.mark.parametrize(
    ("local", "day"),
    [
        ("2026-11-20T03:59:59", "2026-11-19"),
        ("2026-11-20T04:00:00", "2026-11-20"),
        ("2026-11-21T00:30:00", "2026-11-20"),
    ],
)
def test_the_day_begins_at_the_cutoff(local: str, day: str) -> None:
    instant = datetime.fromisoformat(local).replace(tzinfo=UTC) - timedelta(hours=1)
    assert ROME.business_day(instant) == date.fromisoformat(day)


@pytest.mark.parametrize(
    ("zone", "cutoff", "day", "hours"),
    [
        ("Europe/Rome", 0, date(2026, 3, 29), 23),
        ("Europe/Rome", 0, date(2026, 10, 25), 25),
        ("Europe/Rome", 4, date(2026, 3, 28), 23),
        ("Europe/Rome", 2, date(2026, 3, 28), 24),
        ("Europe/Rome", 4, date(2026, 11, 20), 24),
        ("America/Havana", 0, date(2026, 3, 8), 23),
        ("Australia/Lord_Howe", 4, date(2026, 10, 3), 23.5),
        ("Antarctica/Troll", 2, date(2026, 3, 28), 23),
    ],
)
def test_a_day_has_the_hours_its_zone_gives_it(zone: str, cutoff: int, day: date, hours: float) -> None:
    begin, end = StoreCalendar(zone=zone, cutoff_hour=cutoff).bounds(day)
    assert end - begin == timedelta(hours=hours)


@given(
    st.sampled_from(
        [
            "Europe/Rome",
            "America/New_York",
            "America/Havana",
            "Australia/Lord_Howe",
            "Asia/Kathmandu",
            "Antarctica/Troll",
            "UTC",
        ]
    ),
    st.integers(0, 12),
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds it
)
def test_every_instant_lies_in_its_day(zone: str, cutoff: int, instant: datetime) -> None:
    calendar = StoreCalendar(zone=zone, cutoff_hour=cutoff)
    begin, end = calendar.bounds(calendar.business_day(instant))
    assert begin <= instant < end


def test_an_unknown_clock_has_no_instant() -> None:
    assert ClockReading.unknown().instant is None


def test_instants_cross_the_wire_as_milliseconds() -> None:
    instant = datetime(2026, 11, 20, 12, 0, 0, 123_000, tzinfo=UTC)
    assert instant_of(milliseconds(instant)) == instant


def test_topics_are_read_as_they_are_written() -> None:
    device = DeviceId("kiosk1")
    assert parse_up(up(device, Up.EVENT)) == UpTopic(device=device, kind=Up.EVENT)
    assert parse_down(down(device, Down.FEED), device) is Down.FEED
    assert parse_down(down(device, Down.FEED), DeviceId("other")) is None
    assert parse_down("doorstep/v1/kiosk1/down/nonsense", device) is None
    assert (down_filter(device), up_filter()) == ("doorstep/v1/kiosk1/down/+", "doorstep/v1/+/up/+")


@pytest.mark.parametrize(
    "topic",
    [
        "doorstep/v2/kiosk1/up/event",
        "doorstep/v1/kiosk1/down/event",
        "doorstep/v1/kiosk1/up/nonsense",
        "doorstep/v1/KIOSK/up/event",
        "doorstep/v1/a/b/up/event",
        "",
    ],
)
def test_a_foreign_topic_is_none_of_ours(topic: str) -> None:
    assert parse_up(topic) is None


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"points": 0}, "points"),
        ({"reduced_points": 11}, "points"),
        ({"reduced_points": -1}, "points"),
        ({"cutoff_hour": 13}, "cutoff_hour"),
        ({"naming_key": b"short"}, "naming_key"),
        ({"face_false_positives_ppm": 0}, "face_false_positives_ppm"),
        ({"face_false_positives_ppm": 1}, None),
        ({"face_false_positives_ppm": FACE_FALSE_POSITIVES_PPM_MAX}, None),
        ({"face_false_positives_ppm": FACE_FALSE_POSITIVES_PPM_MAX + 1}, "face_false_positives_ppm"),
        ({"campaign": ""}, "names"),
    ],
)
def test_unusable_terms_are_named(changes: dict[str, object], fault: str | None) -> None:
    assert policy_fault(policy(**changes)) == fault  # type: ignore[arg-type]  # field values of a table of cases
