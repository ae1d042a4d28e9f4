"""When a certificate holds, when it is renewed, and how long a failed renewal waits."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.certificate import (
    RETRY_ENDED_S,
    RETRY_FIRST_S,
    RETRY_MAX_S,
    SPREAD_S,
    CertificateDates,
    DateFault,
    Urgency,
    is_due,
    judge_dates,
    pause_s,
)
from shared.business_day import milliseconds

BEGINS = datetime(2026, 11, 20, 11, 0, tzinfo=UTC)
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
DATES = CertificateDates(begins_ms=milliseconds(BEGINS), ends_ms=milliseconds(BEGINS + 90 * DAY))
SHORT = CertificateDates(begins_ms=milliseconds(BEGINS), ends_ms=milliseconds(BEGINS + 20 * SECOND))
JUST_BELOW_ONE = 1 - 2**-53


@pytest.mark.parametrize(
    ("later", "fault"),
    [
        (-SECOND, DateFault.NOT_YET),
        (0 * SECOND, None),
        (90 * DAY, None),
        (90 * DAY + SECOND, DateFault.ENDED),
        (timedelta(days=-365 * 50), DateFault.NOT_YET),
    ],
)
def test_a_certificate_holds_from_its_first_to_its_last_moment(later: timedelta, fault: DateFault | None) -> None:
    assert judge_dates(DATES, BEGINS + later) is fault


@pytest.mark.parametrize(
    ("instant", "is_refused", "due"),
    [
        (BEGINS, False, False),
        (BEGINS + 60 * DAY - SECOND, False, False),
        (BEGINS + 60 * DAY, False, True),
        (BEGINS + 400 * DAY, False, True),
        (BEGINS - 400 * DAY, False, False),
        (None, False, False),
        (None, True, True),
        (BEGINS, True, True),
    ],
)
def test_it_is_renewed_at_two_thirds_of_its_life_or_on_the_brokers_word(
    instant: datetime | None, is_refused: bool, due: bool
) -> None:
    assert is_due(DATES, instant, is_refused=is_refused) is due


@pytest.mark.parametrize(
    ("urgency", "failures", "ceiling_s"),
    [
        (Urgency.FIRST, 0, SPREAD_S),
        (Urgency.AGAIN, 1, 2 * RETRY_FIRST_S),
        (Urgency.AGAIN, 3, 8 * RETRY_FIRST_S),
        (Urgency.AGAIN, 16, RETRY_MAX_S),
        (Urgency.AGAIN, 10**6, RETRY_MAX_S),
        (Urgency.ENDED, 0, 0.0),
        (Urgency.ENDED, 1, 2 * RETRY_FIRST_S),
        (Urgency.ENDED, 16, RETRY_ENDED_S),
    ],
)
def test_pauses_grow_to_a_ceiling_and_are_spread_below_it(urgency: Urgency, failures: int, ceiling_s: float) -> None:
    assert pause_s(urgency, failures, DATES, 0.0) == 0.0
    assert pause_s(urgency, failures, DATES, 0.5) == ceiling_s / 2
    assert pause_s(urgency, failures, DATES, JUST_BELOW_ONE) <= ceiling_s


@given(
    urgency=st.sampled_from(Urgency),
    failures=st.integers(min_value=0, max_value=1000),
    unit=st.floats(min_value=0, max_value=JUST_BELOW_ONE),
)
def test_of_a_short_life_no_pause_takes_more_than_a_twentieth(urgency: Urgency, failures: int, unit: float) -> None:
    assert 0.0 <= pause_s(urgency, failures, SHORT, unit) <= 1.0
