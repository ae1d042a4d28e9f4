"""Faces at the door: from a comparison to a member served, asked or left alone; and back, when it was the wrong one."""

import logging
from dataclasses import dataclass, replace
from datetime import date
from typing import assert_never

from edge.channel.messages import ChallengeStarts, CodeAccepted, FaceSeen, FaceSettled
from edge.core import recognition
from edge.core.match import MatchTerms, decide_match
from edge.core.recognition import (
    AskChoice,
    AskCode,
    AskTurn,
    CountStranger,
    FaceCommand,
    FacePath,
    Judged,
    Presence,
    ServeFace,
)
from edge.core.screen import Offer, Screen, ScreenName, Side
from edge.db import knowledge
from edge.flow.entrance import Entrance, Moment
from edge.flow.held import Held
from edge.flow.instants import Said
from edge.flow.recognise import choices_for, evidence_of, record_dispute, serve_face
from edge.flow.stage import Stage
from shared.ids import MemberId
from shared.policy import Means

log = logging.getLogger(__name__)

DIALOGS = frozenset({ScreenName.TURN, ScreenName.CHOOSE})
BUSY = frozenset({ScreenName.CONSENT, ScreenName.ENROL, ScreenName.JOIN_GROUP, ScreenName.INTRODUCE})
"""While somebody reads or learns here, whoever passes behind them is not served over their head."""
GREETED = frozenset({ScreenName.GREETING, ScreenName.COLLECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeted:
    """Who was greeted by face, and the claim that was granted so, None when today's was granted before."""

    member: MemberId
    claim: bytes | None


@dataclass(slots=True)
class Strangers:
    """How many were compared and are nobody who is enrolled, today; kept in memory only."""

    day: date | None = None
    count: int = 0


class Faces:
    """Takes what `vision` says of faces."""

    def __init__(self, entrance: Entrance, stage: Stage, held: Held) -> None:
        self._entrance = entrance
        self._stage = stage
        self._held = held
        self._presence = Presence()
        self._greeted: Greeted | None = None
        self._strangers = Strangers()

    # --- what happens -----------------------------------------------------------------------------------------------

    def see(self, seen: FaceSeen) -> None:
        """A face on the mark was compared once more. Raises: StorageFull."""
        policy = knowledge.policy(self._entrance.database.connection)
        screen = self._stage.screen
        if policy is None or not self._held.is_on or (screen is not None and screen.name in BUSY):
            return
        terms = MatchTerms(false_positives_ppm=policy.face_false_positives_ppm)
        verdict = decide_match(seen.comparison, terms)
        judged = Judged(track=seen.track, comparison=seen.comparison, verdict=verdict, live=seen.live)
        path = FacePath(liveness=policy.liveness, touch=self._entrance.touch)
        now_ns = self._entrance.clock.read().monotonic_ns
        self._presence, command = recognition.see_face(self._presence, judged, path, now_ns)
        self._do(command)

    def gone(self, track: int) -> None:
        """A face left; a question to it is over."""
        self._presence, was_asked = recognition.face_gone(self._presence, track)
        if was_asked:
            self._stage.rest(*DIALOGS)

    def challenge_ended(self, track: int, *, passed: bool) -> None:
        """The head was turned as asked, or not. Raises: StorageFull."""
        self._presence, command = recognition.turned(self._presence, track, passed=passed, touch=self._entrance.touch)
        self._do(command)

    def code_accepted(self) -> None:
        """A valid code was shown: whoever is in view now chose the other path."""
        self._presence = recognition.code_accepted(self._presence)
        self._entrance.eyes.tell(CodeAccepted())

    def vision_changed(self) -> None:
        """`vision` is another process now, or none."""
        self._presence = recognition.new_eyes(self._presence)
        self._greeted = None
        self._stage.rest(*DIALOGS)

    def screen_changes(self, screen: Screen | None) -> None:
        """Another screen, or none, takes the place of what was shown: a question that stood there is over."""
        dialog = self._presence.dialog
        if dialog is not None and (screen is None or screen.name not in DIALOGS):
            self._presence = recognition.dismissed(self._presence)
            self._entrance.eyes.tell(FaceSettled(track=dialog.track))
        if screen is None or Offer.NOT_ME not in screen.offers:
            self._greeted = None

    def strangers_today(self, moment: Moment) -> int:
        """How many faces today were nobody's."""
        return self._strangers.count if self._strangers.day == self._day(moment) else 0

    # --- what is tapped ---------------------------------------------------------------------------------------------

    def pick(self, place: int | None) -> None:
        """A nickname was tapped, or "none of these" (None). Raises: StorageFull."""
        self._presence, command = recognition.picked(self._presence, place)
        self._do(command)

    def not_me(self) -> None:
        """Whoever stands there is not the member on the screen: it goes at once, and the code is asked for.

        The claim stays in the ledger for a person to look at; the right member's code gets them their own.
        Raises: StorageFull.
        """
        greeted, self._greeted = self._greeted, None
        if greeted is None:
            return
        moment = self._entrance.now()
        self._presence = recognition.disputed(self._presence, moment.raw.monotonic_ns)
        # To `vision` it is the same as a code: everybody in view is left alone until they are gone.
        self._entrance.eyes.tell(CodeAccepted())
        self._stage.show(Screen(name=ScreenName.SHOW_CODE))
        record_dispute(self._entrance, greeted.member, greeted.claim, moment)
        self._stage.wrote()
        log.warning("a face was disputed")

    # --- what follows -----------------------------------------------------------------------------------------------

    def _do(self, command: FaceCommand | None) -> None:
        if command is None:
            return
        if not isinstance(command, AskTurn):
            self._entrance.eyes.tell(FaceSettled(track=command.track))
        match command:
            case ServeFace():
                self._serve(command)
            case AskCode():
                self._stage.show(Screen(name=ScreenName.SHOW_CODE))
            case AskTurn(track=track):
                side = Side.RIGHT if self._entrance.random_bytes(1)[0] & 1 else Side.LEFT
                self._entrance.eyes.tell(ChallengeStarts(track=track, side=side))
                self._stage.show(Screen(name=ScreenName.TURN, side=side))
            case AskChoice(members=members):
                self._ask_choice(members)
            case CountStranger():
                self._count_stranger()
            case _:
                assert_never(command)

    def _serve(self, command: ServeFace) -> None:
        vision, moment = self._held.vision, self._entrance.now()
        assert vision is not None, "a face was seen by it"
        evidence = evidence_of(
            command.comparison, command.member, group=vision.group or b"", embedder=vision.embedder or b""
        )
        self._stage.ask(command.member, Means.FACE, moment, lambda said: self._served(command, evidence, said))

    def _served(self, command: ServeFace, evidence: bytes, said: Said | None) -> None:
        admission = serve_face(self._entrance, command.member, evidence, self._entrance.now(), said)
        if admission is None:  # enrolled, and no consent in force: to us they are nobody
            self._count_stranger()
            self._stage.rest(*DIALOGS)
            return
        if self._entrance.touch and admission.screen.name in GREETED:
            admission = replace(admission, screen=replace(admission.screen, offers=(Offer.NOT_ME,)))
        self._stage.admit(admission)
        claim = admission.screen.claim if admission.seq is not None else None
        if Offer.NOT_ME in admission.screen.offers:
            self._greeted = Greeted(member=command.member, claim=None if claim is None else bytes.fromhex(claim))

    def _ask_choice(self, members: tuple[MemberId, ...]) -> None:
        choices = choices_for(self._entrance, members)
        if choices is None:
            self._presence = recognition.dismissed(self._presence)
            self._stage.show(Screen(name=ScreenName.SHOW_CODE))
            return
        self._presence = recognition.offered(self._presence, choices.members)
        self._stage.show(Screen(name=ScreenName.CHOOSE, choices=choices.masked, offers=(Offer.PICK,)))

    def _count_stranger(self) -> None:
        day = self._day(self._entrance.now())
        if day != self._strangers.day:
            self._strangers = Strangers(day=day)
        self._strangers.count += 1

    def _day(self, moment: Moment) -> date | None:
        policy = knowledge.policy(self._entrance.database.connection)
        instant = moment.reading.instant
        return None if policy is None or instant is None else policy.calendar.business_day(instant)
