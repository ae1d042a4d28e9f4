"""What the agent asks of the faces side of `vision`, and what it is told: messages in, messages out.

Templates and secrets are kept in a thread of their own, one step after the other: sealing ten thousand templates anew
must not keep a code waiting. While a step is under way no frame is looked at for faces, so nothing here is shared
between two threads at the same time. The networks are loaded when the agent first allows faces; until then, and
without weights, the process runs on codes alone.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar, assert_never

import numpy as np
from numpy.typing import NDArray

from edge.channel.messages import (
    ChallengeEnded,
    ChallengeStarts,
    CodeAccepted,
    EnrolEnded,
    EnrolHinted,
    EnrolStarts,
    EnrolStops,
    FaceGone,
    FaceSeen,
    FaceSettled,
    FaceTerms,
    GroupChanged,
    GroupDistrusted,
    GroupIntroduced,
    GroupMade,
    GroupRotated,
    GroupUnchanged,
    KioskAdmitted,
    KnownGroup,
    LeasesEnd,
    ShareWanted,
    TemplateGiven,
    TemplatesKept,
    TemplatesTold,
    ToVision,
    VisionHello,
    WrapTold,
)
from edge.core.match import Comparison
from edge.core.screen import EnrolRefusal
from edge.errors import ChannelBroken, ModelUnusable, StorageFault
from edge.ports import Frame
from edge.vision.faces.enrolment import Enrolled, Hinted
from edge.vision.faces.gallery import MEMBERS_MAX
from edge.vision.faces.intake import GroupName
from edge.vision.faces.keeper import GroupRefusal, Keeper, Place, Regrouped, ShareRefusal, Shelf
from edge.vision.faces.networks import Networks, embedder_identity, load_networks
from edge.vision.faces.watcher import FaceEvent, FaceOptions, FaceWatcher, Gone, Seen, Turned
from edge.vision.faces.weights import Weights
from shared.biometrics import Forgetting, SealedTemplate
from shared.ids import DeviceId, MemberId, StoreId
from shared.policy import Liveness

log = logging.getLogger(__name__)

FaceReport = (
    FaceSeen
    | FaceGone
    | ChallengeEnded
    | EnrolHinted
    | EnrolEnded
    | TemplatesKept
    | GroupChanged
    | GroupUnchanged
    | TemplateGiven
)
TemplateStep = TemplatesTold | LeasesEnd
GroupStep = GroupMade | KioskAdmitted | WrapTold | GroupRotated | GroupIntroduced | GroupDistrusted
STORAGE = "storage"
"""Why a group stays as it was when the disk does not take the change."""
STORAGE_PAUSE_S = 10.0
"""Before the agent is asked to say again what the disk did not take; codes are read in the meantime."""

Result = TypeVar("Result")


class OpenedShelf(Shelf, Protocol):
    """A shelf that is opened and closed by the thread that uses it."""

    def open(self) -> None:
        """Makes it usable. Raises: StorageDamaged, StorageFull."""
        ...

    def close(self) -> None:
        """Lets go of it; closing twice is harmless."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceSources:
    """Where faces come from: the folder of the weights, the shelf of sealed templates, the folder of the keys, and
    randomness."""

    weights: Weights
    shelf: OpenedShelf
    keys: Path
    random: Callable[[int], bytes]
    options: FaceOptions = field(default_factory=FaceOptions)


class FaceDesk:
    """The faces side of the vision process. Used from the event loop's thread."""

    def __init__(self, sources: FaceSources) -> None:
        self._sources = sources
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="templates")
        self._kept: _Kept | None = None
        self._watcher: FaceWatcher | None = None
        self._hello = VisionHello()
        self._told_tracks: set[int] = set()
        self._is_on = False
        self._is_busy = False

    # --- coming and going ---------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Opens what is kept and checks which weights there are; with neither, codes are read all the same."""
        await self._store(self._open)

    async def close(self) -> None:
        """Nothing of any face is left in memory."""
        if self._watcher is not None:
            self._watcher.wipe()
        await self._store(self._close)
        self._thread.shutdown()

    def hello(self) -> VisionHello:
        """What is held, for an agent that was just found. No face is looked at before it said what it allows."""
        self._is_on = False
        self._told_tracks.clear()
        if self._watcher is not None:
            self._watcher.allow(is_on=False, liveness=Liveness.NONE)
            self._watcher.wipe()
        return self._hello

    # --- frames -------------------------------------------------------------------------------------------------------

    def look(self, frame: Frame, *, code_in_view: bool) -> tuple[FaceReport, ...]:
        """What the frame tells of faces."""
        if self._is_busy or self._watcher is None:
            return ()
        events = self._watcher.look(frame, code_in_view=code_in_view)
        return tuple(report for event in events for report in self._reports(event))

    def _reports(self, event: FaceEvent) -> tuple[FaceReport, ...]:
        """What the agent is told of the event; of a face that it never heard of nothing, not even that it went."""
        match event:
            case Seen():
                self._told_tracks.add(event.track)
                seen_ns = time.monotonic_ns()
                return (
                    FaceSeen(
                        track=event.track,
                        comparison=event.comparison,
                        live=event.live,
                        captured_ns=event.captured_ns,
                        seen_ns=seen_ns,
                    ),
                )
            case Gone():
                is_known = event.track in self._told_tracks
                self._told_tracks.discard(event.track)
                return (FaceGone(track=event.track),) if is_known else ()
            case Turned():
                return (ChallengeEnded(track=event.track, passed=event.passed),)
            case Hinted():
                return (EnrolHinted(member=event.member, hint=event.hint, taken=event.taken, wanted=event.wanted),)
            case Enrolled():
                return (_enrol_ended(event),)
            case _:
                assert_never(event)

    # --- messages -----------------------------------------------------------------------------------------------------

    async def take(self, message: ToVision) -> tuple[FaceReport, ...]:
        """Does what the agent says; returns what it is answered. One message after the other."""
        match message:
            case FaceTerms():
                return await self._take_terms(message)
            case CodeAccepted() | FaceSettled() | EnrolStops():
                self._leave_alone(message)
            case ChallengeStarts():
                return self._challenge(message)
            case EnrolStarts():
                return self._enrol(message.member)
            case TemplatesTold() | LeasesEnd():
                return await self._keep(message)
            case ShareWanted():
                return await self._share(message)
            case GroupMade() | KioskAdmitted() | WrapTold() | GroupRotated() | GroupIntroduced() | GroupDistrusted():
                return await self._regroup(message)
            case _:
                assert_never(message)
        return ()

    def _leave_alone(self, message: CodeAccepted | FaceSettled | EnrolStops) -> None:
        """What was going on with faces, or with one, is over."""
        if self._watcher is None:
            return
        match message:
            case CodeAccepted():
                self._watcher.code_accepted()
            case FaceSettled():
                self._watcher.settle(message.track)
            case EnrolStops():
                self._watcher.stop_enrolling()
            case _:
                assert_never(message)

    async def _take_terms(self, terms: FaceTerms) -> tuple[FaceReport, ...]:
        """Binds the templates to this device and its database; looks at faces or at none."""
        if self._kept is None:
            return ()
        kept, place = self._kept, Place(store=StoreId(terms.store), device=DeviceId(terms.device))
        resealed = await self._store(lambda: kept.bind(place, terms.life))
        if terms.on and self._watcher is None and self._hello.embedder is not None:
            self._watcher = _watcher(await self._step(self._load), kept, self._sources.options)
        self._is_on = terms.on
        if self._watcher is not None:
            self._watcher.allow(is_on=terms.on, liveness=terms.liveness)
        return resealed or ()

    def _challenge(self, message: ChallengeStarts) -> tuple[FaceReport, ...]:
        if self._watcher is None:
            return (ChallengeEnded(track=message.track, passed=False),)
        events = self._watcher.challenge(message.track, message.side)
        return tuple(report for event in events for report in self._reports(event))

    def _enrol(self, member: MemberId) -> tuple[FaceReport, ...]:
        if self._watcher is None or not self._is_on:
            nothing = Enrolled(member=member, template=None, frames=0, refusal=EnrolRefusal.NOBODY)
            return (_enrol_ended(nothing),)
        self._watcher.enrol(member)
        return ()

    async def _keep(self, message: TemplateStep) -> tuple[FaceReport, ...]:
        """What was done. Raises: ChannelBroken when the disk does not take it: after another hello it is said again."""
        kept = self._kept
        if kept is None:
            return ()
        done = await self._store(lambda: kept.keep(message))
        if done is None:
            await asyncio.sleep(STORAGE_PAUSE_S)
            raise ChannelBroken("templates could not be kept")
        return done

    async def _regroup(self, message: GroupStep) -> tuple[FaceReport, ...]:
        kept = self._kept
        done = None if kept is None else await self._store(lambda: kept.regroup(message))
        return (GroupUnchanged(reason=STORAGE) if done is None else done,)

    async def _share(self, wanted: ShareWanted) -> tuple[FaceReport, ...]:
        kept = self._kept
        given = None if kept is None else await self._step(lambda: kept.share(wanted))
        return () if given is None else (given,)

    # --- the thread of its own ----------------------------------------------------------------------------------------

    async def _store(self, work: Callable[[], Result]) -> Result | None:
        """What the work returns, or None when the disk does not take it."""
        try:
            return await self._step(work)
        except StorageFault as fault:
            log.error("templates cannot be kept", extra={"fault": str(fault)})
            return None

    async def _step(self, work: Callable[[], Result]) -> Result:
        """What the work returns; no face is looked at until it is done."""
        self._is_busy = True
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            if self._kept is not None:
                self._hello = self._kept.facts
            self._is_busy = False

    def _open(self) -> None:
        sources = self._sources
        try:
            identity = embedder_identity(sources.weights)
        except ModelUnusable as missing:
            log.warning("no faces, codes alone", extra={"reason": str(missing)})
            identity = None
        sources.shelf.open()
        keeper = Keeper(sources.keys, sources.shelf, embedder=identity, random=sources.random)
        keeper.start()
        self._kept = _Kept(keeper, identity)

    def _close(self) -> None:
        if self._kept is not None:
            self._kept.wipe()
        self._sources.shelf.close()

    def _load(self) -> Networks:
        """The networks. Raises: ChannelBroken when one cannot be used: the agent must hear another hello."""
        assert self._kept is not None
        try:
            return load_networks(self._sources.weights)
        except ModelUnusable as unusable:
            log.error("no faces, codes alone", extra={"reason": str(unusable)})
            self._kept.lose_embedder()
            raise ChannelBroken("what was said of the networks does not hold") from unusable


class _Kept:
    """The keeper as the watcher, the enrolment and the agent see it.

    What the watcher asks for in each frame is remembered here; everything that reaches the disk runs in the thread of
    the desk.
    """

    def __init__(self, keeper: Keeper, embedder: bytes | None) -> None:
        self._keeper = keeper
        self._embedder = embedder
        self._enrolled = 0
        self._resealed: frozenset[bytes] = frozenset()  # members whose new form the agent has, and has not brought back
        self.facts = self._facts()

    def __len__(self) -> int:
        return self._enrolled

    # --- in the event loop's thread -----------------------------------------------------------------------------------

    def compare(self, probe: NDArray[np.float32], probes: int) -> Comparison:
        """See Keeper."""
        return self._keeper.compare(probe, probes)

    def enrol(self, member: MemberId, mean: NDArray[np.float32]) -> SealedTemplate:
        """See Keeper."""
        return self._keeper.enrol(member, mean)

    def refusal(self, member: MemberId) -> EnrolRefusal | None:
        """Why nothing can be learnt for this member now, or None. Whoever has a place in a full gallery keeps it."""
        if not self._keeper.has_secret:
            return EnrolRefusal.NO_GROUP
        return EnrolRefusal.FULL if self._enrolled >= MEMBERS_MAX else None

    # --- in the thread of the desk ------------------------------------------------------------------------------------

    def lose_embedder(self) -> None:
        """There is no network after all."""
        self._embedder = None
        self._refreshed(())

    def bind(self, place: Place, life: bytes) -> tuple[FaceReport, ...]:
        """Says whose templates these are; tells anew what was sealed anew and never came back."""
        restored = (self._done((), Forgetting.RESTORED),) if self._keeper.bind(place, life) else ()
        self._resealed = frozenset()
        return self._refreshed((*restored, *self._untold()))

    def keep(self, step: TemplateStep) -> tuple[FaceReport, ...]:
        """Keeps and forgets as told."""
        match step:
            case TemplatesTold():
                applied = self._keeper.apply(
                    version=step.version,
                    issued_ms=step.issued_ms,
                    whole=step.whole,
                    reset=step.reset,
                    keep=step.keep,
                    forget=step.forget,
                )
                if applied.refused:
                    log.warning("templates that do not open were refused", extra={"templates": applied.refused})
                if applied.shut:
                    log.warning("templates of a store not introduced here stay shut", extra={"templates": applied.shut})
                self._resealed -= {template.member for template in step.keep}
                return self._refreshed((self._done(applied.forgotten, step.why), *self._untold()))
            case LeasesEnd():
                lapsed = self._keeper.lapse(step.before_ms)
                return self._refreshed((self._done(lapsed, Forgetting.LAPSED),))
            case _:
                assert_never(step)

    def regroup(self, step: GroupStep) -> GroupChanged | GroupUnchanged:
        """Changes the group as told."""
        match step:
            case GroupMade():
                done = self._keeper.make_group()
            case KioskAdmitted():
                done = self._keeper.admit(DeviceId(step.device), step.sealing_public)
            case WrapTold():
                done = self._keeper.take_wrap(step.sealed)
            case GroupRotated():
                done = self._keeper.rotate(tuple(DeviceId(device) for device in step.kept))
            case GroupIntroduced():
                group = GroupName(store=StoreId(step.store), key=step.key)
                done = self._keeper.introduce(group, step.intake_public)
            case GroupDistrusted():
                done = self._keeper.distrust(StoreId(step.store))
            case _:
                assert_never(step)
        self._refreshed(())
        match done:
            case Regrouped():
                self._resealed = frozenset(template.member for template in done.resealed)
                return GroupChanged(
                    group=done.group,
                    previous=done.previous,
                    kiosks=done.kiosks,
                    wraps=done.wraps,
                    resealed=done.resealed,
                    intake_public=self._keeper.intake_public,
                    partners=_named(done.partners),
                )
            case GroupRefusal():
                return GroupUnchanged(reason=done.value)
            case _:
                assert_never(done)

    def share(self, wanted: ShareWanted) -> TemplateGiven:
        """The template as it was asked for, or why it was not given."""
        given = self._keeper.share(wanted.member, StoreId(wanted.store), wanted.key)
        match given:
            case SealedTemplate():
                return TemplateGiven(member=wanted.member, store=wanted.store, template=given, reason=None)
            case ShareRefusal():
                return TemplateGiven(member=wanted.member, store=wanted.store, template=None, reason=given.value)
            case _:
                assert_never(given)

    def wipe(self) -> None:
        """Leaves nothing of templates and secrets in memory."""
        self._keeper.wipe()

    def _untold(self) -> tuple[GroupChanged, ...]:
        """The next templates sealed anew, once all that were told before came back."""
        group = self._keeper.group_key
        resealed = () if self._resealed or group is None else self._keeper.resealed()
        if not resealed or group is None:
            return ()
        self._resealed = frozenset(template.member for template in resealed)
        keeper = self._keeper
        change = GroupChanged(
            group=group,
            previous=None,
            kiosks=keeper.kiosks,
            wraps=(),
            resealed=resealed,
            intake_public=keeper.intake_public,
            partners=_named(keeper.partners),
        )
        return (change,)

    def _done(self, forgotten: tuple[MemberId, ...], why: Forgetting) -> TemplatesKept:
        feed = self._keeper.feed
        held = self._keeper.loaded.held
        return TemplatesKept(
            version=feed.version, issued_ms=feed.issued_ms, templates=held, forgotten=forgotten, why=why
        )

    def _refreshed(self, reports: tuple[FaceReport, ...]) -> tuple[FaceReport, ...]:
        self.facts = self._facts()
        return reports

    def _facts(self) -> VisionHello:
        keeper = self._keeper
        feed = keeper.feed
        loaded = keeper.loaded
        self._enrolled = loaded.usable
        return VisionHello(
            embedder=self._embedder,
            life=keeper.life,
            templates_version=feed.version,
            templates_issued_ms=feed.issued_ms,
            templates=loaded.held,
            group=keeper.group_key,
            kiosks=keeper.kiosks,
            sealing_public=keeper.sealing_public,
            intake_public=keeper.intake_public,
            partners=_named(keeper.partners),
        )


def _watcher(networks: Networks, kept: _Kept, options: FaceOptions) -> FaceWatcher:
    return FaceWatcher(
        networks.detector,
        networks.embedder,
        kept,
        spoof=networks.spoof,
        head_turn=networks.head_turn,
        templates=kept,
        options=options,
    )


def _named(partners: tuple[GroupName, ...]) -> tuple[KnownGroup, ...]:
    return tuple(KnownGroup(store=partner.store, key=partner.key) for partner in partners)


def _enrol_ended(event: Enrolled) -> EnrolEnded:
    return EnrolEnded(member=event.member, template=event.template, frames=event.frames, refusal=event.refusal)
