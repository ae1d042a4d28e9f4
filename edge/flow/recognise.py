"""Serves a member who was recognised by face, on the same path as one who showed a code."""

import hashlib
from dataclasses import replace

from edge.core.credential import Admitted
from edge.core.match import Comparison, deviations
from edge.core.nicknames import CHOICES_MAX, Choices, make_choices
from edge.db import knowledge
from edge.db.database import Connection
from edge.flow.admit import Admission, Shown, serve_member
from edge.flow.entrance import Entrance, Moment
from edge.flow.instants import Said
from edge.flow.write import append_fact
from shared.consent import BIOMETRIC_TEXT_VERSION
from shared.envelope import FaceDisputed
from shared.ids import MemberId
from shared.policy import Means

DECOYS_READ = 4 * CHOICES_MAX  # nicknames that look alike once masked are left out
ORDER_BYTES = 8


def may_be_recognised(connection: Connection, member: MemberId) -> bool:
    """True while the roster says that the member's consent to the present text is in force."""
    known = knowledge.known_member(connection, member)
    return known is not None and known.face_text == BIOMETRIC_TEXT_VERSION


def serve_face(
    entrance: Entrance, member: MemberId, evidence: bytes, moment: Moment, said: Said | None = None
) -> Admission | None:
    """What the member gets, committed when this returns; None when no consent of theirs is in force.

    `said` is what the store's other kiosks said of the coupon, None when they were not asked.
    Raises: StorageFull, StorageDamaged.
    """
    admitted = Admitted(member=member, means=Means.FACE, step=None, serial=None, repeated=False)
    shown = Shown(admitted=admitted, evidence=evidence)
    with entrance.database.transaction() as connection:
        if not may_be_recognised(connection, member):
            return None
        return replace(serve_member(connection, entrance, shown, moment, said=said), shown=shown)


def evidence_of(comparison: Comparison, member: MemberId, *, group: bytes, embedder: bytes) -> bytes:
    """SHA-256 over what the verdict rested on: it tells nothing of the face and fits one comparison only."""
    score = next((one.score for one in comparison.candidates if one.member == member), 0.0)
    text = "|".join(
        (
            "DSF1",
            group.hex(),
            embedder.hex(),
            str(comparison.probes),
            str(comparison.enrolled),
            f"{deviations(score, comparison):.2f}",
        )
    )
    return hashlib.sha256(text.encode()).digest()


def choices_for(entrance: Entrance, members: tuple[MemberId, ...]) -> Choices | None:
    """The masked nicknames to pick from, or None when there can be no fair choice.

    The same candidates always stand among the same others: whoever comes back sees nothing drop out.
    """
    connection = entrance.database.connection
    policy = knowledge.policy(connection)
    if policy is None:
        return None
    candidates = [(member, name) for member in members if (name := _nickname(connection, member)) is not None]
    start = hashlib.sha256(policy.naming_key + b"".join(sorted(members))).digest()
    decoys = knowledge.nicknames_from(connection, start[: len(members[0])], DECOYS_READ)
    order = [int.from_bytes(entrance.random_bytes(ORDER_BYTES)) for _ in range(CHOICES_MAX)]
    return make_choices(candidates, decoys, order)


def record_dispute(entrance: Entrance, member: MemberId, claim: bytes | None, moment: Moment) -> None:
    """Writes that whoever stood there is not the member they were greeted as. Raises: StorageFull."""
    with entrance.database.transaction() as connection:
        life, policy = knowledge.life(connection), knowledge.policy(connection)
        assert policy is not None, "somebody was greeted under it"
        fact = FaceDisputed(tenant=policy.tenant, store=policy.store, member=member, claim=claim)
        append_fact(connection, entrance, life.epoch, fact, moment, business_day=None, policy_version=policy.version)


def _nickname(connection: Connection, member: MemberId) -> str | None:
    known = knowledge.known_member(connection, member)
    consents = known is not None and known.face_text == BIOMETRIC_TEXT_VERSION
    name = known.nickname if known is not None and consents else None
    return name if name and name.strip() else None
