"""What is settled about the faces at the door: one verdict a stay, one grant a stay, and no second attempt by face.

A face is compared until a verdict is final. Then it is served, or asked for the code, or first has to turn its head,
or to pick its nickname; whatever comes of it, the same stay is never compared again. A code cancels all of it, and so
does "that is not me".

Pure: verdicts and monotonic times come in, commands go out. Who compares, writes and shows lives elsewhere.
"""

from dataclasses import dataclass, replace
from typing import Final, assert_never

from edge.core.match import Ambiguous, Comparison, Match, MatchVerdict, NoMatch, NotYet
from shared.ids import MemberId
from shared.policy import Liveness

LIVE_MIN: Final = 0.3
"""From here on the mean over a visit counts as live. At most 1 in 20 people drawn before a door is to be turned away:
on 60 of them that gave 0.24. Of 60 others 0.3 turned 3 % away and let 2 % of their prints through, 10 % at 0.2; 0.5,
about the makers' own rule, turned 12 % away. Source: bench `liveness`, 2026-11; models/minifasnet.md has the curve."""

QUIET_NS: Final = 30_000_000_000
"""After "not me" no face counts for so long: time to show the code, and too long to try faces one after the other."""

SETTLED_MAX: Final = 64
"""Tracks remembered as settled; numbers grow, and a face that old has long been left alone by `vision`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One look at a face: its track, the comparison, what that comes to, and how live it looks (None: not asked)."""

    track: int
    comparison: Comparison
    verdict: MatchVerdict
    live: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FacePath:
    """What the policy asks of a face, and whether anybody can tap the screen."""

    liveness: Liveness
    touch: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenged:
    """A face with a verdict that has to turn first."""

    track: int
    comparison: Comparison
    verdict: Match | Ambiguous


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosing:
    """A face that may be one of several; `members` stand behind the choices on the screen, None behind a decoy."""

    track: int
    comparison: Comparison
    members: tuple[MemberId | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """The faces at the door. `newest` is the highest track seen; all up to `ignored_to` are left alone.

    No face counts before `quiet_until_ns`. At most one face is challenged or chooses, and meanwhile no other counts.
    """

    settled: tuple[int, ...] = ()
    newest: int = 0
    ignored_to: int = 0
    quiet_until_ns: int = 0
    dialog: Challenged | Choosing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeFace:
    """Serve this member as with a code."""

    track: int
    member: MemberId
    comparison: Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class AskCode:
    """The face does not settle it: ask for the code."""

    track: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AskTurn:
    """Ask for a turn of the head."""

    track: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AskChoice:
    """Offer these members' nicknames among others; best first."""

    track: int
    members: tuple[MemberId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountStranger:
    """Nobody who is enrolled stood there: count it, and nothing else."""

    track: int


FaceCommand = ServeFace | AskCode | AskTurn | AskChoice | CountStranger


def see_face(presence: Presence, judged: Judged, path: FacePath, at_ns: int) -> tuple[Presence, FaceCommand | None]:
    """The presence after one look at a face, and what is to be done, if anything."""
    seen = replace(presence, newest=max(presence.newest, judged.track))
    is_over = judged.track in presence.settled or judged.track <= presence.ignored_to
    if is_over or presence.dialog is not None or at_ns < presence.quiet_until_ns:
        return seen, None
    match judged.verdict:
        case NotYet():
            return seen, None
        case NoMatch():
            return _settled(seen, judged.track), CountStranger(track=judged.track)
        case Match() | Ambiguous() as verdict:
            return _pass_liveness(seen, judged, verdict, path)
        case _:
            assert_never(judged.verdict)


def turned(presence: Presence, track: int, *, passed: bool, touch: bool) -> tuple[Presence, FaceCommand | None]:
    """The presence once the challenge of this track ended."""
    challenged = presence.dialog
    if not isinstance(challenged, Challenged) or challenged.track != track:
        return presence, None
    free = replace(presence, dialog=None)
    if not passed:
        return _settled(free, track), AskCode(track=track)
    return _conclude(free, track, challenged.comparison, challenged.verdict, touch=touch)


def offered(presence: Presence, members: tuple[MemberId | None, ...]) -> Presence:
    """The presence once these stand behind the choices on the screen."""
    assert isinstance(presence.dialog, Choosing)
    return replace(presence, dialog=replace(presence.dialog, members=members))


def picked(presence: Presence, place: int | None) -> tuple[Presence, ServeFace | AskCode | None]:
    """The presence after a tap on the choice at this place, None for "none of these". There is one attempt."""
    choosing = presence.dialog
    if not isinstance(choosing, Choosing):
        return presence, None
    free = replace(presence, dialog=None)
    member = choosing.members[place] if place is not None and 0 <= place < len(choosing.members) else None
    if member is None:
        return free, AskCode(track=choosing.track)
    return free, ServeFace(track=choosing.track, member=member, comparison=choosing.comparison)


def face_gone(presence: Presence, track: int) -> tuple[Presence, bool]:
    """The presence without this face; True when a dialog with it is over."""
    if presence.dialog is None or presence.dialog.track != track:
        return presence, False
    return _settled(replace(presence, dialog=None), track), True


def dismissed(presence: Presence) -> Presence:
    """The presence once a dialog was left unanswered."""
    return presence if presence.dialog is None else face_gone(presence, presence.dialog.track)[0]


def code_accepted(presence: Presence) -> Presence:
    """The presence after a valid code: every face seen so far is left alone."""
    return replace(presence, dialog=None, ignored_to=presence.newest)


def disputed(presence: Presence, at_ns: int) -> Presence:
    """The presence after "that is not me": the same, and no other face counts for a while."""
    return replace(code_accepted(presence), quiet_until_ns=at_ns + QUIET_NS)


def new_eyes(presence: Presence) -> Presence:
    """The presence once `vision` is another process: it numbers its tracks anew."""
    return Presence(quiet_until_ns=presence.quiet_until_ns)


def _pass_liveness(
    presence: Presence, judged: Judged, verdict: Match | Ambiguous, path: FacePath
) -> tuple[Presence, FaceCommand | None]:
    track, comparison = judged.track, judged.comparison
    match path.liveness:
        case Liveness.NONE:
            return _conclude(presence, track, comparison, verdict, touch=path.touch)
        case Liveness.PASSIVE if judged.live is None:
            return presence, None  # looked at before `vision` heard that the policy asks for it
        case Liveness.PASSIVE:
            assert judged.live is not None
            if judged.live < LIVE_MIN:
                return _settled(presence, track), AskCode(track=track)
            return _conclude(presence, track, comparison, verdict, touch=path.touch)
        case Liveness.TURN:
            challenged = Challenged(track=track, comparison=comparison, verdict=verdict)
            return replace(presence, dialog=challenged), AskTurn(track=track)
        case _:
            assert_never(path.liveness)


def _conclude(
    presence: Presence, track: int, comparison: Comparison, verdict: Match | Ambiguous, *, touch: bool
) -> tuple[Presence, ServeFace | AskChoice | AskCode]:
    stay = _settled(presence, track)
    if isinstance(verdict, Match):
        return stay, ServeFace(track=track, member=verdict.member, comparison=comparison)
    if not touch:
        return stay, AskCode(track=track)
    choosing = Choosing(track=track, comparison=comparison)
    return replace(stay, dialog=choosing), AskChoice(track=track, members=verdict.members)


def _settled(presence: Presence, track: int) -> Presence:
    return replace(presence, settled=(*presence.settled, track)[-SETTLED_MAX:])
