"""The network of a store: what its kiosks ask each other arrives, or is lost, or nobody is there.

Who is on the other end is not simulated: that is proved with real TLS elsewhere. An island is a part of a store whose
kiosks hear each other and nobody else.
"""

from random import Random
from typing import Protocol

from edge.channel.messages import PeerAnswered, PeerAsked, PeersAsked, PeersHeard, PeersTold, PeerWord, ToLink
from edge.core.lan import LanAnswer, RightTold
from shared.ids import DeviceId
from tests.simulation.clock import MS
from tests.simulation.schedule import Action, Schedule
from tests.simulation.trace import Fault

LATENCY_NS = (2 * MS, 80 * MS)
SILENCE_NS = 800 * MS  # after which `link` gives a kiosk up
FIRST_ISLAND = 0


class Station(Protocol):
    """A kiosk as its neighbours reach it."""

    def answer_peer(self, asked: PeerAsked) -> PeerAnswered | None:
        """What it answers, None when it is off or dies of it."""
        ...

    def hear_peers(self, heard: PeersHeard) -> None:
        """What came of its question."""
        ...


class Lan:
    """All stores' networks. `lost` is how likely an answer does not come back."""

    def __init__(self, schedule: Schedule, random: Random, lost: float) -> None:
        self.lost = lost
        self._schedule = schedule
        self._random = random
        self._stations: dict[DeviceId, Station] = {}
        self._islands: dict[DeviceId, int] = {}
        self._newest_island = FIRST_ISLAND

    def join(self, device: DeviceId, station: Station) -> None:
        """The kiosk is plugged in."""
        self._stations[device] = station

    def cut(self, device: DeviceId) -> None:
        """The kiosk is alone."""
        self._newest_island += 1
        self._islands[device] = self._newest_island

    def mend(self, device: DeviceId) -> None:
        """The kiosk hears its store again."""
        self._islands.pop(device, None)

    def calm(self) -> None:
        """Nothing goes wrong any more."""
        self.lost = 0.0
        self._islands.clear()

    def ask(self, device: DeviceId, asked: PeersAsked) -> None:
        """The kiosks are asked one after the other, as `link` does it."""
        self._ask_next(device, asked, asked.peers, ())

    def _ask_next(
        self, device: DeviceId, asked: PeersAsked, left: tuple[str, ...], words: tuple[PeerWord, ...]
    ) -> None:
        if not left:
            self._tell(device, asked, words)
            return
        other = DeviceId(left[0])
        if not self._hears(device, other):
            self._later(SILENCE_NS, lambda: self._tell(device, asked, words))
            return

        def arrive() -> None:
            self._answered(device, asked, left, words, self._answer_of(device, other, asked))

        self._later(self._random.randint(*LATENCY_NS), arrive)

    def _answer_of(self, device: DeviceId, other: DeviceId, asked: PeersAsked) -> LanAnswer | None:
        """What the other kiosk answers, None when it does not or the answer is lost."""
        if not self._hears(device, other):
            return None
        told = self._stations[other].answer_peer(PeerAsked(number=1, device=device, question=asked.question))
        if told is None or self._random.random() < self.lost:
            self._schedule.fault(Fault.LAN_LOST, other[:6], "")
            return None
        return told.answer

    def _answered(
        self,
        device: DeviceId,
        asked: PeersAsked,
        left: tuple[str, ...],
        words: tuple[PeerWord, ...],
        answer: LanAnswer | None,
    ) -> None:
        if answer is None:
            self._later(SILENCE_NS, lambda: self._tell(device, asked, words))
            return
        heard = (*words, PeerWord(device=left[0], answer=answer))
        is_refused = isinstance(answer, RightTold) and answer.holder != device
        rest = () if is_refused else left[1:]
        self._later(self._random.randint(*LATENCY_NS), lambda: self._ask_next(device, asked, rest, heard))

    def _tell(self, device: DeviceId, asked: PeersAsked, words: tuple[PeerWord, ...]) -> None:
        self._stations[device].hear_peers(PeersHeard(number=asked.number, words=words))

    def _hears(self, one: DeviceId, other: DeviceId) -> bool:
        islands = self._islands
        return other in self._stations and islands.get(one, FIRST_ISLAND) == islands.get(other, FIRST_ISLAND)

    def _later(self, delay_ns: int, action: Action) -> None:
        self._schedule.after(delay_ns, action)


class LanPort:
    """The agent's line to its store's other kiosks. Whom `link` is told of is kept for the checkers."""

    def __init__(self, device: DeviceId, lan: Lan) -> None:
        self._device = device
        self._lan = lan

    def tell(self, message: ToLink) -> None:
        """Asks, or takes note."""
        match message:
            case PeersAsked():
                self._lan.ask(self._device, message)
            case PeersTold() | PeerAnswered():
                return
