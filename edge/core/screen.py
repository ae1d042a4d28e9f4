"""What the kiosk may show, as a closed set. The page decides how it looks; nothing here is text for people."""

from dataclasses import dataclass, replace
from enum import StrEnum

from shared.instants import InstantOutcome


class ScreenName(StrEnum):
    """Every state of the screen.

    IDLE: the invitation and the privacy notice. GREETING: points were granted. COLLECTED: today's were granted before.
    INVALID: the one answer to every code that is not accepted. WRONG_TIME: the phone's clock is off.
    ONE_CODE: two members' codes at once. NOTED: time unknown, points follow. EXHAUSTED: nothing left to grant today.
    PAUSED: this kiosk may not grant (revoked, no epoch yet, no policy yet). FAULT: a person is needed.
    SHOW_CODE: the face alone does not settle it, the code will. CHOOSE: tap your nickname among these. TURN: turn your
    head to a side. CONSENT: the biometric text, to agree to or not. ENROL: how to stand while the face is learnt.
    ENROLLED: it was. NOT_ENROLLED: it was not, and why. FORGOTTEN: the face was deleted here. JOIN_GROUP: this kiosk's
    request, as a code for a kiosk of the store's group. ADMITTED: a new kiosk's request was taken here. INTRODUCE: this
    group's introduction, as a code for a kiosk of another store. INTRODUCED: another store's was taken here.
    """

    IDLE = "idle"
    GREETING = "greeting"
    COLLECTED = "collected"
    INVALID = "invalid"
    WRONG_TIME = "wrong_time"
    ONE_CODE = "one_code"
    NOTED = "noted"
    EXHAUSTED = "exhausted"
    PAUSED = "paused"
    FAULT = "fault"
    SHOW_CODE = "show_code"
    CHOOSE = "choose"
    TURN = "turn"
    CONSENT = "consent"
    ENROL = "enrol"
    ENROLLED = "enrolled"
    NOT_ENROLLED = "not_enrolled"
    FORGOTTEN = "forgotten"
    JOIN_GROUP = "join_group"
    ADMITTED = "admitted"
    INTRODUCE = "introduce"
    INTRODUCED = "introduced"


class FaultName(StrEnum):
    """What a fault screen is about; staff read it, members are asked to come back later."""

    CAMERA = "camera"
    STORAGE = "storage"


class Offer(StrEnum):
    """What a member may tap. NOT_ME undoes a greeting; the others begin or end being recognised by face."""

    NOT_ME = "not_me"
    RECOGNISE_ME = "recognise_me"
    FORGET_ME = "forget_me"
    AGREE = "agree"
    DECLINE = "decline"
    PICK = "pick"


class StandHint(StrEnum):
    """How to stand while the face is learnt; the first that applies."""

    COME = "come"
    ALONE = "alone"
    CLOSER = "closer"
    BACK = "back"
    CENTRE = "centre"
    LOOK = "look"
    LIGHT = "light"
    STILL = "still"
    GOOD = "good"


class EnrolRefusal(StrEnum):
    """Why a face was not learnt.

    NOBODY: no good frames in time. ANOTHERS: it is another member's already. NOT_FOUND_AGAIN: the new template did not
    find the face it was made of. NO_GROUP: this kiosk has no secret of its store's group yet. FULL: the gallery is.
    """

    NOBODY = "nobody"
    ANOTHERS = "anothers"
    NOT_FOUND_AGAIN = "not_found_again"
    NO_GROUP = "no_group"
    FULL = "full"


class Side(StrEnum):
    """To which side a head is turned, as the person sees it."""

    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """One state of the screen with what it says.

    `nickname` as the member chose it, None when unknown. `points` granted now (GREETING) or earlier today (COLLECTED).
    `balance` the member's balance including points not yet confirmed, None when unknown. `phone_ahead_s` the phone
    clock's offset (WRONG_TIME). `language` an IETF tag or None for the kiosk's own. `claim` hex, on GREETING and
    COLLECTED, lets a test compare what was shown with what is stored. `offers` are what may be tapped, empty without a
    touch screen. `choices` masked nicknames (CHOOSE), picked by place. `side` where to turn (TURN). `hint`, `taken` of
    `wanted` frames (ENROL). `refusal` why not (NOT_ENROLLED). `text_version` of the words to agree to (CONSENT). `code`
    the text of a QR code to show (JOIN_GROUP, INTRODUCE; on GREETING the member's receipt, while there is no line; with
    a coupon, on GREETING and COLLECTED, the coupon's, which comes first). `coupon` says what became of the coupon that
    came with the claim, `label` what it is good for in the merchant's words; None when there is none. `confirmed` is
    the label of an earlier coupon that was deferred and is confirmed now.
    """

    name: ScreenName
    nickname: str | None = None
    language: str | None = None
    points: int | None = None
    balance: int | None = None
    unit: str | None = None
    phone_ahead_s: int | None = None
    fault: FaultName | None = None
    claim: str | None = None
    offers: tuple[Offer, ...] = ()
    choices: tuple[str, ...] = ()
    side: Side | None = None
    hint: StandHint | None = None
    taken: int = 0
    wanted: int = 0
    refusal: EnrolRefusal | None = None
    text_version: int | None = None
    code: str | None = None
    coupon: InstantOutcome | None = None
    label: str | None = None
    confirmed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What stands beside every screen: whether the cloud is reachable and how many claims wait for it.

    `faces` while faces are looked for, which the privacy notice must say.
    """

    online: bool
    waiting: int
    store_name: str
    camera_live: bool
    clock_trusted: bool
    faces: bool = False


def is_same_dialog(one: Screen, other: Screen) -> bool:
    """True when a tap meant for one is good for the other: they differ at most in how far learning a face has come."""
    return replace(one, hint=None, taken=0, wanted=0) == replace(other, hint=None, taken=0, wanted=0)
