"""Instants as integers. Pure, so that rules may use it; the database and every digest count in these microseconds."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_microseconds(instant: datetime) -> int:
    """Microseconds since 1970-01-01 UTC. The instant must be aware."""
    assert instant.tzinfo is not None
    return (instant - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """The aware instant in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)
