"""The coupon that comes with a claim: decided with the grant, written in the same transaction, shown after it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import assert_never

from edge.core.instant import (
    HUB_SEEN_WITHIN,
    AskKiosks,
    DeferCoupon,
    InstantStanding,
    Lease,
    Rosters,
    ShowCoupon,
    decide_instant,
    leads,
)
from edge.db import instants, knowledge
from edge.db.database import Connection
from edge.db.instants import Instant
from edge.flow.entrance import Entrance, Moment
from shared.answers import StorePage
from shared.business_day import milliseconds
from shared.coupons import digest_of, issue_coupon
from shared.envelope import InstantSaid
from shared.ids import ClaimId, DeviceId, MemberId
from shared.instants import Deferral, InstantOutcome
from shared.policy import InstantTerms

Said = Mapping[DeviceId, DeviceId]
"""Whose a coupon is, by each kiosk that was asked and answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The coupon of a claim: the member's, on that business day, under these terms."""

    terms: InstantTerms
    claim: ClaimId
    member: MemberId
    day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Another kiosk of the store. `lan` is where it is reached, None when it cannot be."""

    device: DeviceId
    public: bytes
    lan: str | None


def settle_instant(
    connection: Connection, entrance: Entrance, wanted: Wanted, moment: Moment, *, is_dated: bool, said: Said | None
) -> InstantSaid:
    """What the claim says of its coupon; written down, in the caller's transaction.

    `is_dated` when the member is not at the door any more. `said` is what the other kiosks said, None when they were
    not asked.
    """
    deferral = Deferral.DATED if is_dated else _refusal(connection, entrance, wanted, moment, said)
    series, day = wanted.terms.series, wanted.day.isoformat()
    code = None
    if deferral is None:
        instants.give_right(connection, wanted.claim, entrance.device, day)
        code = issue_coupon(entrance.signing_key, claim=wanted.claim, device=entrance.device, series=series)
    outcome = InstantOutcome.DEFERRED if code is None else InstantOutcome.SHOWN
    instant = Instant(series=series, label=wanted.terms.label, outcome=outcome, why=deferral, code=code)
    instants.save_instant(connection, wanted.claim, instant, knowledge.life(connection).epoch, day)
    return InstantSaid(series=series, outcome=outcome, code=None if code is None else digest_of(code), why=deferral)


def _refusal(
    connection: Connection, entrance: Entrance, wanted: Wanted, moment: Moment, said: Said | None
) -> Deferral | None:
    """Why the coupon is not shown now, None when it is."""
    standing = load_instant(connection, entrance, wanted, moment, said)
    match decide_instant(wanted.terms.mode, wanted.member, wanted.day, standing):
        case ShowCoupon():
            return None
        case DeferCoupon(why=why):
            return why
        case AskKiosks():  # who could not be asked did not agree
            return Deferral.UNREACHED
        case other:
            assert_never(other)


def load_instant(
    connection: Connection, entrance: Entrance, wanted: Wanted, moment: Moment, said: Said | None
) -> InstantStanding:
    """What this kiosk knows of the coupon, of its store and of the time."""
    page = knowledge.store_page(connection)
    hub = hub_of(connection, entrance, page, moment)
    day = wanted.day.isoformat()
    shown = instants.count_shown(connection, knowledge.life(connection).epoch, day)
    return InstantStanding(
        device=entrance.device,
        rosters=() if page is None else _rosters(page).on(wanted.day),
        hub=hub,
        hub_seen_ago=None if hub is None else entrance.seen.ago(hub, moment.raw.monotonic_ns),
        told_ago=_told_ago(connection, moment),
        left=wanted.terms.a_day - shown,
        right=instants.right_to(connection, wanted.claim),
        said=said,
    )


def neighbours_of(connection: Connection, entrance: Entrance, page: StorePage | None) -> tuple[Neighbour, ...]:
    """The other kiosks of the store that are not revoked."""
    if page is None:
        return ()
    return tuple(
        Neighbour(device=DeviceId(kiosk.device), public=kiosk.public, lan=kiosk.lan)
        for kiosk in page.kiosks
        if kiosk.device != entrance.device and not knowledge.is_revoked(connection, kiosk.device)
    )


def hub_of(connection: Connection, entrance: Entrance, page: StorePage | None, moment: Moment) -> DeviceId | None:
    """The store's hub as far as this kiosk can tell, itself perhaps; None when there is none."""
    if page is None:
        return None
    others = tuple(one.device for one in neighbours_of(connection, entrance, page))
    instant = moment.reading.instant
    return leads(
        None if page.hub is None else Lease(device=DeviceId(page.hub.device), ends_ms=page.hub.ends_ms),
        (entrance.device, *others),
        frozenset({entrance.device, *entrance.seen.within(HUB_SEEN_WITHIN, moment.raw.monotonic_ns)}),
        None if instant is None else milliseconds(instant),
    )


def _rosters(page: StorePage) -> Rosters:
    following = page.following
    return Rosters(
        present=tuple(map(DeviceId, page.owners)),
        following=None if following is None else tuple(map(DeviceId, following)),
        following_from=None if page.following_from is None else date.fromisoformat(page.following_from),
    )


def _told_ago(connection: Connection, moment: Moment) -> timedelta | None:
    """Since when nobody told the time of day; None when it is not known."""
    mark = knowledge.clock_mark(connection)
    if moment.reading.instant is None or mark is None:
        return None
    return timedelta(milliseconds=abs(milliseconds(moment.reading.instant) - mark.instant_ms))
