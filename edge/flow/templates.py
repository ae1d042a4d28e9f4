"""Templates on their way to `vision`, and the proof when they are gone.

`vision` alone holds templates; here is only noted whose. What the cloud says of them is judged against what `vision`
holds and counts once `vision` says that it is on the disk. A member who is to be forgotten stays noted until then, so
that neither a crash nor a full disk on either side loses the forgetting or its proof.
"""

from collections import deque
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from edge.channel.messages import LeasesEnd, TemplatesKept, TemplatesTold
from edge.core.feeds import HeldFeed, PageVerdict, judge_page
from edge.db import faces, knowledge
from edge.db.database import Connection
from edge.flow.entrance import Entrance, Moment
from edge.flow.held import Held
from edge.flow.learn import Learned
from edge.flow.stage import Stage
from edge.flow.write import append_fact
from shared.answers import FeedName, TemplatePage
from shared.biometrics import Forgetting, SealedTemplate
from shared.business_day import milliseconds
from shared.envelope import TemplateForgotten
from shared.ids import MemberId
from shared.policy import LEASE_AGE_MAX

LEASES_EVERY_NS = 3600 * 1_000_000_000
FORGET_AGAIN_NS = 60 * 1_000_000_000
FORGOTTEN_A_TURN = 400  # as many as a page of the feed
PROOFS_A_TURN = 50  # in one transaction, so that a member at the door never waits behind them

UNASKED = frozenset({Forgetting.RESTORED})
"""What `vision` does by itself, when it finds that its templates are of another life of the main database."""


class Templates:
    """What was told to `vision` and is not yet said to be done, oldest first."""

    def __init__(self, entrance: Entrance, stage: Stage, held: Held) -> None:
        self._entrance = entrance
        self._stage = stage
        self._held = held
        self._told: deque[TemplatesTold | LeasesEnd] = deque()
        self._feed = HeldFeed()
        self._leases_ns: int | None = None
        self._forget_ns = 0

    def arrive(self) -> None:
        """`vision` said what it holds. Raises: StorageFull."""
        vision = self._held.vision
        assert vision is not None
        self._told.clear()
        self._feed = HeldFeed(version=vision.templates_version, issued_ms=vision.templates_issued_ms)
        with self._entrance.database.transaction() as connection:
            knowledge.save_templates_held(connection, self._feed.version, self._feed.issued_ms, whole=False)
            if vision.templates == 0:
                faces.none_held(connection)
        self._leases_ns = None
        self._forget_ns = 0
        self._stage.behind()

    def leave(self) -> None:
        """`vision` is away: what it did not answer is told again from what it says when it is back."""
        self._told.clear()

    def hear(self, page: TemplatePage) -> Learned:
        """Passes the page on, when it fits what `vision` will hold by then; it is asked for again while it is away.

        Raises: StorageFull.
        """
        if not self._held.is_bound:
            return Learned.IGNORED
        match judge_page(page, self._feed):
            case PageVerdict.IGNORE:
                return Learned.IGNORED
            case PageVerdict.ASK:
                return Learned.BEHIND
            case PageVerdict.APPLY:
                self._pass_on(page)
                return Learned.TAKEN

    def keep(self, templates: tuple[SealedTemplate, ...], issued_ms: int) -> None:
        """These came from here and are written down: `vision` may use them."""
        self._tell(_told(issued_ms=issued_ms, keep=templates, why=Forgetting.REPLACED))

    def forget_now(self) -> None:
        """Tells `vision` whom to forget, if anybody waits for it."""
        self._forget_ns = self._now_ns()
        waiting = faces.leaving(self._entrance.database.connection, FORGOTTEN_A_TURN)
        for why in sorted(set(waiting.values())):
            members = tuple(member for member, reason in waiting.items() if reason is why)
            self._tell(_told(issued_ms=0, forget=members, why=why))

    def kept(self, message: TemplatesKept) -> frozenset[MemberId]:
        """What was told is done; returns whose templates are now proved to be gone. Raises: StorageFull."""
        told = self._told.popleft() if self._told and message.why not in UNASKED else None
        vision = self._held.vision
        if vision is not None:
            self._held.vision = msgspec.structs.replace(
                vision,
                templates=message.templates,
                templates_version=message.version,
                templates_issued_ms=message.issued_ms,
            )
        if message.why in UNASKED:
            self._feed = HeldFeed(version=message.version, issued_ms=message.issued_ms)
            self._stage.behind()
        asked = told.forget if isinstance(told, TemplatesTold) else ()
        whole = isinstance(told, TemplatesTold) and told.whole
        back = {kept.member for later in self._told if isinstance(later, TemplatesTold) for kept in later.keep}
        with self._entrance.database.transaction() as connection:
            knowledge.save_templates_held(connection, message.version, message.issued_ms, whole=whole)
            waiting = faces.leaving_among(connection, asked)
            faces.went(connection, {*waiting, *message.forgotten} - back, message.why)
            if message.why in UNASKED and message.templates == 0:
                faces.none_held(connection)
            if isinstance(told, TemplatesTold) and told.reset:
                faces.all_leaving_went(connection)
        return self._prove()

    def tick(self, moment: Moment) -> None:
        """Ends leases, asks again for what was not forgotten, writes proofs that wait. Raises: StorageFull."""
        self._prove()
        if not self._held.is_bound:
            return
        now_ns = self._now_ns()
        if not self._told and now_ns - self._forget_ns > FORGET_AGAIN_NS:
            self.forget_now()
        if self._leases_ns is None or now_ns - self._leases_ns > LEASES_EVERY_NS:
            self._leases_ns = now_ns
            self._end_leases(moment)

    def _pass_on(self, page: TemplatePage) -> None:
        keep = tuple(entry.template for entry in page.entries if entry.template is not None)
        forget = tuple(MemberId(entry.member) for entry in page.entries if entry.template is None)
        with self._entrance.database.transaction() as connection:
            if page.reset:
                faces.ask_all_to_leave(connection, Forgetting.WITHDRAWN)
            faces.keep(connection, [MemberId(template.member) for template in keep])
            faces.ask_to_leave(connection, forget, Forgetting.WITHDRAWN)
            for member in forget:
                faces.erase_of(connection, member)
        self._feed = HeldFeed(version=page.version, issued_ms=page.issued_ms)
        self._tell(
            TemplatesTold(
                version=page.version,
                issued_ms=page.issued_ms,
                whole=not page.more,
                reset=page.reset,
                keep=keep,
                forget=forget,
                why=Forgetting.WITHDRAWN,
            )
        )

    def _end_leases(self, moment: Moment) -> None:
        """A clock that is not known has at least come to the latest instant this device ever acted on."""
        mark = knowledge.clock_mark(self._entrance.database.connection)
        instant = moment.reading.instant
        reached_ms = milliseconds(instant) if instant is not None else None if mark is None else mark.high_water_ms
        if reached_ms is not None:
            self._tell(LeasesEnd(before_ms=max(0, reached_ms - LEASE_AGE_MAX // timedelta(milliseconds=1))))

    def _prove(self) -> frozenset[MemberId]:
        """Writes the device's word for templates that are gone, so many at a time."""
        connection = self._entrance.database.connection
        gone = faces.gone(connection, PROOFS_A_TURN)
        if not gone:
            return frozenset()
        life, policy = knowledge.life(connection), knowledge.policy(connection)
        if policy is None or life.epoch == 0:
            return frozenset()
        moment = self._entrance.now()
        with self._entrance.database.transaction() as connection:
            for member, why in gone.items():
                fact = TemplateForgotten(tenant=policy.tenant, store=policy.store, member=member, why=why)
                append_fact(
                    connection,
                    self._entrance,
                    life.epoch,
                    fact,
                    moment,
                    business_day=None,
                    policy_version=policy.version,
                )
                faces.erase_of(connection, member)
                faces.proved(connection, member)
        self._stage.wrote()
        return frozenset(gone)

    def _tell(self, message: TemplatesTold | LeasesEnd) -> None:
        if self._held.is_bound:
            self._told.append(message)
            self._entrance.eyes.tell(message)

    def _now_ns(self) -> int:
        return self._entrance.clock.read().monotonic_ns


def lease_ms(connection: Connection, moment: Moment) -> int | None:
    """From when the lease of a template that was only sealed anew counts: the cloud's last word, else now."""
    told_ms = knowledge.current_ms(connection, FeedName.TEMPLATES)
    instant = moment.reading.instant
    return told_ms if told_ms is not None else None if instant is None else milliseconds(instant)


def _told(
    *,
    issued_ms: int,
    why: Forgetting,
    keep: tuple[SealedTemplate, ...] = (),
    forget: Sequence[MemberId] = (),
) -> TemplatesTold:
    """A step that is none of the feed's."""
    return TemplatesTold(
        version=None, issued_ms=issued_ms, whole=False, reset=False, keep=keep, forget=tuple(forget), why=why
    )
