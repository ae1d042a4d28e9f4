"""Which secret of a group of kiosks counts, without a database."""

from datetime import UTC, datetime, timedelta

import pytest

from cloud.devices.rules import WrapFate, Wrapping, wrap_fate
from cloud.members.rules import Origin
from shared.ids import DeviceId, StoreId

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HELD, NEW, OLDER = (name * 8 for name in (b"h", b"n", b"o"))


def wrapping(
    key: bytes, previous: bytes | None = None, *, by: str = "door1", seq: int = 5, epoch: int = 1, minute: int = 0
) -> Wrapping:
    """A secret of that name, wrapped for the second kiosk."""
    return Wrapping(
        store=StoreId("centro"),
        key=key,
        previous=previous,
        device=DeviceId("door2"),
        sealed=b"wrapped",
        said_at=NOON + timedelta(minutes=minute),
        origin=Origin(device=DeviceId(by), epoch=epoch, seq=seq),
    )


@pytest.mark.parametrize(
    ("key", "previous", "held", "fate"),
    [
        (NEW, None, None, WrapFate.TURN),
        (NEW, OLDER, None, WrapFate.TURN),
        (HELD, None, HELD, WrapFate.ADD),
        (HELD, OLDER, HELD, WrapFate.ADD),
        (NEW, HELD, HELD, WrapFate.TURN),
        (NEW, OLDER, HELD, WrapFate.WAIT),
        (NEW, None, HELD, WrapFate.IGNORE),
    ],
)
def test_what_becomes_of_a_wrapped_secret(
    key: bytes, previous: bytes | None, held: bytes | None, fate: WrapFate
) -> None:
    assert wrap_fate(wrapping(key, previous), held, None) is fate


@pytest.mark.parametrize(
    ("later", "fate"),
    [
        (wrapping(HELD, seq=6), WrapFate.IGNORE),
        (wrapping(HELD, seq=5), WrapFate.ADD),
        (wrapping(HELD, seq=4, minute=9), WrapFate.ADD),
        (wrapping(HELD, seq=1, epoch=2), WrapFate.IGNORE),
        (wrapping(HELD, by="door3", seq=1, minute=1), WrapFate.IGNORE),
        (wrapping(HELD, by="door3", seq=9, minute=0), WrapFate.ADD),
    ],
)
def test_a_wrap_that_overtook_an_older_one_stays(later: Wrapping, fate: WrapFate) -> None:
    """The later one lists every kiosk of the group; a kiosk that took the older would miss one."""
    assert wrap_fate(wrapping(HELD), HELD, later) is fate
