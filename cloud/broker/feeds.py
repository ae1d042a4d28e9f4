"""Which kiosks are listening and what they hold, so that news is brought to them instead of waiting to be asked for.

Known to this worker alone, and lost with it: a kiosk that nobody brings anything asks by itself, later.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection, func, select

from cloud.catalogue.tables import policy
from cloud.devices.queries import DeviceFacts, device_for_ingest
from cloud.devices.tables import device_revocation, face_group, store_network
from cloud.members.tables import deny_head, roster_head, template_head
from shared.answers import (
    Answer,
    DenyPage,
    GroupPage,
    KeyPage,
    Page,
    PolicyPage,
    RevocationPage,
    RosterPage,
    StorePage,
    TemplatePage,
    name_of,
)
from shared.envelope import DeviceState, FeedVersions
from shared.ids import DeviceId, StoreId, TenantId

ROSTER_EVERY = timedelta(seconds=30)  # rosters change with every claim and hurry nobody
LISTENERS_MAX = 16_384  # a large chain's kiosks, about 10 MB; the one heard of longest ago is forgotten first


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A kiosk that is online. `state` is what it said last, with the feeds it was sent since."""

    state: DeviceState
    roster_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """The newest version of each feed, by whom it is for."""

    policies: Mapping[StoreId, int]
    rosters: Mapping[StoreId, int]
    denials: Mapping[TenantId, int]
    revocations: Mapping[TenantId, int]
    groups: Mapping[StoreId, int]
    templates: Mapping[StoreId, int]
    networks: Mapping[StoreId, int]


class Listeners:
    """The kiosks that are online, as this worker heard. Any thread may ask."""

    def __init__(self) -> None:
        self._known: OrderedDict[DeviceId, Listener] = OrderedDict()
        self._lock = threading.Lock()

    def heard(self, id: DeviceId, state: DeviceState, answers: Sequence[Answer], now: datetime) -> None:
        """The kiosk showed itself and was answered; one that says goodbye is forgotten, unless it is back already."""
        with self._lock:
            known = self._known.pop(id, None)
            if known is not None and state.session < known.state.session:
                self._known[id] = known
                return
            if not state.online:
                return
            feeds = _after(state.feeds, answers)
            self._known[id] = Listener(state=msgspec.structs.replace(state, feeds=feeds), roster_at=now)
            if len(self._known) > LISTENERS_MAX:
                self._known.popitem(last=False)

    def told(self, id: DeviceId, answers: Sequence[Answer], now: datetime) -> None:
        """The kiosk was sent these."""
        with self._lock:
            known = self._known.get(id)
            if known is None:
                return
            feeds = _after(known.state.feeds, answers)
            roster_at = now if any(isinstance(answer, RosterPage) for answer in answers) else known.roster_at
            state = msgspec.structs.replace(known.state, feeds=feeds)
            self._known[id] = replace(known, state=state, roster_at=roster_at)

    def behind(self, connection: Connection, now: datetime) -> list[tuple[DeviceId, DeviceState]]:
        """The kiosks for which there is something new, with what they hold."""
        with self._lock:
            known = dict(self._known)
        places = device_for_ingest(connection, known.keys())
        stores, tenants = {place.store for place in places.values()}, {place.tenant for place in places.values()}
        heads = read_heads(connection, stores, tenants)
        return [
            (id, known[id].state) for id, place in sorted(places.items()) if _is_behind(known[id], place, heads, now)
        ]


def read_heads(connection: Connection, stores: Collection[StoreId], tenants: Collection[TenantId]) -> Heads:
    """The newest versions, in seven statements."""
    p, r, g, t, n = policy.c, device_revocation.c, face_group.c, template_head.c, store_network.c
    return Heads(
        policies=dict(
            connection.execute(select(p.store, func.max(p.version)).where(p.store.in_(stores)).group_by(p.store)).all()
        ),
        rosters=dict(connection.execute(select(roster_head).where(roster_head.c.store.in_(stores))).all()),
        denials=dict(connection.execute(select(deny_head).where(deny_head.c.tenant.in_(tenants))).all()),
        revocations=dict(
            connection.execute(
                select(r.tenant, func.max(r.version)).where(r.tenant.in_(tenants)).group_by(r.tenant)
            ).all()
        ),
        groups=dict(connection.execute(select(g.store, g.version).where(g.store.in_(stores))).all()),
        templates=dict(connection.execute(select(t.store, t.version).where(t.store.in_(stores))).all()),
        networks=dict(connection.execute(select(n.store, n.version).where(n.store.in_(stores))).all()),
    )


def _is_behind(listener: Listener, place: DeviceFacts, heads: Heads, now: datetime) -> bool:
    """True when there is a page for the kiosk; for one that was revoked there is only the word that it was."""
    held, store, tenant = listener.state.feeds, place.store, place.tenant
    is_told_of_revocations = held.revocations >= heads.revocations.get(tenant, 0)
    if place.revoked or not is_told_of_revocations:
        return not is_told_of_revocations
    is_roster_due = now - listener.roster_at >= ROSTER_EVERY
    return (
        held.policy < heads.policies.get(store, 0)
        or held.deny < heads.denials.get(tenant, 0)
        or held.group < heads.groups.get(store, 0)
        or held.templates < heads.templates.get(store, 0)
        or held.store < heads.networks.get(store, 0)
        or (is_roster_due and held.roster < heads.rosters.get(store, 0))
    )


def is_news(answer: Answer, held: FeedVersions) -> bool:
    """True for a page that brings more than a new date."""
    match answer:
        case (
            KeyPage()
            | PolicyPage()
            | DenyPage()
            | RevocationPage()
            | RosterPage()
            | GroupPage()
            | TemplatePage()
            | StorePage()
        ):
            version: int = getattr(held, name_of(answer).value)
            return answer.version > version
        case _:
            return False


def _after(held: FeedVersions, answers: Sequence[Answer]) -> FeedVersions:
    """What a device holds once it has read the answers."""
    versions = {name_of(answer).value: answer.version for answer in answers if isinstance(answer, Page)}
    return msgspec.structs.replace(held, **versions)
