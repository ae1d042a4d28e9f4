"""The groups of two stores get to know each other: shows this group's introduction, takes another's from the camera.

Each store does it once for the other. Nothing of it passes the cloud: a cloud that vouched for another store's key
could vouch for its own, and read every template that is given to it.
"""

import logging

from edge.channel.messages import (
    AdmissionTold,
    DistrustTold,
    GroupChanged,
    GroupDistrusted,
    GroupIntroduced,
    JoinTold,
)
from edge.core.introduction import (
    INTRODUCTION_PREFIX,
    GroupIntroduction,
    encode_introduction,
    parse_introduction,
)
from edge.core.screen import Screen, ScreenName
from edge.db import knowledge
from edge.flow.entrance import Entrance, Moment
from edge.flow.group import WINDOW_S
from edge.flow.held import Held
from edge.flow.stage import Stage
from shared.ids import StoreId

log = logging.getLogger(__name__)


class Introductions:
    """What is going on about other stores' groups."""

    def __init__(self, entrance: Entrance, stage: Stage, held: Held) -> None:
        self._entrance = entrance
        self._stage = stage
        self._held = held
        self._trusts_until_ns = 0

    def show(self) -> JoinTold:
        """Shows this group's introduction, for a kiosk of another store to read."""
        reason = self._against()
        if reason is not None:
            return JoinTold(seconds=0, reason=reason)
        vision, policy = self._held.vision, knowledge.policy(self._entrance.database.connection)
        assert vision is not None
        assert vision.group is not None
        assert vision.intake_public is not None
        assert policy is not None
        introduction = GroupIntroduction(
            store=StoreId(policy.store), key=vision.group, intake_public=vision.intake_public
        )
        self._stage.show(Screen(name=ScreenName.INTRODUCE, code=encode_introduction(introduction)))
        return JoinTold(seconds=WINDOW_S, reason=None)

    def open_window(self, moment: Moment) -> AdmissionTold:
        """Lets the next introduction held to the camera count, for a while."""
        reason = self._against()
        if reason is not None:
            return AdmissionTold(seconds=0, reason=reason)
        self._trusts_until_ns = moment.raw.monotonic_ns + WINDOW_S * 1_000_000_000
        return AdmissionTold(seconds=WINDOW_S, reason=None)

    def take(self, texts: tuple[str, ...], moment: Moment) -> bool:
        """True when one of the texts introduced another store, the window open: it is no code of a member then."""
        policy = knowledge.policy(self._entrance.database.connection)
        if policy is None or moment.raw.monotonic_ns >= self._trusts_until_ns:
            return False
        read = [parse_introduction(text) for text in texts if text.startswith(INTRODUCTION_PREFIX)]
        for one in read:
            if one is not None and one.store != policy.store:
                told = GroupIntroduced(store=one.store, key=one.key, intake_public=one.intake_public)
                self._entrance.eyes.tell(told)
                return True
        return False

    def distrust(self, store: str) -> DistrustTold:
        """Takes the introduction of that store back, here and at this group's other kiosks."""
        vision = self._held.vision
        if vision is None:
            return DistrustTold(reason="vision does not run")
        if store not in {partner.store for partner in vision.partners}:
            return DistrustTold(reason="that store was not introduced here")
        self._entrance.eyes.tell(GroupDistrusted(store=store))
        return DistrustTold(reason=None)

    def changed(self, change: GroupChanged, moment: Moment) -> None:
        """The group is another one than `vision` told of last: say so when it is by the introduction just read."""
        before = self._held.vision
        trusts = moment.raw.monotonic_ns < self._trusts_until_ns
        if before is not None and trusts and set(change.partners) - set(before.partners):
            self._trusts_until_ns = 0
            self._stage.show(Screen(name=ScreenName.INTRODUCED))
            log.info("another store was introduced", extra={"stores": len(change.partners)})
        if before is not None and change.group != before.group:
            self._stage.rest(ScreenName.INTRODUCE)  # it would introduce a group that is no more

    def _against(self) -> str | None:
        vision, connection = self._held.vision, self._entrance.database.connection
        page, policy = knowledge.group_page(connection), knowledge.policy(connection)
        if vision is None:
            return "vision does not run"
        if vision.group is None or vision.intake_public is None:
            return "this kiosk holds no secret of a group"
        if policy is None or page is None:
            return "the cloud has not named the store's kiosks yet"
        return (
            None if page.key in (None, vision.group) else "this kiosk does not hold the secret of its store's group yet"
        )
