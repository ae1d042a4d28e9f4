"""The verifier of what is kept of members' faces: names what is broken and repairs nothing.

Like the ledger's it trusts no bookkeeping: whether a consent is in force is read from the history again, line by line.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby, islice

from sqlalchemy import Connection, select

from cloud.members.queries import read_consent
from cloud.members.rules import (
    ConsentRecord,
    StoreWord,
    face_consent,
    face_consent_at,
    named_stores,
    store_word,
)
from cloud.members.tables import face_store, member, member_consent, sealed_template, template_head, template_waiting
from shared.consent import Purpose
from shared.ids import MemberId, StoreId, format_member

BREACHES_MAX = 100  # of one check


class FacePromise(StrEnum):
    """What is promised of faces."""

    F1_IN_FORCE = "F1: the biometric consent in force is what the history says"
    F2_CONSENTED = "F2: a sealed template is kept under a consent in force that is older than it"
    F3_ERASED = "F3: nothing of a member who left is kept"
    F4_GIVEN_OUT = "F4: what waits is given to nobody, and no version is above its feed's newest"
    F5_NAMED = "F5: what is allowed of single stores is what the history says"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceBreach:
    """A promise that does not hold: which, whose, where, and what was found."""

    promise: FacePromise
    tenant: str
    where: str
    found: str


def verify_faces(connection: Connection) -> tuple[FaceBreach, ...]:
    """Everything that is broken, empty when all is as promised. Wants a reading transaction: one snapshot."""
    histories = _histories(connection)
    checks = (
        _in_force(connection, histories),
        _consented(connection, histories),
        _named(connection, histories),
        _erased(connection),
        _feeds(connection),
    )
    return tuple(breach for check in checks for breach in islice(check, BREACHES_MAX))


Histories = dict[tuple[str, bytes], tuple[ConsentRecord, ...]]


def _histories(connection: Connection) -> Histories:
    """What was said, of everybody in whose history the biometric consent ever came up."""
    c = member_consent.c
    query = select(member_consent).where(c.purpose == Purpose.BIOMETRIC.value).order_by(c.tenant, c.member, c.number)
    by_member = groupby(connection.execute(query), key=lambda row: (row.tenant, row.member))
    return {key: tuple(map(read_consent, rows)) for key, rows in by_member}


def _in_force(connection: Connection, histories: Histories) -> Iterator[FaceBreach]:
    m = member.c
    rows = connection.execute(select(m.tenant, m.id, m.face_text).order_by(m.tenant, m.id))
    for tenant, id, face_text in rows:
        said = face_consent(histories.get((tenant, id), ())).text_version
        if said != face_text:
            found = f"version {face_text} on the member, {said} in the history"
            yield _breach(FacePromise.F1_IN_FORCE, tenant, id, found)


def _consented(connection: Connection, histories: Histories) -> Iterator[FaceBreach]:
    c = sealed_template.c
    rows = connection.execute(
        select(c.tenant, c.member, c.store, c.enrolled_at, c.given_by)
        .where(c.removed == 0)
        .order_by(c.tenant, c.member, c.store)
    )
    for tenant, id, store, enrolled_at, given_by in rows:
        consent = face_consent_at(histories.get((tenant, id), ()), StoreId(store), given=given_by is not None)
        if consent.text_version is None:
            yield _breach(FacePromise.F2_CONSENTED, tenant, id, f"a template at {store} and no consent")
        elif consent.withdrawn_at is not None and enrolled_at <= consent.withdrawn_at:
            yield _breach(FacePromise.F2_CONSENTED, tenant, id, f"a template at {store} from before a withdrawal")


def _named(connection: Connection, histories: Histories) -> Iterator[FaceBreach]:
    words = {False: StoreWord.BARRED, True: StoreWord.ALLOWED}
    f = face_store.c
    rows = connection.execute(select(f.tenant, f.member, f.store, f.allowed))
    stored = {(tenant, id, StoreId(store)): words[bool(allowed)] for tenant, id, store, allowed in rows}
    said = {
        (tenant, id, store): store_word(records, store)
        for (tenant, id), records in histories.items()
        for store in named_stores(records)
    }
    for tenant, id, store in sorted({*stored, *said}):
        kept = stored.get((tenant, id, store), StoreWord.NOTHING)
        wanted = said.get((tenant, id, store), StoreWord.NOTHING)
        if kept is not wanted:
            yield _breach(FacePromise.F5_NAMED, tenant, id, f"{kept} at {store}, {wanted} in the history")


def _erased(connection: Connection) -> Iterator[FaceBreach]:
    m, c, w = member.c, sealed_template.c, template_waiting.c
    gone = m.erased_at.is_not(None)
    same, waits = (m.tenant == c.tenant) & (m.id == c.member), (m.tenant == w.tenant) & (m.id == w.member)
    kept = select(c.tenant, c.member, c.store).join(member, same).where(gone, c.removed == 0)
    waiting = select(w.tenant, w.member, w.store).join(member, waits).where(gone)
    for query in (kept, waiting):
        for tenant, id, store in connection.execute(query):
            yield _breach(FacePromise.F3_ERASED, tenant, id, f"a template at {store}")


def _feeds(connection: Connection) -> Iterator[FaceBreach]:
    c, h, w = sealed_template.c, template_head.c, template_waiting.c
    beyond = select(c.tenant, c.member, c.store).outerjoin(template_head, h.store == c.store)
    for tenant, id, store in connection.execute(beyond.where(h.version.is_(None) | (c.version > h.version))):
        yield _breach(FacePromise.F4_GIVEN_OUT, tenant, id, f"a version at {store} above the newest")
    same = (c.store == w.store) & (c.member == w.member) & (c.key == w.key)
    for tenant, id, store in connection.execute(select(w.tenant, w.member, w.store).join(sealed_template, same)):
        yield _breach(FacePromise.F4_GIVEN_OUT, tenant, id, f"a template at {store} that waits and is given out")


def _breach(promise: FacePromise, tenant: str, id: bytes, found: str) -> FaceBreach:
    return FaceBreach(promise=promise, tenant=tenant, where=f"member {format_member(MemberId(id))}", found=found)
