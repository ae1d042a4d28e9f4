"""A kiosk as the cloud sees it: one that writes envelopes. Pure: keys, salts and times are given or derived from them.

It says whatever the test wants said, properly signed and chained; `changes` replace single fields of a fact and
`header` single fields of a header, so every lie a kiosk could tell is one line of a test.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.business_day import ClockTrust, milliseconds
from shared.envelope import (
    ENVELOPE_VERSION,
    SALT_BYTES,
    Batch,
    ClaimMade,
    ClockStepped,
    DeviceState,
    Envelope,
    Fact,
    FeedVersions,
    Header,
    VisitNoted,
    chain_digest,
    genesis,
    seal,
)
from shared.ids import DeviceId, MemberId, RuleId, StoreId, TenantId, derive_claim_id
from shared.policy import Means, Policy


def key_of(seed: str) -> Ed25519PrivateKey:
    """The signing key that belongs to the seed, always the same."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())


def member_of(number: int) -> MemberId:
    """The pseudonym of a test's member by number."""
    return MemberId(number.to_bytes(10, "big"))


@dataclass(slots=True, kw_only=True)
class VirtualKiosk:
    """One epoch of one device under one policy; each envelope is the next of the chain."""

    device: DeviceId
    policy: Policy
    epoch: int = 1
    seq: int = 0
    previous: bytes = b""
    signing_key: Ed25519PrivateKey = field(init=False)

    def __post_init__(self) -> None:
        self.signing_key = key_of(self.device)
        self.previous = self.previous or genesis(self.device, self.epoch)

    @property
    def public_key(self) -> bytes:
        """What the registry knows of it."""
        return self.signing_key.public_key().public_bytes_raw()

    def claim(
        self,
        member: MemberId,
        at: datetime,
        /,
        *,
        means: Means = Means.PHONE,
        header: dict[str, object] | None = None,
        **changes: object,
    ) -> Envelope:
        """A grant to the member at the instant, under the policy's terms but for the changes."""
        day = self.policy.calendar.business_day(at)
        policy = self.policy
        fact = ClaimMade(
            claim=derive_claim_id(
                policy.naming_key,
                tenant=TenantId(policy.tenant),
                rule=RuleId(policy.rule),
                store=StoreId(policy.store),
                business_day=day,
                member=member,
            ),
            tenant=policy.tenant,
            store=policy.store,
            campaign=policy.campaign,
            rule=policy.rule,
            member=member,
            business_day=day.isoformat(),
            unit=policy.unit,
            amount=policy.points,
            reduced=False,
            means=means,
            evidence=hashlib.sha256(member).digest(),
            step=None if means is Means.CARD else milliseconds(at) // 30_000,
            serial=1 if means is Means.CARD else None,
            allotment=1,
            zone=policy.zone,
            cutoff_hour=policy.cutoff_hour,
        )
        return self.say(
            msgspec.structs.replace(fact, **changes), at, {"business_day": day.isoformat()} | (header or {})
        )

    def visit(self, member: MemberId) -> Envelope:
        """The member was recognised while the time was unknown."""
        fact = VisitNoted(
            tenant=self.policy.tenant,
            store=self.policy.store,
            member=member,
            means=Means.PHONE,
            evidence=hashlib.sha256(member).digest(),
            step=1,
            serial=None,
        )
        return self.say(fact, None, {})

    def clock_step(self, at: datetime) -> Envelope:
        """The clock was found to have been an hour behind."""
        return self.say(ClockStepped(offset_ms=3_600_000, source="cloud"), at, {"policy_version": 0})

    def say(self, fact: Fact, at: datetime | None, changes: dict[str, object]) -> Envelope:
        """The fact as the next envelope of the chain."""
        self.seq += 1
        header = Header(
            version=ENVELOPE_VERSION,
            device=self.device,
            epoch=self.epoch,
            seq=self.seq,
            previous=self.previous,
            digest=b"",
            boot="boot-1",
            monotonic_ms=self.seq * 1000,
            wall_ms=None if at is None else milliseconds(at),
            trust=ClockTrust.UNKNOWN if at is None else ClockTrust.SYNCED,
            business_day=None,
            policy_version=self.policy.version,
        )
        salt = hashlib.sha256(f"{self.device} {self.epoch} {self.seq}".encode()).digest()[:SALT_BYTES]
        envelope = seal(msgspec.structs.replace(header, **changes), fact, salt, self.signing_key)
        self.previous = chain_digest(envelope.header)
        return envelope

    def state(self, *, database: bytes = bytes(16), session: int = 1, feeds: FeedVersions | None = None) -> DeviceState:
        """The birth message."""
        return DeviceState(
            device=self.device,
            session=session,
            online=True,
            database=database,
            epoch=self.epoch,
            head=self.seq,
            settled=0,
            feeds=feeds or FeedVersions(),
            allotment=0,
            software="test",
        )


def batch_of(*envelopes: Envelope) -> Batch:
    """The envelopes as one message."""
    return Batch(envelopes=envelopes)
