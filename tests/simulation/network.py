"""The broker between kiosks and cloud: it acknowledges and may then lose, double, delay, garble or forget.

MQTT promises "at least once" between two neighbours and nothing across a broker that is restarted empty. A message
here has only the promise that the product may rely on: none.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random
from zlib import crc32

from cloud.broker.messages import Inbound, Outbound
from shared.ids import DeviceId
from shared.topics import Down, Up
from tests.simulation.clock import HOUR, MINUTE, MS, SECOND
from tests.simulation.plan import Faults
from tests.simulation.schedule import Action, Schedule
from tests.simulation.trace import Fault

HELD_MAX = 500  # messages kept for a kiosk that is away, and for a cloud that is
REDELIVERED_NS = 2 * SECOND

Receive = Callable[[Down, bytes], bool]


class Broker:
    """Carries messages. `faults` may be exchanged for none; `on_inbound` is called when something arrived."""

    def __init__(self, schedule: Schedule, random: Random, faults: Faults) -> None:
        self.faults = faults
        self.on_inbound: Callable[[Up], None] = lambda kind: None
        self._schedule = schedule
        self._random = random
        self._life = 0
        self._receivers: dict[DeviceId, Receive] = {}
        self._held: dict[DeviceId, deque[tuple[Down, bytes]]] = {}
        self._swallowed: set[DeviceId] = set()
        self._inbox: list[Inbound] = []

    def connect(self, device: DeviceId, receive: Receive) -> None:
        """The kiosk is there; what was kept for it follows."""
        self._receivers[device] = receive
        held = self._held.pop(device, None)
        for kind, data in held or ():
            self._carry_down(device, kind, data)

    def disconnect(self, device: DeviceId, will: bytes | None) -> None:
        """The kiosk is gone; its will is told unless it left in order."""
        if self._receivers.pop(device, None) is not None and will is not None:
            self._carry(lambda: self._arrive(Inbound(device=device, kind=Up.STATE, data=will)))

    def swallow(self, device: DeviceId, *, yes: bool) -> None:
        """From now on nothing passes to or from the kiosk, and it is not told so; or it is over."""
        if yes:
            self._swallowed.add(device)
        else:
            self._swallowed.discard(device)

    def publish(self, device: DeviceId, kind: Up, data: bytes) -> None:
        """A kiosk said this."""
        self._schedule.note(device[:6], f"> {kind} {len(data)} {crc32(data):08x}")
        if device not in self._swallowed:
            self._carry(lambda: self._arrive(Inbound(device=device, kind=kind, data=self._garbled(data))))

    def tell(self, message: Outbound) -> None:
        """The cloud said this."""
        self._carry_down(message.device, message.kind, message.data)

    def take(self, kinds: frozenset[Up]) -> list[Inbound]:
        """What has arrived for the cloud, of these kinds."""
        taken = [message for message in self._inbox if message.kind in kinds]
        self._inbox = [message for message in self._inbox if message.kind not in kinds]
        return taken

    def give_back(self, messages: list[Inbound]) -> None:
        """The cloud did not acknowledge these: they come again, in any order."""
        for message in messages:
            self._in(self._random.randint(MS, REDELIVERED_NS), partial(self._arrive, message))

    def calm(self) -> None:
        """Nothing goes wrong any more."""
        self.faults = Faults()
        self._swallowed.clear()

    def lose_all(self) -> None:
        """Restarted with an empty store: what was on its way or kept is gone."""
        self._life += 1
        self._inbox.clear()
        self._held.clear()

    def _carry_down(self, device: DeviceId, kind: Down, data: bytes) -> None:
        self._carry(lambda: self._deliver(device, kind, self._garbled(data)))

    def _arrive(self, message: Inbound) -> None:
        if len(self._inbox) < HELD_MAX:
            self._inbox.append(message)
            self.on_inbound(message.kind)

    def _deliver(self, device: DeviceId, kind: Down, data: bytes) -> None:
        if device in self._swallowed:
            return
        receive = self._receivers.get(device)
        if receive is None or not receive(kind, data):
            held = self._held.setdefault(device, deque(maxlen=HELD_MAX))
            held.append((kind, data))

    def _carry(self, deliver: Action) -> None:
        faults, random = self.faults, self._random
        if random.random() < faults.lost:
            self._schedule.fault(Fault.LOST, "broker", "")
            return
        self._in(self._delay_ns(), deliver)
        if random.random() < faults.doubled:
            self._schedule.fault(Fault.DOUBLED, "broker", "")
            self._in(self._delay_ns(), deliver)

    def _delay_ns(self) -> int:
        faults, draw = self.faults, self._random.random()
        if draw < faults.stale:
            self._schedule.fault(Fault.STALE, "broker", "")
            return self._random.randint(10 * MINUTE, 8 * HOUR)
        if draw < faults.stale + faults.delayed:
            self._schedule.fault(Fault.DELAYED, "broker", "")
            return self._random.randint(SECOND, 40 * SECOND)
        return self._random.randint(2 * MS, 120 * MS)

    def _in(self, delay_ns: int, deliver: Action) -> None:
        life = self._life

        def arrive() -> None:
            if life == self._life:
                deliver()

        self._schedule.after(delay_ns, arrive)

    def _garbled(self, data: bytes) -> bytes:
        if self._random.random() >= self.faults.garbled:
            return data
        self._schedule.fault(Fault.GARBLED, "broker", "")
        place = self._random.randrange(len(data))
        return data[:place] + bytes([data[place] ^ (1 << self._random.randrange(8))]) + data[place + 1 :]
