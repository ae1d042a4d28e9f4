"""Adds a fact to the device's chain of envelopes, inside the caller's transaction."""

from datetime import date

from edge.db import outbox
from edge.db.database import Connection
from edge.flow.entrance import Entrance, Moment
from shared.business_day import milliseconds
from shared.envelope import ENVELOPE_VERSION, SALT_BYTES, Fact, Header, seal


def append_fact(
    connection: Connection,
    entrance: Entrance,
    epoch: int,
    fact: Fact,
    moment: Moment,
    *,
    business_day: date | None,
    policy_version: int,
) -> int:
    """Seals the fact as the epoch's next envelope and returns its sequence number."""
    head = outbox.head_of(connection, entrance.device, epoch)
    instant = moment.reading.instant
    wall_ms = None if instant is None else milliseconds(instant)
    header = Header(
        version=ENVELOPE_VERSION,
        device=entrance.device,
        epoch=epoch,
        seq=head.seq + 1,
        previous=head.chain,
        digest=b"",
        boot=moment.raw.boot,
        monotonic_ms=moment.raw.monotonic_ns // 1_000_000,
        wall_ms=wall_ms,
        trust=moment.reading.trust,
        business_day=None if business_day is None else business_day.isoformat(),
        policy_version=policy_version,
    )
    envelope = seal(header, fact, entrance.random_bytes(SALT_BYTES), entrance.signing_key)
    outbox.append(connection, epoch, header.seq, envelope, wall_ms)
    return header.seq
