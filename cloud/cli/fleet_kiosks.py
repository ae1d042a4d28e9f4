"""Kiosks that are not there: what each would say, signed and chained as a real one says it, and what it is told.

No network, no clock and no database: lines carry the bytes (fleet_lines.py) and the command brings the rest together
(fleet.py). A kiosk here grants as a real one does, out of an allotment it was told of, and counts an envelope as
settled only when a receipt of the cloud says so.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared.answers import (
    AllotmentIssued,
    EpochIssued,
    KeyPage,
    Page,
    PolicyPage,
    Receipt,
    name_of,
    open_answer,
)
from shared.business_day import ClockTrust, milliseconds
from shared.envelope import (
    BATCH_MAX,
    ENVELOPE_VERSION,
    SALT_BYTES,
    Batch,
    ClaimMade,
    DeviceState,
    Envelope,
    FeedVersions,
    Header,
    chain_digest,
    encode,
    genesis,
    seal,
)
from shared.ids import DeviceId, MemberId, RuleId, StoreId, TenantId, derive_claim_id
from shared.policy import Means
from shared.topics import Up

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from shared.policy import Policy
    from shared.topics import Down

SOFTWARE = "fleet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a kiosk wants published."""

    kind: Up
    data: bytes


@dataclass(slots=True, kw_only=True)
class FleetKiosk:
    """One kiosk, from its birth on. `signers` are whom it believes; `database` names its database."""

    device: DeviceId
    signing_key: Ed25519PrivateKey
    signers: dict[int, Ed25519PublicKey]
    database: bytes
    session: int = 0
    epoch: int = 0
    policy: Policy | None = None
    held: FeedVersions = field(default_factory=FeedVersions)
    allotment: AllotmentIssued | None = None
    spent: int = 0
    seq: int = 0
    settled_to: int = 0
    waiting: dict[int, Envelope] = field(default_factory=dict)
    claims: dict[int, bytes] = field(default_factory=dict)
    previous: bytes = b""
    unread: int = 0

    @property
    def is_ready(self) -> bool:
        """Whether it may grant: it knows its epoch, its terms and what it may give."""
        return self.epoch > 0 and self.policy is not None and self.allotment is not None

    @property
    def is_settled(self) -> bool:
        """Whether every envelope has a verdict."""
        return not self.waiting

    def be_born(self) -> Message:
        """What a kiosk says first on each connection."""
        self.session += 1
        state = DeviceState(
            device=self.device,
            session=self.session,
            online=True,
            database=self.database,
            epoch=self.epoch,
            head=self.seq,
            settled=self.settled_to,
            feeds=self.held,
            allotment=0 if self.allotment is None else self.allotment.serial,
            software=SOFTWARE,
        )
        return Message(kind=Up.STATE, data=encode(state))

    def grant(self, member: MemberId, at: datetime) -> bool:
        """Claims today's reward for the member, if enough is allotted, and queues the envelope."""
        policy, allotment = self.policy, self.allotment
        assert policy is not None
        assert allotment is not None
        if self.spent + policy.points > allotment.total:
            return False
        day = policy.calendar.business_day(at)
        claim = derive_claim_id(
            policy.naming_key,
            tenant=TenantId(policy.tenant),
            rule=RuleId(policy.rule),
            store=StoreId(policy.store),
            business_day=day,
            member=member,
        )
        fact = ClaimMade(
            claim=claim,
            tenant=policy.tenant,
            store=policy.store,
            campaign=policy.campaign,
            rule=policy.rule,
            member=member,
            business_day=day.isoformat(),
            unit=policy.unit,
            amount=policy.points,
            reduced=False,
            means=Means.PHONE,
            evidence=hashlib.sha256(claim).digest(),
            step=milliseconds(at) // 30_000,
            serial=None,
            allotment=allotment.serial,
            zone=policy.zone,
            cutoff_hour=policy.cutoff_hour,
        )
        self._append(fact, at, policy.version)
        self.claims[self.seq] = claim
        self.spent += policy.points
        return True

    def unsettled(self) -> tuple[Message, ...]:
        """Everything without a verdict, in as few messages as a kiosk may use."""
        queued = [self.waiting[seq] for seq in sorted(self.waiting)]
        return tuple(
            Message(kind=Up.EVENT, data=encode(Batch(envelopes=tuple(queued[start : start + BATCH_MAX]))))
            for start in range(0, len(queued), BATCH_MAX)
        )

    def hear(self, kind: Down, data: bytes) -> None:
        """Takes an answer in; what was not signed by the cloud is counted and dropped."""
        match open_answer(kind, data, self.signers):
            case Receipt() as receipt if receipt.epoch == self.epoch:
                self._settle(receipt)
            case EpochIssued() as issued if issued.database == self.database and issued.epoch != self.epoch:
                self.epoch, self.previous = issued.epoch, genesis(self.device, issued.epoch)
            case AllotmentIssued() as issued if self.allotment is None or issued.serial > self.allotment.serial:
                self.allotment = issued
            case None:
                self.unread += 1
            case answer if isinstance(answer, Page):
                self._read(answer)
            case _:
                return

    def _read(self, page: Page) -> None:
        if isinstance(page, PolicyPage) and page.policy is not None:
            self.policy = page.policy
        version = page.version
        versions = {name: getattr(self.held, name) for name in self.held.__struct_fields__}
        if isinstance(page, KeyPage) or page.base == versions[name_of(page).value]:
            self.held = FeedVersions(**(versions | {name_of(page).value: version}))

    def _settle(self, receipt: Receipt) -> None:
        for verdict in receipt.verdicts:
            self.waiting.pop(verdict.seq, None)
        self.settled_to = max(self.settled_to, receipt.contiguous)
        for seq in [seq for seq in self.waiting if seq <= receipt.contiguous]:
            del self.waiting[seq]

    def _append(self, fact: ClaimMade, at: datetime, policy_version: int) -> None:
        self.seq += 1
        header = Header(
            version=ENVELOPE_VERSION,
            device=self.device,
            epoch=self.epoch,
            seq=self.seq,
            previous=self.previous,
            digest=b"",
            boot="fleet",
            monotonic_ms=self.seq * 1000,
            wall_ms=milliseconds(at),
            trust=ClockTrust.SYNCED,
            business_day=fact.business_day,
            policy_version=policy_version,
        )
        salt = hashlib.sha256(self.database + self.seq.to_bytes(8, "big")).digest()[:SALT_BYTES]
        envelope = seal(header, fact, salt, self.signing_key)
        self.waiting[self.seq] = envelope
        self.previous = chain_digest(envelope.header)
