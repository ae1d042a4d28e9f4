"""The store's group of kiosks: makes, takes and replaces the secret through `vision`, admits and asks to be admitted.

The secret itself is never here: `vision` holds it, the cloud carries it wrapped, and this part moves names, wraps and
the list of kiosks between the two.
"""

import logging
from collections import deque
from dataclasses import dataclass
from typing import assert_never

import msgspec

from edge.channel.messages import (
    AdmissionTold,
    GroupChanged,
    GroupMade,
    GroupRotated,
    GroupUnchanged,
    JoinTold,
    KioskAdmitted,
    ToVision,
    WrapTold,
)
from edge.core.group import REQUEST_PREFIX, GroupRequest, encode_request, parse_request
from edge.core.group_steps import (
    GroupStep,
    GroupView,
    MakeSecret,
    NameSecret,
    ReplaceSecret,
    TakeWrap,
    next_step,
)
from edge.core.screen import Screen, ScreenName
from edge.db import faces, knowledge
from edge.db.database import Connection
from edge.flow.consent import append_template
from edge.flow.entrance import Entrance, Moment
from edge.flow.held import Held
from edge.flow.stage import Stage
from edge.flow.templates import Templates, lease_ms
from edge.flow.write import append_fact
from shared.answers import GroupPage
from shared.biometrics import SealedTemplate, Wrap
from shared.envelope import SecretWrapped
from shared.policy import Policy

log = logging.getLogger(__name__)

WINDOW_S = 120  # to carry a screen, or a picture of it, from one end of a shop to the other
ASK_AGAIN_NS = 300 * 1_000_000_000
RESEALED_A_TURN = 50  # in one transaction, so that a member at the door never waits behind them
CHANGES_MAX = 8  # waiting to be written; each is whole, and the oldest goes first


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What `vision` was last asked to do about the group, and when; None when nothing."""

    step: GroupStep | None = None
    at_ns: int = 0

    def holds(self, step: GroupStep, now_ns: int) -> bool:
        """True while it is too early to ask for the same again."""
        return step == self.step and now_ns - self.at_ns < ASK_AGAIN_NS


class Group:
    """What is going on about the store's group."""

    def __init__(self, entrance: Entrance, stage: Stage, held: Held, templates: Templates) -> None:
        self._entrance = entrance
        self._stage = stage
        self._held = held
        self._templates = templates
        self._heard: tuple[GroupPage | None, int] = (None, 0)
        self._asked = Asked()
        self._wrap_asked = Asked()
        self._admits_until_ns = 0
        self._changes: deque[GroupChanged] = deque(maxlen=CHANGES_MAX)
        self._resealed: deque[SealedTemplate] = deque()

    # --- what happens -----------------------------------------------------------------------------------------------

    def vision_changed(self) -> None:
        """`vision` is another process now, or none: what it was asked may be lost, what it sealed it tells again."""
        self._asked = self._wrap_asked = Asked()
        self._resealed.clear()

    def tick(self, moment: Moment) -> None:
        """Writes what waits, and asks `vision` for the next step. Raises: StorageFull."""
        self._write(moment)
        now_ns = moment.raw.monotonic_ns
        step = self._next_step(now_ns)
        if step is None or self._asked.holds(step, now_ns):
            return
        asked = Asked(step=step, at_ns=now_ns)
        # A wrap that was taken, or refused, must not keep the steps behind it from being taken.
        if isinstance(step, TakeWrap):
            self._wrap_asked = asked
        else:
            self._asked = asked
        if isinstance(step, NameSecret):
            self._name_secret(moment)
        else:
            self._entrance.eyes.tell(_message(step))

    def changed(self, change: GroupChanged, moment: Moment) -> None:
        """The secret or its list of kiosks is another one now. Raises: StorageFull; it is written later then."""
        before = self._held.vision
        if before is not None:
            self._held.vision = msgspec.structs.replace(
                before,
                group=change.group,
                kiosks=change.kiosks,
                intake_public=change.intake_public,
                partners=change.partners,
            )
        self._changes.append(msgspec.structs.replace(change, wraps=change.wraps or self._first_wrap(change)))
        admits = moment.raw.monotonic_ns < self._admits_until_ns
        if before is not None and admits and len(change.kiosks) > len(before.kiosks):
            self._admits_until_ns = 0
            self._stage.show(Screen(name=ScreenName.ADMITTED))
        self._stage.rest(ScreenName.JOIN_GROUP)
        log.info("group changed", extra={"kiosks": len(change.kiosks), "resealed": len(change.resealed)})
        self._write(moment)

    def unchanged(self, told: GroupUnchanged) -> None:
        """What was asked could not be done; it is not asked again at once."""
        log.warning("group stays as it is", extra={"reason": told.reason})

    # --- a new kiosk ------------------------------------------------------------------------------------------------

    def open_window(self, moment: Moment) -> AdmissionTold:
        """Lets the next request held to the camera count, for a while."""
        reason = self._against_admitting()
        if reason is not None:
            return AdmissionTold(seconds=0, reason=reason)
        self._admits_until_ns = moment.raw.monotonic_ns + WINDOW_S * 1_000_000_000
        return AdmissionTold(seconds=WINDOW_S, reason=None)

    def take_request(self, texts: tuple[str, ...], moment: Moment) -> bool:
        """True when one of the texts was a request and the window open: it is no code of a member then."""
        if moment.raw.monotonic_ns >= self._admits_until_ns:
            return False
        requests = [parse_request(text) for text in texts if text.startswith(REQUEST_PREFIX)]
        for request in requests:
            if request is not None and self._is_known(request):
                message = KioskAdmitted(device=request.device, sealing_public=request.sealing_public)
                self._entrance.eyes.tell(message)
                return True
        return False

    def show_request(self) -> JoinTold:
        """Shows this kiosk's request to join, for a kiosk of the group to read."""
        vision = self._held.vision
        page = knowledge.group_page(self._entrance.database.connection)
        if vision is None or vision.sealing_public is None:
            return JoinTold(seconds=0, reason="vision does not run")
        if vision.group is not None and (page is None or page.key in (None, vision.group)):
            return JoinTold(seconds=0, reason="this kiosk is of the group already")
        request = GroupRequest(device=self._entrance.device, sealing_public=vision.sealing_public)
        self._stage.show(Screen(name=ScreenName.JOIN_GROUP, code=encode_request(request)))
        return JoinTold(seconds=WINDOW_S, reason=None)

    def _against_admitting(self) -> str | None:
        if self._held.vision is None:
            return "vision does not run"
        if self._held.vision.group is None:
            return "this kiosk holds no secret of a group"
        page = knowledge.group_page(self._entrance.database.connection)
        return "the cloud has not named the store's kiosks yet" if page is None else None

    def _is_known(self, request: GroupRequest) -> bool:
        page = knowledge.group_page(self._entrance.database.connection)
        return page is not None and request.device in page.kiosks and request.device != self._entrance.device

    # --- the next step ----------------------------------------------------------------------------------------------

    def _next_step(self, now_ns: int) -> GroupStep | None:
        vision, connection = self._held.vision, self._entrance.database.connection
        if vision is None or not self._held.is_bound:
            return None
        page, policy = knowledge.group_page(connection), knowledge.policy(connection)
        if page is None or policy is None or knowledge.life(connection).epoch == 0:
            return None
        self._heard = _since(self._heard, page, now_ns)
        told = faces.told_secret(connection)
        wrap = TakeWrap(key=page.key, sealed=page.wrap) if page.key is not None and page.wrap else None
        outdated = told is not None and not (told.settled and page.version != told.page_version)
        view = GroupView(
            device=self._entrance.device,
            wanted=policy.faces and vision.embedder is not None,
            held=vision.group,
            listed=vision.kiosks,
            key=page.key,
            kiosks=page.kiosks,
            wrap=None if wrap is None or self._wrap_asked.holds(wrap, now_ns) else wrap.sealed,
            heard_ns=now_ns - self._heard[1],
            outdated=outdated or bool(self._changes),
        )
        return next_step(view)

    # --- what the cloud must be told ----------------------------------------------------------------------------------

    def _write(self, moment: Moment) -> None:
        if not self._changes and not self._resealed:
            return
        connection = self._entrance.database.connection
        policy = knowledge.policy(connection)
        if policy is None or knowledge.life(connection).epoch == 0:
            return
        while self._changes:
            self._write_wraps(self._changes[0], policy, moment)
            self._resealed.extend(self._changes.popleft().resealed)
        if self._resealed:
            self._write_resealed(moment)

    def _write_wraps(self, change: GroupChanged, policy: Policy, moment: Moment) -> None:
        if not change.wraps:
            return
        with self._entrance.database.transaction() as connection:
            page = knowledge.group_page(connection)
            epoch = knowledge.life(connection).epoch
            for wrap in change.wraps:
                seq = self._append(connection, change, wrap, policy, epoch, moment)
                faces.note_told_secret(connection, epoch, seq, 0 if page is None else page.version)
        self._stage.wrote()

    def _name_secret(self, moment: Moment) -> None:
        vision = self._held.vision
        assert vision is not None
        assert vision.group is not None, "the step is for a kiosk that holds one"
        own = Wrap(device=self._entrance.device, sealed=b"")
        change = GroupChanged(group=vision.group, previous=None, kiosks=vision.kiosks, wraps=(own,), resealed=())
        self._changes.append(change)
        self._write(moment)

    def _first_wrap(self, change: GroupChanged) -> tuple[Wrap, ...]:
        """Of a secret that was made here for this kiosk alone there is nothing to carry, and yet a name to tell."""
        page = knowledge.group_page(self._entrance.database.connection)
        is_alone = change.kiosks == (self._entrance.device,)
        is_first = page is not None and page.key is None and self._asked.step == MakeSecret()
        is_new = is_first or change.previous is not None
        return (Wrap(device=self._entrance.device, sealed=b""),) if is_alone and is_new else ()

    def _append(
        self, connection: Connection, change: GroupChanged, wrap: Wrap, policy: Policy, epoch: int, moment: Moment
    ) -> int:
        fact = SecretWrapped(
            tenant=policy.tenant, store=policy.store, key=change.group, previous=change.previous, wrap=wrap
        )
        return append_fact(
            connection, self._entrance, epoch, fact, moment, business_day=None, policy_version=policy.version
        )

    def _write_resealed(self, moment: Moment) -> None:
        """Some of the templates that were sealed anew; `vision` hears which are written down."""
        leased_ms = lease_ms(self._entrance.database.connection, moment)
        if leased_ms is None:
            return
        some = tuple(self._resealed)[:RESEALED_A_TURN]
        with self._entrance.database.transaction() as connection:
            for template in some:
                append_template(connection, self._entrance, template, moment, frames=0, resealed=True)
        for _ in some:
            self._resealed.popleft()
        self._templates.keep(some, leased_ms)
        self._stage.wrote()


def _since(heard: tuple[GroupPage | None, int], page: GroupPage, now_ns: int) -> tuple[GroupPage | None, int]:
    """Since when the cloud says this: a page that only renews its date is no news."""
    before = heard[0]
    same = before is not None and (before.key, before.kiosks) == (page.key, page.kiosks)
    return heard if same else (page, now_ns)


def _message(step: MakeSecret | TakeWrap | ReplaceSecret) -> ToVision:
    match step:
        case MakeSecret():
            return GroupMade()
        case TakeWrap():
            return WrapTold(key=step.key, sealed=step.sealed)
        case ReplaceSecret():
            return GroupRotated(kept=step.kept)
        case _:
            assert_never(step)
