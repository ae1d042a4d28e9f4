"""What must hold at every moment of a world, and what must hold once everything has settled.

The checkers read both sides' databases over connections of their own, so they see what is committed and nothing
else, and they use none of the product's queries.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from sqlalchemy import Engine

from cloud.kit.database import reading
from cloud.ledger.verify import verify
from edge.core.screen import Screen, ScreenName
from edge.db import outbox
from shared.answers import Outcome, Reason
from shared.envelope import ClaimMade, Envelope, EnvelopeFault, open_envelope
from shared.ids import DeviceId, MemberId
from shared.policy import InstantMode, InstantTerms, Policy
from shared.receipts import parse_receipt
from tests.simulation.kiosk import Kiosk, claim_of
from tests.simulation.workload import Known

GRANTS = ("grant_daily", "grant_late")
LATE, MINT, RETURN = "grant_late", "mint", "allot_return"
DRIFT_MS = 120_000  # of a week that was counted on by uptime
CLOCK_SLACK_MS = 36 * 3_600_000  # what the cloud forgives a clock, written down once more
MEMBER_AVAILABLE, CAMPAIGN_BUDGET, KIOSK_BUDGET, CONTINGENCY = 2110, 2010, 2030, 2040
ESCROW = (CAMPAIGN_BUDGET, KIOSK_BUDGET, CONTINGENCY)


class Violation(AssertionError):
    """A promise of the product does not hold: which one, and what was found."""

    def __init__(self, promise: str, found: str) -> None:
        super().__init__(f"{promise}: {found}")
        self.promise = promise
        self.found = found


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedClaim:
    """A claim that the cloud said it posted."""

    member: MemberId
    store: str
    business_day: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An envelope that the cloud stored."""

    chain: bytes
    claim: bytes | None
    outcome: Outcome


@dataclass(slots=True, kw_only=True)
class Seen:
    """What was read of the cloud so far: `stored` by device, epoch and number.

    `escrow` is what each account of a campaign holds, by code and subject; `funded` what is not granted of its mints.
    """

    envelope_row: int = 0
    refused_row: int = 0
    sequence: int = 0
    stored: dict[tuple[str, int, int], Stored] = field(default_factory=dict)
    posted: dict[bytes, PostedClaim] = field(default_factory=dict)
    days: dict[tuple[MemberId, str, str], bytes] = field(default_factory=dict)
    granted: dict[bytes, int] = field(default_factory=dict)
    verdicts: Counter[str] = field(default_factory=Counter)
    escrow: Counter[tuple[int, str]] = field(default_factory=Counter)
    funded: Counter[str] = field(default_factory=Counter)
    late: int = 0
    taken_back: int = 0


class Checkers:
    """Looks at the whole world. Every method raises Violation when a promise is broken."""

    def __init__(self, engine: Engine, cloud: Path) -> None:
        self.seen = Seen()
        self.known = Known()
        self.kiosks: Sequence[Kiosk] = ()
        self.terms: InstantTerms | None = None
        self._engine = engine
        self._cloud = sqlite3.connect(f"file:{cloud}?mode=ro", uri=True, isolation_level=None)
        self._deny_versions: dict[tuple[str, bytes], int] = {}

    def close(self) -> None:
        """Lets go of the cloud's file."""
        self._cloud.close()

    # --- at a kiosk -------------------------------------------------------------------------------------------------

    def shown(self, kiosk: Kiosk, screen: Screen) -> None:
        """What a screen tells a member is committed at that moment, with the very points it names."""
        claim = claim_of(screen)
        if claim is None:
            return
        self._coupon_is_stored(kiosk, claim, screen)
        row = kiosk.observer.execute("SELECT amount FROM claim WHERE claim = ?", (claim,)).fetchone()
        if row is None:
            raise Violation("shown is stored", f"{kiosk.name} shows {claim.hex()} and has not committed it")
        if row["amount"] != screen.points:
            raise Violation("shown is stored", f"{kiosk.name} shows {screen.points} and stored {row['amount']}")
        if screen.name is ScreenName.GREETING and claim not in kiosk.shown:
            kiosk.shown[claim] = row["amount"]
            held = kiosk.observer.execute("SELECT version FROM feed WHERE name = 'deny'").fetchone()
            self._deny_versions[kiosk.identity.device, claim] = 0 if held is None else held["version"]

    def look_at_kiosks(self) -> None:
        """Every kiosk keeps what it showed, within its allotment, once a member and day; receipts told the truth."""
        for kiosk in self.kiosks:
            self._shown_is_kept(kiosk)
            self._within_allotment(kiosk)
            self._settled_is_stored(kiosk)
        self._coupons_are_given_once()

    def look_at_chains(self) -> None:
        """Every kiosk's chain of envelopes is whole."""
        for kiosk in self.kiosks:
            for (epoch,) in kiosk.observer.execute("SELECT DISTINCT epoch FROM outbox").fetchall():
                broken = outbox.first_broken_link(kiosk.observer, kiosk.identity.device, epoch)
                if broken is not None:
                    raise Violation("chains are whole", f"{kiosk.name} breaks at {epoch}/{broken}")

    def _coupon_is_stored(self, kiosk: Kiosk, claim: bytes, screen: Screen) -> None:
        """What a screen says of a coupon is committed at that moment, its code to the letter."""
        row = kiosk.observer.execute("SELECT outcome, code FROM instant WHERE claim = ?", (claim,)).fetchone()
        stored = (None, None) if row is None else (row["outcome"], row["code"])
        # Beside a greeting without a line stands the member's receipt, when no coupon's code has the place.
        code = None if screen.code is not None and parse_receipt(screen.code) is not None else screen.code
        if (screen.coupon, code) != stored:
            raise Violation("shown is stored", f"{kiosk.name} shows {screen.coupon} and stored {stored[0]}")

    def _coupons_are_given_once(self) -> None:
        """Outside free mode a claim's coupon is shown by one kiosk; no kiosk shows more a day than it may."""
        if self.terms is None:
            return
        shown: dict[bytes, str] = {}
        for kiosk in self.kiosks:
            days: Counter[tuple[int, str]] = Counter()
            query = "SELECT claim, epoch, business_day FROM instant WHERE outcome = 'shown'"
            for claim, epoch, day in kiosk.observer.execute(query):
                days[epoch, day] += 1
                if self.terms.mode is not InstantMode.FREE and claim in shown:
                    raise Violation("a coupon once", f"{kiosk.name} and {shown[claim]} showed that of {claim.hex()}")
                shown[claim] = kiosk.name
            if max(days.values(), default=0) > self.terms.a_day:
                raise Violation("coupons within the limit", f"{kiosk.name} showed {max(days.values())} in a day")

    def count_coupons(self) -> int:
        """Coupons that kiosks showed."""
        query = "SELECT count(*) FROM instant WHERE outcome = 'shown'"
        return sum(kiosk.observer.execute(query).fetchone()[0] for kiosk in self.kiosks)

    def _coupons_are_counted(self) -> None:
        """The cloud knows of every coupon that was shown by a kiosk that could still speak."""
        counted: dict[bytes, int] = dict(self._cloud.execute("SELECT claim, shown FROM instant_right").fetchall())
        spoke = [kiosk for kiosk in self.kiosks if not kiosk.is_revoked]
        query = "SELECT claim FROM instant WHERE outcome = 'shown'"
        shown = Counter(claim for kiosk in spoke for (claim,) in kiosk.observer.execute(query))
        for claim, count in shown.items():
            if counted.get(claim, 0) < count:
                raise Violation("coupons are counted", f"{claim.hex()}: {count} shown, {counted.get(claim, 0)} counted")

    def _shown_is_kept(self, kiosk: Kiosk) -> None:
        kept = {claim: (member, day) for claim, member, day in _rows(kiosk, "SELECT claim, member, business_day")}
        lost = kiosk.shown.keys() - kept.keys()
        if lost:
            raise Violation("shown is stored", f"{kiosk.name} lost {min(lost).hex()}")
        if len(set(kept.values())) != len(kept):
            raise Violation("once a day", f"{kiosk.name} granted a member twice on one day")

    def _within_allotment(self, kiosk: Kiosk) -> None:
        granted = _rows(kiosk, "SELECT campaign, epoch, sum(amount)", "GROUP BY campaign, epoch")
        for campaign, epoch, amount in granted:
            held = kiosk.observer.execute(
                "SELECT total FROM allotment WHERE campaign = ? AND epoch = ?", (campaign, epoch)
            ).fetchone()
            told = self._cloud.execute(
                "SELECT total FROM allotment WHERE campaign = ? AND device = ? AND epoch = ?",
                (campaign, kiosk.identity.device, epoch),
            ).fetchone()
            if held is None or told is None or not amount <= held["total"] <= told[0]:
                found = f"{kiosk.name} granted {amount} of {campaign}, holds {held and held['total']}, was told {told}"
                raise Violation("within the allotment", found)

    def _settled_is_stored(self, kiosk: Kiosk) -> None:
        device, stored = kiosk.identity.device, self.seen.stored
        for epoch, seq in kiosk.observer.execute("SELECT epoch, seq FROM outbox WHERE settled = 1"):
            if (device, epoch, seq) not in stored:
                raise Violation("settled is stored", f"{kiosk.name} settled {epoch}/{seq}, the cloud has none")

    # --- at the cloud -----------------------------------------------------------------------------------------------

    def look_at_cloud(self) -> None:
        """What the cloud stored since the last look: each envelope judged rightly, each claim posted once."""
        self._read_envelopes()
        self._read_ledger()

    def verify_ledger(self) -> None:
        """The product's own verifier finds nothing."""
        with reading(self._engine) as connection:
            breaches = verify(connection)
        if breaches:
            raise Violation("the ledger verifies", repr(breaches[0]))

    def _read_envelopes(self) -> None:
        rows = self._cloud.execute(
            "SELECT rowid, device, epoch, seq, store, kind, business_day, member, claim, amount, outcome, reason,"
            " chain, header, signature, salt, payload, wall_ms,"
            " recorded_us FROM envelope WHERE rowid > ? ORDER BY rowid",
            (self.seen.envelope_row,),
        )
        for row in rows:
            self.seen.envelope_row = row[0]
            device, epoch, seq, store, kind, day, member, claim, amount, outcome, reason, chain = row[1:13]
            self._is_the_kiosks(device, epoch, seq, chain)
            self.seen.stored[device, epoch, seq] = Stored(chain=chain, claim=claim, outcome=Outcome(outcome))
            told = outcome if reason is None else f"{outcome}:{reason}"
            self.seen.verdicts[told] += 1
            match Outcome(outcome):
                case Outcome.POSTED:
                    posted = PostedClaim(member=MemberId(member), store=store, business_day=day, amount=amount)
                    self._is_first(claim, posted)
                case Outcome.EXISTS:
                    if claim not in self.seen.posted:
                        raise Violation("a pair agrees", f"{claim.hex()} is said to exist and was never posted")
                case Outcome.NOTED:
                    if kind == "claim":
                        raise Violation("a pair agrees", f"claim {claim.hex()} was noted and not posted")
                case Outcome.REJECTED | Outcome.QUARANTINED:
                    said = Envelope(header=row[13], signature=row[14], salt=row[15], payload=row[16])
                    ahead_ms = (row[17] or 0) - row[18] // 1000
                    self._edge_could_not_know(device, said, f"{device} {epoch}/{seq}", Reason(reason), ahead_ms)

    def _is_the_kiosks(self, device: str, epoch: int, seq: int, chain: bytes) -> None:
        kiosk = self._kiosk(device)
        row = kiosk.observer.execute("SELECT chain FROM outbox WHERE epoch = ? AND seq = ?", (epoch, seq)).fetchone()
        if row is None or row["chain"] != chain:
            raise Violation("shown is stored", f"the cloud has {epoch}/{seq} of {kiosk.name}, and the kiosk has not")

    def _is_first(self, claim: bytes, posted: PostedClaim) -> None:
        day = (posted.member, posted.store, posted.business_day)
        if claim in self.seen.posted or day in self.seen.days:
            raise Violation("posted once", f"{claim.hex()} or its day {day[1:]} was posted before")
        self.seen.posted[claim] = posted
        self.seen.days[day] = claim

    def _edge_could_not_know(self, device: str, said: Envelope, where: str, reason: Reason, ahead_ms: int) -> None:
        """The pair assertion: what the edge granted under its policy is refused only for what it could not know.

        These facts are: the device was revoked, the member has left, the credential was denied after the deny list
        that the kiosk held, the clock that the machine vouched for was days ahead (the envelope's by `ahead_ms`), the
        allotment was taken back before the claim came and the contingency is used up.
        Nothing else may part the two halves.
        """
        kiosk = self._kiosk(device)
        opened = open_envelope(said, DeviceId(device), kiosk.identity.signing_key.public_key())
        if isinstance(opened, EnvelopeFault) or not isinstance(opened.fact, ClaimMade):
            is_excused = reason is Reason.DEVICE_REVOKED and kiosk.is_revoked
        else:
            is_excused = self._is_excused(kiosk, opened.fact, reason, ahead_ms, opened.header.epoch)
        if not is_excused:
            raise Violation("a pair agrees", f"{where} was refused as {reason}, which the kiosk could know")

    def _is_excused(self, kiosk: Kiosk, claim: ClaimMade, reason: Reason, ahead_ms: int, epoch: int) -> bool:
        member = MemberId(claim.member)
        match reason:
            case Reason.DEVICE_REVOKED:
                return kiosk.is_revoked
            case Reason.UNKNOWN_MEMBER:
                return member in self.known.left
            case Reason.DENIED_CREDENTIAL:
                # A visit was judged by an older list than the one held when it was dated.
                held = None if claim.noted_seq else self._deny_versions.get((kiosk.identity.device, claim.claim))
                return any(held is None or version > held for version in self.known.denials.get(member, []))
            case Reason.WRONG_DAY:
                return CLOCK_SLACK_MS < ahead_ms <= kiosk.clock.ahead_ms + DRIFT_MS
            case Reason.NO_BUDGET:
                return self._was_taken_back(f"{claim.campaign}:{kiosk.identity.device}:{epoch}")
            case _:
                return False

    def _was_taken_back(self, subject: str) -> bool:
        query = (
            "SELECT count(*) FROM account a JOIN posting p ON p.tenant = a.tenant AND p.account = a.id"
            " JOIN journal_entry e ON e.tenant = p.tenant AND e.sequence = p.sequence"
            " WHERE a.code = ? AND a.subject = ? AND e.kind = ?"
        )
        return bool(self._cloud.execute(query, (KIOSK_BUDGET, subject, RETURN)).fetchone()[0])

    def _read_ledger(self) -> None:
        rows = self._cloud.execute(
            "SELECT e.sequence, e.id, e.kind, a.code, a.unit, a.subject, p.amount FROM journal_entry e"
            " LEFT JOIN posting p ON p.tenant = e.tenant AND p.sequence = e.sequence"
            " LEFT JOIN account a ON a.tenant = p.tenant AND a.id = p.account WHERE e.sequence > ? ORDER BY e.sequence",
            (self.seen.sequence,),
        ).fetchall()
        sums: dict[tuple[int, str], int] = {}
        for sequence, entry, kind, code, unit, subject, amount in rows:
            self.seen.sequence = sequence
            sums[sequence, unit] = sums.get((sequence, unit), 0) + (amount or 0)
            if kind in GRANTS and code == MEMBER_AVAILABLE:
                self._is_granted_once(entry, amount)
                self.seen.late += kind == LATE
            if code in ESCROW:
                self._follow_escrow(kind, code, subject, amount)
        for (sequence, unit), total in sums.items():
            if total:
                raise Violation("postings sum to zero", f"entry {sequence} sums to {total} {unit}")
        if sums:
            self._escrow_adds_up()

    def _follow_escrow(self, kind: str, code: int, subject: str, amount: int) -> None:
        """No account of a campaign is overdrawn, whoever draws: an epoch grants no more than it was allotted."""
        self.seen.escrow[code, subject] += amount
        if self.seen.escrow[code, subject] < 0:
            raise Violation("the escrow holds", f"{code} {subject} is at {self.seen.escrow[code, subject]}")
        if kind == MINT or kind in GRANTS:
            self.seen.funded[subject.partition(":")[0]] += amount
        if kind == RETURN and code == CAMPAIGN_BUDGET:
            self.seen.taken_back += amount

    def _escrow_adds_up(self) -> None:
        """What a campaign was given and has not granted lies in its budget, at its kiosks or in its contingency."""
        held: Counter[str] = Counter()
        for (_, subject), amount in self.seen.escrow.items():
            held[subject.partition(":")[0]] += amount
        if held != self.seen.funded:
            raise Violation("the escrow holds", f"{dict(held)} of {dict(self.seen.funded)}")

    def _is_granted_once(self, entry: bytes, amount: int) -> None:
        posted = self.seen.posted.get(entry)
        if entry in self.seen.granted:
            raise Violation("posted once", f"claim {entry.hex()} has two entries")
        if posted is None or posted.amount != amount:
            raise Violation("posted once", f"{amount} points were posted as {entry.hex()}, which no kiosk claimed so")
        self.seen.granted[entry] = amount

    def _kiosk(self, device: str) -> Kiosk:
        return next(kiosk for kiosk in self.kiosks if kiosk.identity.device == device)

    # --- at the end -------------------------------------------------------------------------------------------------

    def count_claims(self) -> int:
        """Claims that kiosks granted."""
        return sum(kiosk.observer.execute("SELECT count(*) FROM claim").fetchone()[0] for kiosk in self.kiosks)

    def count_waiting(self) -> int:
        """Envelopes that no receipt has settled, of kiosks that may still speak."""
        query = "SELECT count(*) FROM outbox WHERE settled = 0"
        return sum(kiosk.observer.execute(query).fetchone()[0] for kiosk in self.kiosks if not kiosk.is_revoked)

    def has_settled(self) -> None:
        """Nothing waits."""
        waiting = self.count_waiting()
        if waiting:
            raise Violation("all settles", f"{waiting} envelopes wait with nothing in the way")

    def gives(self, kiosk: Kiosk, allotment_points: int) -> None:
        """The kiosk greeted the member who stands before it, unless the merchant left nothing to give."""
        body = self._cloud.execute(
            "SELECT body FROM policy WHERE store = ? ORDER BY version DESC LIMIT 1", (kiosk.identity.store,)
        ).fetchone()[0]
        policy = msgspec.msgpack.decode(body, type=Policy)
        points = policy.reduced_points if policy.cards_reduced else policy.points
        (left,) = self._cloud.execute(
            "SELECT balance FROM account WHERE code = ? AND subject = ?", (CAMPAIGN_BUDGET, policy.campaign)
        ).fetchone()
        is_possible = 0 < points <= allotment_points and left >= allotment_points
        if is_possible and (kiosk.screen is None or kiosk.screen.name is not ScreenName.GREETING):
            shown = "nothing" if kiosk.screen is None else kiosk.screen.name
            raise Violation("peace restores it", f"{kiosk.name} shows {shown} to a member who comes for the first time")

    def look_at_all(self) -> None:
        """Everything that holds at any moment."""
        self.look_at_cloud()
        self.look_at_kiosks()
        self.look_at_chains()
        self.verify_ledger()

    def look_at_the_end(self) -> None:
        """All has settled: every claim shown is posted once, and members hold exactly the points of what was posted."""
        self.has_settled()
        if self.seen.granted != {claim: posted.amount for claim, posted in self.seen.posted.items()}:
            raise Violation("posted once", "what the cloud said it posted is not what the ledger holds")
        for kiosk in self.kiosks:
            if not kiosk.is_revoked:
                self._shown_is_posted(kiosk)
        self._coupons_are_counted()
        held = self._cloud.execute("SELECT sum(balance) FROM account WHERE code = ?", (MEMBER_AVAILABLE,)).fetchone()[0]
        if (held or 0) != sum(self.seen.granted.values()):
            raise Violation("points add up", f"members hold {held}, {sum(self.seen.granted.values())} were posted")

    def _shown_is_posted(self, kiosk: Kiosk) -> None:
        amounts: dict[bytes, int] = {}
        for claim, amount, epoch, seq, outcome in _rows(kiosk, "SELECT claim, amount, epoch, seq, outcome"):
            stored = self.seen.stored.get((kiosk.identity.device, epoch, seq))
            if stored is None or stored.claim != claim:
                raise Violation("all settles", f"{kiosk.name}'s {claim.hex()} never reached the cloud")
            if outcome is not None and outcome != stored.outcome:
                raise Violation("a pair agrees", f"{kiosk.name} believes {outcome}, the cloud said {stored.outcome}")
            if stored.outcome in (Outcome.POSTED, Outcome.EXISTS) and claim not in self.seen.granted:
                raise Violation("posted once", f"{kiosk.name}'s {claim.hex()} is {stored.outcome} and in no entry")
            if stored.outcome is Outcome.POSTED and self.seen.granted[claim] != amount:
                raise Violation("posted once", f"{kiosk.name} showed {amount}, the ledger has another amount")
            amounts[claim] = amount
        if any(amounts.get(claim) != amount for claim, amount in kiosk.shown.items()):
            raise Violation("shown is stored", f"{kiosk.name} showed what it does not hold")


def _rows(kiosk: Kiosk, select: str, rest: str = "") -> list[sqlite3.Row]:
    return kiosk.observer.execute(f"{select} FROM claim {rest}").fetchall()
