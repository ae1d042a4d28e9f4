"""A seed becomes a world, the world runs its days, settles and is judged."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Protocol

from prometheus_client import CollectorRegistry

from cloud.broker.ingest import Ingest
from cloud.campaigns.actions import return_ended
from edge.core.screen import ScreenName
from tests.simulation.checkers import Checkers, Violation
from tests.simulation.clock import DAY, HOUR, MINUTE, SECOND
from tests.simulation.cloud import Cloud, EngineFuse, Worker
from tests.simulation.faults import Misfortune
from tests.simulation.kiosk import Kiosk, Machine, Parts
from tests.simulation.lan import Lan
from tests.simulation.network import Broker
from tests.simulation.plan import Plan, draw_plan
from tests.simulation.prepared import ROME, Prepared
from tests.simulation.schedule import Schedule
from tests.simulation.trace import Fault, Trace
from tests.simulation.workload import Workload

LOOK_EVERY, CHAINS_EVERY, VERIFY_EVERY, SETTLED_EVERY = 64, 512, 2048, 16  # steps
SETTLE_NS = 3 * HOUR  # the longest pause of a kiosk between two tries is five minutes
AGREE_NS = 3 * SECOND
ASK_NS = 12 * MINUTE  # a kiosk says every ten minutes what it holds, and is told what it lacks


class MakeWorker(Protocol):
    """Makes what handles the cloud's messages."""

    def __call__(self, prepared: Prepared, clock: Callable[[], datetime]) -> Worker:
        """A fresh worker on the database as it is."""
        ...


def product_worker(prepared: Prepared, clock: Callable[[], datetime]) -> Worker:
    """The product's own."""
    return Ingest(prepared.engine, prepared.keyring, clock=clock, registry=CollectorRegistry())


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The product, or the product with one thing wrong."""

    name: str = "product"
    make_worker: MakeWorker = product_worker
    parts: Callable[[Prepared], Parts] = lambda prepared: Parts()


PRODUCT = Variant()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a world did. `claims` were granted by kiosks, `posted` by the cloud, `late` of them out of a contingency;
    `taken_back` points were not used in time. `coupons` were shown. `digest` is that of the world's trace.
    """

    seed: int
    steps: int
    days: float
    visits: int
    claims: int
    posted: int
    late: int
    taken_back: int
    coupons: int
    faults: Counter[Fault]
    verdicts: Counter[str]
    digest: str


class SimulationFailed(AssertionError):
    """A seed under which a promise did not hold, or the product raised what it must not."""

    def __init__(self, seed: int, step: int, found: str, tail: tuple[str, ...]) -> None:
        super().__init__(seed, step, found, tail)
        self.seed = seed
        self.step = step
        self.found = found
        self.tail = tail

    def __str__(self) -> str:
        replay = f"python -m tests.simulation --seed {self.seed}"
        return "\n".join((f"seed {self.seed}, step {self.step}: {self.found}", *self.tail, f"replay: {replay}"))


@dataclass(slots=True, kw_only=True)
class Simulator:
    """Runs seeds, one after the other, on what was prepared once."""

    prepared: Prepared = field(default_factory=Prepared)
    fuse: EngineFuse = field(init=False)

    def __post_init__(self) -> None:
        self.fuse = EngineFuse(self.prepared.engine)

    def __enter__(self) -> "Simulator":
        return self

    def __exit__(self, *exc: object) -> None:
        self.prepared.close()

    def run(self, seed: int, *, steps: int | None = None, variant: Variant = PRODUCT, echo: bool = False) -> Outcome:
        """What the seed's world did. Raises: SimulationFailed."""
        trace = Trace(echo=echo)
        self.fuse.disarm()
        world = World(self, draw_plan(seed), trace, variant)
        try:
            return world.run(steps)
        except Exception as error:  # whatever the product raises here is a finding, and is told with its seed
            found = str(error) if isinstance(error, Violation) else f"{type(error).__name__}: {error}"
            raise SimulationFailed(seed, world.schedule.steps, found, tuple(trace.tail)) from error
        finally:
            world.close()


class World:
    """Kiosks, a broker and a cloud, and what happens to them."""

    def __init__(self, simulator: Simulator, plan: Plan, trace: Trace, variant: Variant) -> None:
        prepared = simulator.prepared
        town = self._town = prepared.open_town(plan.era)
        self._plan = plan
        self._trace = trace
        self.schedule = Schedule(plan.era, trace)
        self._broker = Broker(self.schedule, Random(f"network {plan.seed}"), plan.faults)
        self._lan = Lan(self.schedule, Random(f"lan {plan.seed}"), plan.faults.lan_lost)
        self._checkers = Checkers(prepared.engine, prepared.cloud_path)
        self._cloud = Cloud(
            self.schedule,
            self._broker,
            Random(f"cloud {plan.seed}"),
            fuse=simulator.fuse,
            return_ended=lambda: return_ended(prepared.engine, self.schedule.time.instant),
            make_worker=lambda: variant.make_worker(prepared, lambda: self.schedule.time.instant),
            wait_ns=plan.cloud_wait_ns,
            news_wait_ns=plan.news_wait_ns,
            faults=plan.faults,
            on_change=self._checkers.look_at_cloud,
        )
        in_rome = [one for one in town.kiosks if one.store == ROME][: plan.kiosks[0]]
        in_york = [one for one in town.kiosks if one.store != ROME][: plan.kiosks[1]]
        self._kiosks = [
            Kiosk(
                Machine(
                    name=f"kiosk-{number}",
                    identity=identity,
                    schedule=self.schedule,
                    broker=self._broker,
                    random=Random(f"kiosk {number} {plan.seed}"),
                    prepared=prepared,
                    watcher=self._checkers,
                    lan=self._lan,
                    parts=variant.parts(prepared),
                )
            )
            for number, identity in enumerate(in_rome + in_york)
        ]
        self._checkers.kiosks = self._kiosks
        self._workload = Workload(self.schedule, plan, prepared, self._cloud, self._kiosks, town.people)
        self._checkers.known = self._workload.known
        self._checkers.terms = plan.instant
        self._misfortune = Misfortune(self.schedule, plan, self._broker, self._lan, self._cloud, self._kiosks)

    def close(self) -> None:
        """Lets go of all files."""
        self._checkers.close()
        for kiosk in self._kiosks:
            kiosk.close()

    def run(self, steps: int | None) -> Outcome:
        """The days, or as many steps of them, and then peace until all has settled."""
        self._workload.open_shops()
        self._cloud.return_soon()
        for kiosk in self._kiosks:
            kiosk.start()
        end_ns = self._plan_days()
        while (steps is None or self.schedule.steps < steps) and self.schedule.run_next(end_ns):
            self._look()
        self._make_peace()
        self._settle()
        self._greet_strangers()
        self._checkers.look_at_all()
        self._checkers.look_at_the_end()
        return self._outcome()

    def _plan_days(self) -> int:
        """Everything that will happen is planned; returns when the last day ends."""
        quiet_days = self._plan.changes.quiet_days
        starts = [number * DAY for number in range(self._plan.days)]
        if quiet_days:
            lonely = self._misfortune.plan_quiet(starts[-1], quiet_days)
            self._workload.plan_alone(lonely, starts[-1])
            starts[-1] += quiet_days * DAY
        for number, start_ns in enumerate(starts):
            self._workload.plan_day(number, start_ns)
            self._misfortune.plan_day(start_ns)
        return starts[-1] + DAY

    def _look(self) -> None:
        steps = self.schedule.steps
        if steps % LOOK_EVERY == 0:
            self._checkers.look_at_kiosks()
        if steps % CHAINS_EVERY == 0:
            self._checkers.look_at_chains()
        if steps % VERIFY_EVERY == 0:
            self._checkers.verify_ledger()

    def _make_peace(self) -> None:
        """Nobody comes any more and nothing goes wrong."""
        self.schedule.note("world", "peace")
        self._workload.is_over = self._misfortune.is_over = True
        self._broker.calm()
        self._lan.calm()
        self._cloud.calm()
        for kiosk in self._kiosks:
            kiosk.restore()

    def _settle(self) -> None:
        until_ns = self.schedule.time.now_ns + SETTLE_NS
        while self.schedule.run_next(until_ns):
            self._look()
            if self.schedule.steps % SETTLED_EVERY == 0 and self._checkers.count_waiting() == 0:
                return
        self._checkers.has_settled()

    def _greet_strangers(self) -> None:
        """In peace every kiosk gives: nothing that happened before may leave it unable to."""
        until_ns = self.schedule.time.now_ns + ASK_NS
        while self.schedule.run_next(until_ns):
            self._look()
        for kiosk, stranger in zip(self._kiosks, reversed(self._town.people), strict=False):
            if not kiosk.is_revoked:
                kiosk.see((stranger.card,))
                self._let_kiosks_agree(kiosk)
                self._checkers.gives(kiosk, self._plan.allotment_points)
        self._settle()

    def _let_kiosks_agree(self, kiosk: Kiosk) -> None:
        """The member waits until the other kiosks have answered, or nobody does."""
        until_ns = self.schedule.time.now_ns + AGREE_NS
        while (kiosk.screen is None or kiosk.screen.name is ScreenName.IDLE) and self.schedule.run_next(until_ns):
            self._look()

    def _outcome(self) -> Outcome:
        return Outcome(
            seed=self._plan.seed,
            steps=self.schedule.steps,
            days=self.schedule.time.now_ns / DAY,
            visits=self._workload.visits,
            claims=self._checkers.count_claims(),
            posted=len(self._checkers.seen.granted),
            late=self._checkers.seen.late,
            taken_back=self._checkers.seen.taken_back,
            coupons=self._checkers.count_coupons(),
            faults=self._trace.faults,
            verdicts=self._checkers.seen.verdicts,
            digest=self._trace.digest,
        )
