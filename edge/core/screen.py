"""What the kiosk may show, as a closed set. The page decides how it looks; nothing here is text for people."""

from dataclasses import dataclass
from enum import StrEnum


class ScreenName(StrEnum):
    """Every state of the screen.

    IDLE: the invitation and the privacy notice. GREETING: points were granted. COLLECTED: today's were granted before.
    INVALID: the one answer to every code that is not accepted. WRONG_TIME: the phone's clock is off.
    ONE_CODE: two members' codes at once. NOTED: time unknown, points follow. EXHAUSTED: nothing left to grant today.
    PAUSED: this kiosk may not grant (revoked, no epoch yet, no policy yet). FAULT: a person is needed.
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


class FaultName(StrEnum):
    """What a fault screen is about; staff read it, members are asked to come back later."""

    CAMERA = "camera"
    STORAGE = "storage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """One state of the screen with what it says.

    `nickname` as the member chose it, None when unknown. `points` granted now (GREETING) or earlier today (COLLECTED).
    `balance` the member's balance including points not yet confirmed, None when unknown. `phone_ahead_s` the phone
    clock's offset (WRONG_TIME). `language` an IETF tag or None for the kiosk's own. `claim` hex, on GREETING and
    COLLECTED, lets a test compare what was shown with what is stored.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What stands beside every screen: whether the cloud is reachable and how many claims wait for it."""

    online: bool
    waiting: int
    store_name: str
    camera_live: bool
    clock_trusted: bool
