"""Who may be offered what about being recognised by face, after a code was accepted.

A face is learnt for a member only after a fresh code of their phone: a card may be found, and a stranger with it would
put their own face in the member's place, for good. With a card a member can still be served, and can have their face
forgotten. Staff who know the member can let a face be learnt at the command line.
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.policy import Means


class Invitation(StrEnum):
    """NOTHING; ASK whether they want to be recognised; LEARN at once, the consent was given on the member's page;
    FORGET: offer to forget the face that is held."""

    NOTHING = "nothing"
    ASK = "ask"
    LEARN = "learn"
    FORGET = "forget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """What is known of somebody whose code was accepted.

    `fresh` unless the code is a copy of one that counted before. `consents` when the consent to the present text is in
    force. `held` when a template is.
    """

    means: Means
    fresh: bool
    consents: bool
    held: bool


def invite(visitor: Visitor, *, looking: bool, touch: bool) -> Invitation:
    """What to offer, while faces are looked at or not (`looking`) and the screen can be tapped or not."""
    if visitor.held:
        return Invitation.FORGET if touch else Invitation.NOTHING
    if not looking or visitor.means is not Means.PHONE or not visitor.fresh:
        return Invitation.NOTHING
    if visitor.consents:
        return Invitation.LEARN
    return Invitation.ASK if touch else Invitation.NOTHING
