"""Templates for other stores: seals, through `vision`, what members' consents name, and tells the cloud.

The cloud says which are wanted and carries what comes of it; it opens none. What is not done stays wanted there, so
nothing is stored here: after a restart the next page says it again.
"""

import logging
from collections.abc import Iterator

from edge.channel.messages import KnownGroup, ShareWanted, TemplateGiven
from edge.core.group_steps import RANK_WAIT_NS
from edge.db import faces, knowledge
from edge.flow.consent import append_shared
from edge.flow.entrance import Entrance, Moment
from edge.flow.held import Held
from edge.flow.recognise import may_be_recognised
from edge.flow.stage import Stage
from shared.answers import TemplatePage, TemplateWanted
from shared.ids import MemberId

log = logging.getLogger(__name__)

SHARE_AGAIN_NS = 3600 * 1_000_000_000
"""Before what was done, or could not be, is tried again while it is still wanted."""
SHARED_A_TICK = 5  # each is a commit: a member at the door waits no longer than behind a few


class Sharing:
    """What is wanted for other stores, since when, and when it was last tried."""

    def __init__(self, entrance: Entrance, stage: Stage, held: Held) -> None:
        self._entrance = entrance
        self._stage = stage
        self._held = held
        self._wanted: dict[TemplateWanted, int] = {}
        self._tried: dict[TemplateWanted, int] = {}

    @property
    def waiting(self) -> int:
        """Members whose consent names a store that was not introduced here, or has another secret since."""
        return sum(not self._is_known(one) for one in self._wanted)

    def hear(self, page: TemplatePage, moment: Moment) -> None:
        """The page was taken: what it wants is all that is wanted, since it was first said."""
        if page.more:
            return
        now_ns = moment.raw.monotonic_ns
        self._wanted = {one: self._wanted.get(one, now_ns) for one in page.wanted}
        self._tried = {one: at_ns for one, at_ns in self._tried.items() if one in self._wanted}

    def vision_changed(self) -> None:
        """`vision` is another process now, or none: what it was asked may be lost."""
        self._tried.clear()

    def tick(self, moment: Moment) -> None:
        """Asks `vision` for some of what is wanted."""
        if not self._held.is_bound or not self._wanted:
            return
        now_ns = moment.raw.monotonic_ns
        due = self._due(now_ns)
        for one, _ in zip(due, range(SHARED_A_TICK), strict=False):
            self._tried[one] = now_ns
            self._entrance.eyes.tell(ShareWanted(member=MemberId(one.member), store=one.store, key=one.key))

    def given(self, message: TemplateGiven, moment: Moment) -> None:
        """Writes the template for the other store, if it is still wanted. Raises: StorageFull."""
        template = message.template
        if template is None:
            log.info("a template was not given to another store", extra={"reason": message.reason})
            return
        wanted = TemplateWanted(member=template.member, store=message.store, key=template.key)
        if wanted in self._wanted and self._may_share(wanted):
            append_shared(self._entrance, template, message.store, moment)
            self._stage.wrote()

    def _due(self, now_ns: int) -> Iterator[TemplateWanted]:
        """What may be given now. Each kiosk waits for those before it: one does it, and the others hear of it first."""
        page = knowledge.group_page(self._entrance.database.connection)
        if page is None or self._entrance.device not in page.kiosks:
            return
        wait_ns = sorted(page.kiosks).index(self._entrance.device) * RANK_WAIT_NS
        for one, since_ns in self._wanted.items():
            tried_ns = self._tried.get(one)
            is_again = tried_ns is not None and now_ns - tried_ns < SHARE_AGAIN_NS
            if now_ns - since_ns >= wait_ns and not is_again and self._is_known(one) and self._may_share(one):
                yield one

    def _is_known(self, one: TemplateWanted) -> bool:
        vision = self._held.vision
        return vision is not None and KnownGroup(store=one.store, key=one.key) in vision.partners

    def _may_share(self, one: TemplateWanted) -> bool:
        """True for a member whose face is known here under a consent in force."""
        connection, member = self._entrance.database.connection, MemberId(one.member)
        return faces.is_kept(connection, member) and may_be_recognised(connection, member)
