"""The store's other kiosks: whom to ask before a coupon is shown, what to answer them, and what time they say it is.

A member at the door waits for an answer ASK_WITHIN at most, and one member at a time: whoever comes meanwhile is
served without asking. Nothing is given away before it is written down.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import assert_never

from edge.channel.messages import LanPeer, PeerAnswered, PeerAsked, PeersAsked, PeersHeard, PeersTold
from edge.core.clock import ClockMark
from edge.core.instant import HUB_SEEN_WITHIN, AskKiosks, decide_instant
from edge.core.lan import (
    NONCE_BYTES,
    BootAsked,
    BootTold,
    LanAnswer,
    LanQuestion,
    LanTimeAsked,
    LanTimeTold,
    PresenceAsked,
    Present,
    RightAsked,
    RightTold,
    believe_boot,
    believe_lan_time,
    tell_boot,
    tell_lan_time,
)
from edge.core.reward import Grant, decide_reward
from edge.db import boots, instants, knowledge
from edge.db.boots import BootSeen
from edge.errors import StorageFull
from edge.flow import keep_time
from edge.flow.admit import load_standing, wanted_of
from edge.flow.entrance import Entrance, Moment
from edge.flow.instants import Said, Wanted, hub_of, load_instant, neighbours_of
from edge.flow.keep_time import TimeQuestion
from shared.business_day import ClockTrust, milliseconds
from shared.ids import ClaimId, DeviceId, MemberId
from shared.policy import INSTANT_A_DAY_MAX, InstantMode, Means

log = logging.getLogger(__name__)

ASK_WITHIN_NS = 2_000_000_000  # two kiosks, 0.8 s each, and a tick
ONE_DAY = timedelta(days=1)  # kiosks' clocks may differ by a cut-off
PRESENCE_EVERY_NS = 30_000_000_000  # six times within what makes a hub one that answers
TIME_EVERY_NS = 60_000_000_000
BOOT_EVERY_NS = 300_000_000_000  # nobody waits for what was noted yesterday

Then = Callable[[Said | None], None]
"""What is done once the other kiosks have answered; None when they were not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A member at the door, while the other kiosks are asked."""

    number: int
    member: MemberId
    since_ns: int
    then: Then


class Neighbours:
    """Speaks with the store's other kiosks, through `link`."""

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._number = 0
        self._waiting: Waiting | None = None
        self._time: tuple[int, DeviceId, TimeQuestion] | None = None
        self._told: PeersTold | None = None
        self._boot: tuple[int, DeviceId, str] | None = None
        self._looked_ns = self._asked_time_ns = -TIME_EVERY_NS
        self._asked_boot_ns = -BOOT_EVERY_NS
        self._boots_asked = 0

    # --- before a coupon ------------------------------------------------------------------------------------------

    def ask(self, member: MemberId, means: Means, moment: Moment, then: Then) -> None:
        """Does what follows: now, or once the kiosks that decide about this coupon have answered.

        Raises: StorageFull.
        """
        if self._waiting is not None and self._waiting.member == member:
            return  # the next step of the same phone
        wanted = None if self._waiting is not None else self._wanted(member, means, moment)
        asked = None if wanted is None else self._whom_to_ask(wanted, moment)
        if wanted is None or asked is None:
            then(None)
            return
        day = wanted.day.isoformat()
        if asked.keeps:
            with self._entrance.database.transaction() as connection:
                instants.give_right(connection, wanted.claim, self._entrance.device, day)
        number = self._say(asked.kiosks, RightAsked(claim=wanted.claim, business_day=day))
        self._waiting = Waiting(number=number, member=member, since_ns=moment.raw.monotonic_ns, then=then)

    def _wanted(self, member: MemberId, means: Means, moment: Moment) -> Wanted | None:
        """The coupon about which others have a say, None when there is none for the member now."""
        connection = self._entrance.database.connection
        policy = knowledge.policy(connection)
        if policy is None or policy.instant is None or policy.instant.mode is not InstantMode.HUB:
            return None
        standing = load_standing(connection, self._entrance, policy, member, means, moment.reading)
        decision = decide_reward(member, policy, standing, moment.reading)
        return wanted_of(policy, decision) if isinstance(decision, Grant) else None

    def _whom_to_ask(self, wanted: Wanted, moment: Moment) -> AskKiosks | None:
        standing = load_instant(self._entrance.database.connection, self._entrance, wanted, moment, None)
        decision = decide_instant(wanted.terms.mode, wanted.member, wanted.day, standing)
        return decision if isinstance(decision, AskKiosks) else None

    def _finish(self, said: Said) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.then(said)

    # --- what they say --------------------------------------------------------------------------------------------

    def heard(self, heard: PeersHeard) -> bool:
        """Takes what others answered; True when the time of day was learnt by it. Raises: StorageFull."""
        now_ns = self._entrance.clock.read().monotonic_ns
        for word in heard.words:
            self._entrance.seen.saw(DeviceId(word.device), now_ns)
        if self._waiting is not None and heard.number == self._waiting.number:
            self._finish(
                {
                    DeviceId(word.device): DeviceId(word.answer.holder)
                    for word in heard.words
                    if isinstance(word.answer, RightTold) and word.answer.holder is not None
                }
            )
        return any(self._learned(heard.number, word.answer) for word in heard.words)

    def _learned(self, number: int, answer: LanAnswer) -> bool:
        match answer:
            case LanTimeTold():
                return self._took(number, answer)
            case BootTold():
                return self._dated(number, answer)
            case Present() | RightTold():
                return False
            case _:
                assert_never(answer)

    def _dated(self, number: int, told: BootTold) -> bool:
        """True when that says when an earlier boot of ours was, and it is believed: its visits are dated."""
        if self._boot is None or self._boot[0] != number:
            return False
        _, device, boot = self._boot
        self._boot = None
        instant_ms = believe_boot(told, self._entrance.device, boot, self._public_of(device))
        if instant_ms is None:
            return False
        mark = ClockMark(
            boot=boot,
            monotonic_ns=told.monotonic_ms * 1_000_000,
            instant_ms=instant_ms,
            high_water_ms=instant_ms,
        )
        return keep_time.date_earlier(self._entrance, mark) > 0

    def _took(self, number: int, told: LanTimeTold) -> bool:
        """True when that is the answer of the kiosk that was asked for the time, and it is believed."""
        if self._time is None or self._time[0] != number:
            return False
        _, device, question = self._time
        self._time = None
        instant_ms = believe_lan_time(told, question.nonce, self._public_of(device))
        return instant_ms is not None and keep_time.hear_hub(self._entrance, question, instant_ms)

    def _public_of(self, device: DeviceId) -> bytes:
        """The kiosk's signing key, nothing when it is none of the store's any more."""
        connection = self._entrance.database.connection
        neighbours = neighbours_of(connection, self._entrance, knowledge.store_page(connection))
        return next((one.public for one in neighbours if one.device == device), b"")

    def answer(self, asked: PeerAsked, moment: Moment) -> PeerAnswered:
        """What a kiosk of the store is told; a right is written down before."""
        self._entrance.seen.saw(DeviceId(asked.device), moment.raw.monotonic_ns)
        return PeerAnswered(number=asked.number, answer=self._answer(DeviceId(asked.device), asked.question, moment))

    def _answer(self, device: DeviceId, question: LanQuestion, moment: Moment) -> LanAnswer:
        match question:
            case PresenceAsked():
                self._saw_boot(device, question, moment)
                return Present()
            case BootAsked(boot=boot):
                return self._tell_boot(device, boot, moment)
            case RightAsked():
                return RightTold(holder=self._give(device, question, moment))
            case LanTimeAsked(nonce=nonce):
                reading = moment.reading
                known = reading.instant if reading.trust is ClockTrust.SYNCED else None
                instant_ms = None if known is None else milliseconds(known)
                return tell_lan_time(self._entrance.signing_key, nonce, instant_ms)
            case _:
                assert_never(question)

    def _saw_boot(self, device: DeviceId, asked: PresenceAsked, moment: Moment) -> None:
        """Takes note of a boot of which nothing was heard before: one write a boot of a neighbour."""
        if boots.boot_seen(self._entrance.database.connection, device, asked.boot) is not None:
            return
        seen = BootSeen(
            monotonic_ms=asked.monotonic_ms, our_boot=moment.raw.boot, our_monotonic_ns=moment.raw.monotonic_ns
        )
        try:
            with self._entrance.database.transaction() as connection:
                boots.save_boot_seen(connection, device, asked.boot, seen)
        except StorageFull:
            log.warning("a neighbour's boot could not be written down")

    def _tell_boot(self, device: DeviceId, boot: str, moment: Moment) -> BootTold:
        """When that boot was, if it fell into a boot of ours whose time is known."""
        connection = self._entrance.database.connection
        seen, mark = boots.boot_seen(connection, device, boot), knowledge.clock_mark(connection)
        if seen is None or mark is None or moment.reading.instant is None or mark.boot != seen.our_boot:
            return BootTold(monotonic_ms=0, instant_ms=None, signature=b"")
        instant_ms = mark.instant_ms + (seen.our_monotonic_ns - mark.monotonic_ns) // 1_000_000
        return tell_boot(self._entrance.signing_key, device, boot, seen.monotonic_ms, instant_ms)

    def _give(self, device: DeviceId, asked: RightAsked, moment: Moment) -> DeviceId | None:
        """Whose it is by our word; None when we give no word: of another day than ours, or to one that asks for more
        than a kiosk can show, so that one gone wild does not fill our card."""
        policy, instant = knowledge.policy(self._entrance.database.connection), moment.reading.instant
        if policy is None or instant is None:
            return None
        days = policy.calendar.business_day(instant) - date.fromisoformat(asked.business_day)
        try:
            with self._entrance.database.transaction() as connection:
                held = instants.count_rights(connection, device, asked.business_day)
                if abs(days) > ONE_DAY or held >= INSTANT_A_DAY_MAX:
                    return instants.right_to(connection, ClaimId(asked.claim))
                return instants.give_right(connection, ClaimId(asked.claim), device, asked.business_day)
        except StorageFull:
            log.warning("a right to a coupon could not be written down")
            return None

    # --- who they are, and time passing ---------------------------------------------------------------------------

    def link_changed(self) -> None:
        """Another `link`, or none: it is told who the others are, and what was asked before is not answered."""
        self._told = None

    def tick(self, moment: Moment, *, online: bool) -> None:
        """Called about once a second: tells `link` of new kiosks, looks who is there, asks for the time.

        Raises: StorageFull.
        """
        now_ns = moment.raw.monotonic_ns
        if self._waiting is not None and now_ns - self._waiting.since_ns > ASK_WITHIN_NS:
            self._finish({})
        connection = self._entrance.database.connection
        page = knowledge.store_page(connection)
        neighbours = neighbours_of(connection, self._entrance, page)
        told = PeersTold(peers=tuple(LanPeer(device=one.device, address=one.lan) for one in neighbours))
        if told != self._told and (told.peers or self._told is not None):
            self._told = told
            self._entrance.lan.tell(told)
        if now_ns - self._looked_ns >= PRESENCE_EVERY_NS:
            self._looked_ns = now_ns
            for one in neighbours:
                if one.lan is not None:
                    self._say((one.device,), _presence(moment))
        hub = hub_of(connection, self._entrance, page, moment)
        is_time_wanted = moment.reading.trust is not ClockTrust.SYNCED and not online
        if hub is not None and is_time_wanted and now_ns - self._asked_time_ns >= TIME_EVERY_NS:
            self._ask_time(hub, now_ns)
        if moment.reading.instant is not None and now_ns - self._asked_boot_ns >= BOOT_EVERY_NS:
            self._ask_boot(moment)

    def _ask_boot(self, moment: Moment) -> None:
        """Asks when an earlier boot was in which visits were noted; of several boots and kiosks others each time.

        Not the hub alone: whoever was up at that time knows it, and who leads now need not have been.
        """
        there = sorted(self._entrance.seen.within(HUB_SEEN_WITHIN, moment.raw.monotonic_ns))
        waiting = boots.boots_waiting(self._entrance.database.connection, moment.raw.boot)
        if not there or not waiting:
            return
        self._asked_boot_ns = moment.raw.monotonic_ns
        self._boots_asked += 1
        device, boot = there[self._boots_asked % len(there)], waiting[self._boots_asked // len(there) % len(waiting)]
        self._boot = (self._say((device,), BootAsked(boot=boot)), device, boot)

    def _ask_time(self, hub: DeviceId, now_ns: int) -> None:
        ago = self._entrance.seen.ago(hub, now_ns)
        if ago is None or ago > HUB_SEEN_WITHIN:
            return
        self._asked_time_ns = now_ns
        question = TimeQuestion(nonce=self._entrance.random_bytes(NONCE_BYTES), asked=self._entrance.clock.read())
        number = self._say((hub,), LanTimeAsked(nonce=question.nonce))
        self._time = (number, hub, question)

    def _say(self, kiosks: tuple[DeviceId, ...], question: LanQuestion) -> int:
        self._number += 1
        self._entrance.lan.tell(PeersAsked(number=self._number, peers=kiosks, question=question))
        return self._number


def _presence(moment: Moment) -> PresenceAsked:
    return PresenceAsked(boot=moment.raw.boot, monotonic_ms=moment.raw.monotonic_ns // 1_000_000)
