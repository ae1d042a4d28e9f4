"""What goes wrong with machines and lines, planned day by day from the rates of the seed."""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from zoneinfo import ZoneInfo

from edge.db import knowledge
from tests.simulation.clock import DAY, HOUR, MINUTE, SECOND
from tests.simulation.cloud import Cloud
from tests.simulation.kiosk import Kiosk
from tests.simulation.lan import Lan
from tests.simulation.network import Broker
from tests.simulation.plan import Plan, poisson
from tests.simulation.schedule import Schedule
from tests.simulation.trace import Fault
from tests.simulation.workload import RUSH_HOURS

OFF_NS = (2 * SECOND, 40 * MINUTE)
BACK_NS = (2 * SECOND, 2 * MINUTE)
CUT_OFF_NS = (30 * SECOND, 10 * HOUR)
BLACK_HOLE_NS = (10 * SECOND, 5 * MINUTE)
FULL_NS = (10 * SECOND, 30 * MINUTE)
AWAY_NS = (5 * SECOND, 90 * MINUTE)
OPERATIONS_MAX = 12  # between the arming of a fuse and its burning: one visit touches about six
STEPS_MS = (-3 * 86_400_000, -86_400_000, -3_600_000, -90_000, -4000, 4000, 200_000, 3_600_000, 86_400_000)
KERNEL_OFF_MS = (0, 0, 0, 40, -300, 5000, -60_000, 250_000, 86_400_000, -86_400_000)


class Misfortune:
    """Plans faults and lets them happen, until it is over."""

    def __init__(
        self, schedule: Schedule, plan: Plan, broker: Broker, lan: Lan, cloud: Cloud, kiosks: Sequence[Kiosk]
    ) -> None:
        self.is_over = False
        self._schedule = schedule
        self._plan = plan
        self._broker = broker
        self._lan = lan
        self._cloud = cloud
        self._kiosks = kiosks
        self._random = Random(f"faults {plan.seed}")
        self._lan_random = Random(f"lan faults {plan.seed}")

    def plan_day(self, start_ns: int) -> None:
        """What goes wrong within a day from `start_ns`."""
        faults = self._plan.faults
        for kiosk in self._kiosks:
            for rate, happen in (
                (faults.partitions, self._partition),
                (faults.black_holes, self._swallow),
                (faults.power_cuts, self._cut_power),
                (faults.process_kills, self._kill),
                (faults.link_kills, Kiosk.kill_link),
                (faults.full_disks, self._fill_disk),
                (faults.clock_steps, self._step_clock),
                (faults.kernel_times, self._set_kernel_time),
            ):
                self._plan_kind(start_ns, rate, partial(happen, kiosk))
            for _ in range(poisson(self._lan_random, faults.lan_partitions)):
                self._schedule.at(start_ns + self._moment_ns(), self._unless_over(partial(self._cut_lan, kiosk)))
        for _ in range(poisson(self._lan_random, faults.hub_deaths)):
            self._schedule.at(start_ns + self._moment_ns(), self._unless_over(self._kill_hub))
        self._plan_kind(start_ns, faults.blackouts, self._black_out)
        self._plan_kind(start_ns, faults.broker_empties, self._empty_broker)
        self._plan_kind(start_ns, faults.cloud_aways, lambda: self._cloud.leave(self._between(AWAY_NS)))

    def plan_quiet(self, start_ns: int, days: int) -> Kiosk:
        """The one kiosk that hears nothing for so many days, and some hours more."""
        lonely = self._random.choice(self._kiosks)

        def begin() -> None:
            self._schedule.fault(Fault.QUIET_WEEKS, lonely.name, f"{days} days")
            self._cut_off(lonely, (days * DAY, days * DAY + 12 * HOUR))

        self._schedule.at(start_ns, begin)
        return lonely

    def _plan_kind(self, start_ns: int, rate: float, happen: Callable[[], None]) -> None:
        for _ in range(poisson(self._random, rate)):
            self._schedule.at(start_ns + self._moment_ns(), self._unless_over(happen))

    def _moment_ns(self) -> int:
        """A time of the world's day: mostly shortly before or within a rush, where a fault finds something to break."""
        if self._random.random() < 0.3:
            return self._random.randrange(DAY)
        rush_h = self._random.choice(RUSH_HOURS) + self._random.uniform(-0.3, 0.1)
        zone_h = self._schedule.time.start.astimezone(ZoneInfo("Europe/Rome")).hour
        return int((rush_h - zone_h) * HOUR)

    def _unless_over(self, happen: Callable[[], None]) -> Callable[[], None]:
        return lambda: None if self.is_over else happen()

    def _between(self, bounds: tuple[int, int]) -> int:
        """Anything between the bounds, short times as likely as long ones."""
        low, high = bounds
        return int(low * (high / low) ** self._random.random())

    # --- lines ------------------------------------------------------------------------------------------------------

    def _partition(self, kiosk: Kiosk) -> None:
        self._cut_off(kiosk, CUT_OFF_NS)

    def _cut_off(self, kiosk: Kiosk, bounds: tuple[int, int]) -> None:
        if kiosk.is_cut_off:
            return
        for_ns = self._between(bounds)
        self._schedule.fault(Fault.PARTITION, kiosk.name, f"for {for_ns // SECOND} s")
        kiosk.is_cut_off = True
        kiosk.lose_line()

        def rejoin() -> None:
            kiosk.is_cut_off = kiosk.is_shut_out
            kiosk.seek_line()

        self._schedule.after(for_ns, self._unless_over(rejoin))

    def _swallow(self, kiosk: Kiosk) -> None:
        """For a while nothing passes; then the line's own watchdog gives it up and connects anew."""
        device = kiosk.identity.device
        self._schedule.fault(Fault.BLACK_HOLE, kiosk.name, "")
        self._broker.swallow(device, yes=True)

        def notice() -> None:
            self._broker.swallow(device, yes=False)
            kiosk.lose_line()
            kiosk.seek_line()

        self._schedule.after(self._between(BLACK_HOLE_NS), notice)

    def _empty_broker(self) -> None:
        self._schedule.fault(Fault.BROKER_EMPTIED, "broker", "")
        self._broker.lose_all()
        for kiosk in self._kiosks:
            kiosk.lose_line()
            kiosk.seek_line()

    def _cut_lan(self, kiosk: Kiosk) -> None:
        """The kiosk hears the store's other kiosks no more, whatever it hears of the cloud."""
        device = kiosk.identity.device
        self._schedule.fault(Fault.LAN_PARTITION, kiosk.name, "")
        self._lan.cut(device)
        self._schedule.after(self._between(CUT_OFF_NS), self._unless_over(lambda: self._lan.mend(device)))

    def _kill_hub(self) -> None:
        """Whoever leads its store is off for hours."""
        for kiosk in self._kiosks:
            page = knowledge.store_page(kiosk.observer)
            if kiosk.is_on and page is not None and page.hub is not None and page.hub.device == kiosk.identity.device:
                self._schedule.fault(Fault.HUB_DEATH, kiosk.name, "")
                kiosk.lose_power("as the hub", off_ns=self._between(CUT_OFF_NS))
                return

    # --- machines ---------------------------------------------------------------------------------------------------

    def _cut_power(self, kiosk: Kiosk) -> None:
        """At once, or in the midst of what the kiosk does next."""
        if not kiosk.is_on:
            return
        if self._random.random() < 0.2:
            kiosk.lose_power("while idle", off_ns=self._between(OFF_NS))
        else:
            kiosk.fuse.arm(self._random.randrange(OPERATIONS_MAX))

    def _black_out(self) -> None:
        """A shop goes dark. Its kiosks are soon back, the line only later: nobody can tell them the time."""
        store = self._random.choice(self._kiosks).identity.store
        self._schedule.fault(Fault.BLACKOUT, store, "")
        for kiosk in self._kiosks:
            if kiosk.identity.store == store and kiosk.is_on:
                self._cut_off(kiosk, CUT_OFF_NS)
                kiosk.lose_power("in the dark", off_ns=self._between(BACK_NS))

    def _kill(self, kiosk: Kiosk) -> None:
        if kiosk.is_on:
            kiosk.kill_agent("while idle")

    def _fill_disk(self, kiosk: Kiosk) -> None:
        self._schedule.fault(Fault.DISK_FULL, kiosk.name, "")
        kiosk.fuse.disk_full = True

        def make_room() -> None:
            kiosk.fuse.disk_full = False

        self._schedule.after(self._between(FULL_NS), make_room)

    def _step_clock(self, kiosk: Kiosk) -> None:
        step_ms = self._random.choice(STEPS_MS)
        self._schedule.fault(Fault.CLOCK_STEP, kiosk.name, f"{step_ms} ms")
        kiosk.clock.wall_off_ms += step_ms

    def _set_kernel_time(self, kiosk: Kiosk) -> None:
        """The kernel vouches for the system clock, rightly or not, or does so no more."""
        clock = kiosk.clock
        clock.kernel_synced = not clock.kernel_synced
        if clock.kernel_synced:
            clock.wall_off_ms = self._random.choice(KERNEL_OFF_MS)
        self._schedule.fault(Fault.KERNEL_TIME, kiosk.name, f"{clock.kernel_synced} off {clock.wall_off_ms} ms")
