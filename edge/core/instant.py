"""Who may show the coupon of a claim: the one decision at a door that nobody can take back.

Points of two kiosks that cannot hear each other become one claim in the ledger; a coupon on two screens was given
twice. So outside `free` mode one kiosk's word is needed for each member and day, its *owner's*: every coupon rests on
a right that stands in the owner's database before the screen changes. An owner gives that right to itself, or, in
`hub` mode, to whoever asks first. The hub is asked before the owner: it remembers what was given, so that a second
kiosk hears no although the owner is away by then. Whether there is a hub, and which, decides how fast and how often
coupons are shown, never how many.

A roster of owners that changes must not make two owners of one day. While kiosks may go by either of two rosters, both
must name the owner (`Rosters`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import assert_never

from shared.ids import DeviceId, MemberId
from shared.instants import Deferral
from shared.policy import InstantMode

HUB_SEEN_WITHIN = timedelta(minutes=3)
"""A hub that said nothing for so long is not asked: nobody waits at the door for it. Toast's local sync does so."""

HELD_MAX = timedelta(days=1)
"""A clock that nobody set for so long may name the wrong day at a cut-off; points can be put right later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rosters:
    """The kiosks among which owners are drawn: `present`, and from the business day `following_from` on `following`.

    `following_from` is None while it is not known when: other kiosks may go by `following` already.
    """

    present: tuple[DeviceId, ...]
    following: tuple[DeviceId, ...] | None = None
    following_from: date | None = None

    def on(self, day: date) -> tuple[tuple[DeviceId, ...], ...]:
        """The rosters that must all name the owner on that day."""
        if self.following is None:
            return (self.present,)
        if self.following_from is None:
            return (self.present, self.following)
        return (self.following if day >= self.following_from else self.present,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Which kiosk is the store's hub, and until when (milliseconds since 1970)."""

    device: DeviceId
    ends_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InstantStanding:
    """What the kiosk knows before it decides.

    `rosters` must all name the owner, none of them known when empty. `hub` leads the store, None when nobody does;
    `hub_seen_ago` since it last answered, None when it never did. `told_ago` since the time of day was last told,
    None when it is not known. `left` of today's coupons. `right` is whose this claim's coupon is by our own database,
    None when it is nobody's yet. `said` is what the others said when they were asked, None before.
    """

    device: DeviceId
    rosters: tuple[tuple[DeviceId, ...], ...]
    hub: DeviceId | None
    hub_seen_ago: timedelta | None
    told_ago: timedelta | None
    left: int
    right: DeviceId | None
    said: Mapping[DeviceId, DeviceId] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowCoupon:
    """The coupon may be shown, once the right is written down here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskKiosks:
    """These must agree first, in this order. `keeps` when our own database decides as well and is written first."""

    kiosks: tuple[DeviceId, ...]
    keeps: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferCoupon:
    """The member is told that it will be confirmed."""

    why: Deferral


Decision = ShowCoupon | AskKiosks | DeferCoupon


def owner_of(member: MemberId, day: date, roster: tuple[DeviceId, ...]) -> DeviceId:
    """The kiosk that owns the member's coupon of that day: the one with the highest hash.

    A kiosk that comes or goes changes the owner only of members whom it wins or had. Source: Thaler and Ravishankar,
    "Using name-based mappings to increase hit rates", 1998 (highest random weight). `roster` must not be empty.
    """
    return max(roster, key=lambda device: (_weight(member, day, device), device))


def leads(
    lease: Lease | None, kiosks: tuple[DeviceId, ...], live: frozenset[DeviceId], now_ms: int | None
) -> DeviceId | None:
    """The store's hub: who holds the lease; once it ran out the lowest id of the store's `kiosks` that is `live`.

    While the time is not known (`now_ms` None) a lease counts: its holder is whom one asks for the time.
    """
    if lease is not None and lease.device in kiosks and (now_ms is None or now_ms < lease.ends_ms):
        return lease.device
    return min((device for device in kiosks if device in live), default=None)


def decide_instant(mode: InstantMode, member: MemberId, day: date, standing: InstantStanding) -> Decision:
    """Whether the coupon that comes with the member's claim of that day is shown now."""
    if standing.told_ago is None or standing.told_ago > HELD_MAX:
        return DeferCoupon(why=Deferral.TIME)
    if standing.left <= 0:
        return DeferCoupon(why=Deferral.EXHAUSTED)
    if mode is InstantMode.FREE:
        return ShowCoupon()
    if not standing.rosters or not all(standing.rosters):
        return DeferCoupon(why=Deferral.NO_ROSTER)
    owners = frozenset(owner_of(member, day, roster) for roster in standing.rosters)
    if standing.right not in (None, standing.device):
        return DeferCoupon(why=Deferral.GIVEN)
    match mode:
        case InstantMode.OWNER:
            return _by_owner(owners, standing.device)
        case InstantMode.HUB:
            return _by_hub(owners, standing)
        case _:
            assert_never(mode)


def _by_owner(owners: frozenset[DeviceId], device: DeviceId) -> Decision:
    return ShowCoupon() if owners == {device} else DeferCoupon(why=Deferral.NOT_OWNER)


def _by_hub(owners: frozenset[DeviceId], standing: InstantStanding) -> Decision:
    hub = standing.hub if _is_heard(standing) else None
    if hub is None:
        return _by_owner(owners, standing.device)
    deciders = (hub, *sorted(owners - {hub}))
    others = tuple(device for device in deciders if device != standing.device)
    if standing.said is None:
        return AskKiosks(kiosks=others, keeps=standing.device in deciders) if others else ShowCoupon()
    for device in others:
        holder = standing.said.get(device)
        if holder is None:
            # A hub that is silent after all is as good as none; an owner that is silent may be showing it right now.
            return _by_owner(owners, standing.device) if device == hub else DeferCoupon(why=Deferral.UNREACHED)
        if holder != standing.device:
            return DeferCoupon(why=Deferral.GIVEN)
    return ShowCoupon()


def _is_heard(standing: InstantStanding) -> bool:
    """True while there is a hub that answers: we ourselves, or one that did a short while ago."""
    ago = standing.hub_seen_ago
    return standing.hub == standing.device or (ago is not None and ago <= HUB_SEEN_WITHIN)


def _weight(member: MemberId, day: date, device: DeviceId) -> bytes:
    return hashlib.sha256(b"DSO1" + member + day.isoformat().encode() + device.encode()).digest()
