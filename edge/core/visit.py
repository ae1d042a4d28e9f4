"""One stay at the entrance: which codes in view are new, and which are the same hand held still.

A code counts once for as long as it stays in view and shortly after; it counts again only after the view was clear
of it. A phone that turns to its next step in the same hand is still the same stay. Five codes that were not
accepted within half a minute close the door to further codes for ten seconds.
"""

from dataclasses import dataclass, replace

from shared.ids import MemberId

FORGET_AFTER_NS = 1_500_000_000  # out of view this long: the next showing is a new one
FAILURES_MAX = 5
FAILURE_WINDOW_NS = 30_000_000_000
CLOSED_FOR_NS = 10_000_000_000
IN_VIEW_MAX = 16  # codes remembered at once; a frame holds at most eight


@dataclass(frozen=True, slots=True, kw_only=True)
class InView:
    """A text that was in view, and when it was last."""

    text: str
    seen_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """The state of the stay. Times are monotonic nanoseconds."""

    in_view: tuple[InView, ...] = ()
    member: MemberId | None = None
    member_seen_ns: int = 0
    failures_ns: tuple[int, ...] = ()
    closed_until_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """The command to judge these texts: all that are in view, at least one of them new."""

    texts: tuple[str, ...]


def see_codes(visit: Visit, texts: tuple[str, ...], at_ns: int) -> tuple[Visit, Judge | None]:
    """The stay after a frame with these texts, and what is to be judged, if anything."""
    remembered = tuple(code for code in visit.in_view if at_ns - code.seen_ns <= FORGET_AFTER_NS)
    known = {code.text for code in remembered}
    fresh = any(text not in known for text in texts)
    kept = tuple(code for code in remembered if code.text not in texts)
    seen = tuple(InView(text=text, seen_ns=at_ns) for text in texts)
    closed = at_ns < visit.closed_until_ns
    # Behind a closed door nothing is remembered, so that a code still held up when it opens is judged then.
    stay = replace(visit, in_view=remembered if closed else (seen + kept)[:IN_VIEW_MAX])
    if visit.member is not None and at_ns - visit.member_seen_ns > FORGET_AFTER_NS:
        stay = replace(stay, member=None)
    elif visit.member is not None:
        stay = replace(stay, member_seen_ns=at_ns)
    if not fresh or closed:
        return stay, None
    return stay, Judge(texts=texts)


def recognised(visit: Visit, member: MemberId, at_ns: int) -> Visit:
    """The stay once its member is known."""
    return replace(visit, member=member, member_seen_ns=at_ns)


def is_same_stay(visit: Visit, member: MemberId) -> bool:
    """True when this member was already served in this stay: a new step of the same phone changes nothing."""
    return visit.member == member


def not_accepted(visit: Visit, at_ns: int) -> Visit:
    """The stay after a code that was not accepted; the fifth within the window closes the door for a while."""
    recent = (*(at for at in visit.failures_ns if at_ns - at <= FAILURE_WINDOW_NS), at_ns)
    if len(recent) < FAILURES_MAX:
        return replace(visit, failures_ns=recent)
    return replace(visit, failures_ns=(), closed_until_ns=at_ns + CLOSED_FOR_NS)
