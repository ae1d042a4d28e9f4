"""What the parts of the agent ask of the whole: to show, to rest, to send what was written."""

from typing import Protocol

from edge.core.screen import Screen, ScreenName
from edge.flow.admit import Admission
from edge.flow.entrance import Moment
from edge.flow.neighbours import Then
from shared.ids import MemberId
from shared.policy import Means


class Stage(Protocol):
    """The agent as its parts see it."""

    @property
    def screen(self) -> Screen | None:
        """The screen that is on for its time, None while the kiosk rests."""
        ...

    def show(self, screen: Screen) -> None:
        """Replaces what is shown."""
        ...

    def rest(self, *names: ScreenName) -> None:
        """The kiosk rests, if one of these screens is on."""
        ...

    def admit(self, admission: Admission) -> None:
        """A member was served: what was written is sent, and the screen shown."""
        ...

    def ask(self, member: MemberId, means: Means, moment: Moment, then: Then) -> None:
        """Does what follows: now, or once the kiosks that have a say about the member's coupon have answered."""
        ...

    def wrote(self) -> None:
        """Facts were committed: they are on their way."""
        ...

    def behind(self) -> None:
        """The cloud is to be told soon what this device holds."""
        ...
