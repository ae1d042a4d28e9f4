"""One kiosk: the product's agent on a machine that loses its power, its link process and its line."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

from edge.channel.messages import PeerAnswered, PeerAsked, PeersHeard
from edge.core.screen import Screen, ScreenName, Status
from edge.db.database import Database
from edge.errors import StorageFull
from edge.flow.agent import Agent
from edge.flow.entrance import Entrance
from edge.ports import Link
from shared.instants import InstantOutcome
from shared.topics import Down, Up
from tests.simulation.clock import HOUR, MINUTE, SECOND, MachineClock
from tests.simulation.lan import Lan, LanPort
from tests.simulation.network import Broker
from tests.simulation.power import Fuse, FusedDatabase, PowerCut
from tests.simulation.prepared import Identity, Prepared
from tests.simulation.schedule import Action, Schedule
from tests.simulation.trace import Fault

TICKS_NS = (SECOND, 8 * SECOND, MINUTE, 12 * HOUR)
"""Pauses between ticks since something last happened. The product ticks every second; a kiosk that is content has
nothing to do in between, and one that waits for something goes on every minute."""

TICKS_WAITING = 3


class Watcher(Protocol):
    """Who looks at every screen while it changes."""

    def shown(self, kiosk: "Kiosk", screen: Screen) -> None:
        """The screen changed to this. Raises: Violation."""
        ...


class Line:
    """The link port: to the broker while the line is up."""

    def __init__(self, identity: Identity, broker: Broker, fuse: Fuse) -> None:
        self._identity = identity
        self._broker = broker
        self._fuse = fuse
        self.is_up = False

    def publish(self, kind: Up, data: bytes) -> None:
        """Sends, or drops when there is no connection."""
        self._fuse.touch("before a message")
        if self.is_up:
            self._broker.publish(self._identity.device, kind, data)


class Glass:
    """The display port: what members see is watched and counted."""

    def __init__(self, kiosk: "Kiosk", watcher: Watcher) -> None:
        self._kiosk = kiosk
        self._watcher = watcher

    def show(self, screen: Screen, status: Status, seconds: float) -> None:
        """Replaces what is shown."""
        self._kiosk.fuse.touch("before the screen")
        self._kiosk.status = status
        if screen != self._kiosk.screen:
            self._kiosk.screen = screen
            self._kiosk.note(f"[{screen.name}] {screen.points or ''}")
            if screen.name is ScreenName.EXHAUSTED:
                self._kiosk.ran_dry()
            if screen.coupon is InstantOutcome.DEFERRED:
                self._kiosk.deferred()
        self._watcher.shown(self._kiosk, screen)
        self._kiosk.fuse.touch("after the screen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an agent is made with; a broken variant puts something of its own in between."""

    database: Callable[[Path, Fuse], Database] = FusedDatabase
    link: Callable[["Kiosk", Link], Link] = lambda kiosk, line: line


@dataclass(slots=True, kw_only=True)
class Machine:
    """What does not change between two boots of a kiosk."""

    name: str
    identity: Identity
    schedule: Schedule
    broker: Broker
    random: Random
    prepared: Prepared
    watcher: Watcher
    lan: Lan
    parts: Parts = field(default_factory=Parts)


class Kiosk:
    """A kiosk from its first boot on. `shown` holds the claims it ever greeted somebody with, and their points."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.name = machine.name
        self.identity = machine.identity
        self.random = machine.random
        self.path = machine.prepared.new_kiosk_file(machine.name)
        self.clock = MachineClock(machine.schedule.time, machine.random)
        self.fuse = Fuse()
        self.line = Line(machine.identity, machine.broker, self.fuse)
        self.glass = Glass(self, machine.watcher)
        self.screen: Screen | None = None
        self.status: Status | None = None
        self.shown: dict[bytes, int] = {}
        self.agent: Agent | None = None
        self.database: Database = machine.parts.database(self.path, self.fuse)
        self.is_cut_off = False
        self.is_revoked = False
        self.is_shut_out = False
        self._will: bytes | None = None
        self._never_rests = False
        self._life = 0
        self._ticks = 0
        self._tick_planned = 0
        machine.lan.join(self.identity.device, self)
        self.observer = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, isolation_level=None)
        self.observer.row_factory = sqlite3.Row

    def start(self) -> None:
        """Its first boot."""
        self._boot()

    def close(self) -> None:
        """Lets go of the files."""
        self.observer.close()
        self.database.close()

    def note(self, what: str) -> None:
        """A line for the trace."""
        self._machine.schedule.note(self.name, what)

    def ran_dry(self) -> None:
        """A member got nothing because nothing was left to grant."""
        self._machine.schedule.fault(Fault.RAN_DRY, self.name, "")

    def deferred(self) -> None:
        """A member was told that their coupon will be confirmed."""
        self._machine.schedule.fault(Fault.DEFERRED, self.name, "")

    @property
    def is_on(self) -> bool:
        """True while its agent runs."""
        return self.agent is not None

    # --- what happens to it -----------------------------------------------------------------------------------------

    def see(self, texts: tuple[str, ...]) -> None:
        """A frame held these codes."""
        self._tick_soon()
        self._run(lambda agent: agent.see_codes(texts, self.clock.monotonic_ns))

    def hear(self, kind: Down, data: bytes) -> bool:
        """A message arrived; False when it is to come again."""
        took = False

        def take(agent: Agent) -> None:
            nonlocal took
            took = agent.hear(kind, data)

        return self._run(take) and took

    def answer_peer(self, asked: PeerAsked) -> PeerAnswered | None:
        """What it answers a kiosk of its store, None when it is off or dies of it."""
        told: PeerAnswered | None = None

        def answer(agent: Agent) -> None:
            nonlocal told
            told = agent.answer_peer(asked)

        return told if self._run(answer) else None

    def hear_peers(self, heard: PeersHeard) -> None:
        """Kiosks of its store answered."""
        self._run(lambda agent: agent.hear_peers(heard))

    def later(self, delay_ns: int, action: Action) -> None:
        """The action happens so much later, unless the agent's process ends before."""
        self._machine.schedule.after(delay_ns, self._in_this_life(action))

    def lose_power(self, point: str, *, off_ns: int) -> None:
        """Whatever it was doing is over; it boots again after a while."""
        self._die(Fault.POWER_CUT, point)
        self._machine.schedule.after(off_ns, self._in_this_life(self._reboot))

    def kill_agent(self, point: str) -> None:
        """The agent's process ends at once and is started again by whoever watches it."""
        self._die(Fault.PROCESS_KILLED, point)
        self._machine.schedule.after(self.random.randint(SECOND // 5, 3 * SECOND), self._in_this_life(self._boot))

    def kill_link(self) -> None:
        """The link process ends and is started again; to the agent that is a new session."""
        self._machine.schedule.fault(Fault.LINK_KILLED, self.name, "")
        self.lose_line()
        self._will = None
        self.seek_line()

    def lose_line(self) -> None:
        """The broker is not reachable any more, and the kiosk knows it."""
        if self.line.is_up:
            self.line.is_up = False
            self._machine.broker.disconnect(self.identity.device, self._will)
            self._run(Agent.line_down)

    def seek_line(self) -> None:
        """Tries to reach the broker soon."""
        self._machine.schedule.after(self.random.randint(SECOND // 10, 5 * SECOND), self._in_this_life(self._connect))

    def shut_out(self) -> None:
        """The broker does not let it in any more, for good."""
        self.is_shut_out = self.is_cut_off = True
        self.lose_line()

    def restore(self) -> None:
        """Everything about it works from now on."""
        self.fuse.disarm()
        self.fuse.disk_full = False
        self.is_cut_off = self.is_shut_out
        self._never_rests = True
        if self.agent is None:
            self._reboot()
        self.seek_line()
        self._tick_soon()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _run(self, action: Callable[[Agent], object]) -> bool:
        """True when the agent lived through it."""
        if self.agent is None:
            return False
        try:
            action(self.agent)
        except PowerCut as cut:
            if self.random.random() < 0.5:
                self.lose_power(cut.point, off_ns=self.random.randint(2 * SECOND, 40 * MINUTE))
            else:
                self.kill_agent(cut.point)
            return False
        return True

    def _die(self, fault: Fault, point: str) -> None:
        self._machine.schedule.fault(fault, self.name, point)
        self._life += 1
        self.agent = None
        if self.line.is_up:
            self.line.is_up = False
            self._machine.broker.disconnect(self.identity.device, self._will)
        self._will = None
        self.database.close()

    def _reboot(self) -> None:
        self.clock.boot()
        self._boot()

    def _boot(self) -> None:
        machine = self._machine
        self._life += 1  # whatever else was to start it again is too late
        self.screen = self.status = None
        self.database.open(self.random.randbytes(16))
        self.agent = Agent(
            Entrance(
                device=self.identity.device,
                signing_key=self.identity.signing_key,
                root_key=machine.prepared.root_key.public_key(),
                database=self.database,
                clock=self.clock,
                link=machine.parts.link(self, self.line),
                display=self.glass,
                random_bytes=self.random.randbytes,
                random_unit=self.random.random,
                software="simulated",
                lan=LanPort(self.identity.device, machine.lan),
                lan_address=f"{self.name}:8446",
            )
        )
        self.note("boots")
        if self._run(Agent.start):
            self.seek_line()
            self._tick_soon()

    def _connect(self) -> None:
        if self.agent is None or self.line.is_up or self.is_cut_off:
            return
        if self._will is None and not self._start_link(self.agent):
            return
        self.line.is_up = True
        self.note("line up")
        self._machine.broker.connect(self.identity.device, self.hear)
        self._run(Agent.line_up)
        self._tick_soon()

    def _start_link(self, agent: Agent) -> bool:
        """True when the agent gave the new link process its will."""

        def ask(agent: Agent) -> None:
            self._will = agent.link_starts()

        try:
            return self._run(ask)
        except StorageFull:  # the link process finds its agent gone, and tries again
            self.seek_line()
            return False

    def _tick_soon(self) -> None:
        self._ticks = 0
        self._plan_tick()

    def _plan_tick(self) -> None:
        self._tick_planned += 1
        number = self._tick_planned

        def tick() -> None:
            if number == self._tick_planned and self._run(Agent.tick):
                self._ticks += 1
                self._plan_tick()

        pauses = TICKS_NS[:TICKS_WAITING] if self._is_waiting() else TICKS_NS
        self._machine.schedule.after(pauses[min(self._ticks, len(pauses) - 1)], self._in_this_life(tick))

    def _is_waiting(self) -> bool:
        """True while a tick may bring something: envelopes to send again, the time to ask for."""
        status = self.status
        if status is None or not status.online:
            return False
        return self._never_rests or status.waiting > 0 or not status.clock_trusted

    def _in_this_life(self, action: Action) -> Action:
        life = self._life

        def act() -> None:
            if life == self._life:
                action()

        return act


def claim_of(screen: Screen) -> bytes | None:
    """The claim that the screen tells a member of, when it tells of one."""
    if screen.name not in (ScreenName.GREETING, ScreenName.COLLECTED) or screen.claim is None:
        return None
    return bytes.fromhex(screen.claim)
