"""What a seed decides before anything happens: how large the world is, how long it lasts, and what goes wrong in it.

Each seed has its own selection of faults and its own rates ("swarm testing", Groce et al., 2012): a world in which
everything fails all the time hides what only shows when one thing fails and the rest works.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Final

from shared.policy import InstantMode, InstantTerms
from tests.simulation.clock import HOUR, MINUTE, MS, SECOND
from tests.simulation.prepared import ERAS, KIOSKS_A_STORE, MEMBERS_MAX

DAYS: Final = 3
CHOSEN: Final = 0.6  # how likely a seed has a given kind of fault at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often what goes wrong: chances for each message or batch, and times a day for each kiosk or for the world."""

    lost: float = 0.0
    doubled: float = 0.0
    delayed: float = 0.0
    stale: float = 0.0
    garbled: float = 0.0
    cloud_cut: float = 0.0
    partitions: float = 0.0
    black_holes: float = 0.0
    power_cuts: float = 0.0
    process_kills: float = 0.0
    link_kills: float = 0.0
    full_disks: float = 0.0
    clock_steps: float = 0.0
    kernel_times: float = 0.0
    broker_empties: float = 0.0
    blackouts: float = 0.0
    cloud_aways: float = 0.0
    lan_lost: float = 0.0
    lan_partitions: float = 0.0
    hub_deaths: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """How often a day the terms and the members change.

    `revoke_day` is when a kiosk is revoked, None for never; `quiet_days` pass before the last day, in which only one
    kiosk is open, on the first day and without a line.
    """

    policies: float = 0.0
    denials: float = 0.0
    leaves: float = 0.0
    revoke_day: int | None = None
    quiet_days: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One world.

    `kiosks` are how many in each store; `visits` how often a member comes a day; `cloud_wait_ns` and `news_wait_ns` how
    long the cloud lets messages and news gather at most. `contingency` is what of the budget pays for late claims.
    `instant` is the coupon that comes with the daily reward.
    """

    seed: int
    era: datetime
    kiosks: tuple[int, int]
    members: int
    days: int
    visits: float
    points: int
    reduced_points: int
    cards_reduced: bool
    allotment_points: int
    budget: int
    contingency: int
    cloud_wait_ns: int
    news_wait_ns: int
    instant: InstantTerms | None
    faults: Faults
    changes: Changes


def draw_plan(seed: int) -> Plan:
    """The plan of the seed."""
    random = Random(f"plan {seed}")
    members = int(50 * (MEMBERS_MAX / 50) ** random.random())
    points = random.choice((5, 10, 20))
    generous = random.random() < 0.9
    return Plan(
        seed=seed,
        era=random.choice(ERAS),
        kiosks=(random.choice((3, 3, KIOSKS_A_STORE)), random.choice((0, 0, 0, 1))),
        members=members,
        days=DAYS,
        visits=random.uniform(1.0, 2.0),
        points=points,
        reduced_points=random.choice((0, 1, 1, 1, points)),
        cards_reduced=random.random() < 0.2,
        allotment_points=random.randint(100, 400) * points if generous else random.randint(2, 8) * points,
        budget=10**9 if random.random() < 0.9 else random.randint(200, 1500) * points,
        cloud_wait_ns=random.choice((20 * MS, 10 * SECOND, 10 * SECOND, 20 * SECOND, 20 * SECOND, 30 * SECOND)),
        news_wait_ns=random.choice((2 * MINUTE, 20 * MINUTE, 2 * HOUR)),
        instant=_draw_instant(Random(f"instant {seed}")),
        faults=_draw_lan_faults(_draw_faults(random), Random(f"lan {seed}")),
        changes=_draw_changes(random),
        contingency=random.choice((0, 3 * points, 30 * points, 30 * points)),
    )


def _draw_faults(random: Random) -> Faults:
    def rate(most: float) -> float:
        return random.uniform(most / 10, most) if random.random() < CHOSEN else 0.0

    return Faults(
        lost=rate(0.2),
        doubled=rate(0.2),
        delayed=rate(0.2),
        stale=rate(0.05),
        garbled=rate(0.05),
        cloud_cut=rate(0.2),
        partitions=rate(2),
        black_holes=rate(1),
        power_cuts=rate(2),
        process_kills=rate(1),
        link_kills=rate(1),
        full_disks=rate(1),
        clock_steps=rate(2),
        kernel_times=rate(0.5),
        broker_empties=rate(1),
        blackouts=rate(1.5),
        cloud_aways=rate(2),
    )


def _draw_lan_faults(faults: Faults, random: Random) -> Faults:
    def rate(most: float) -> float:
        return random.uniform(most / 10, most) if random.random() < CHOSEN else 0.0

    return replace(faults, lan_lost=rate(0.2), lan_partitions=rate(3), hub_deaths=rate(1.5))


def _draw_instant(random: Random) -> InstantTerms | None:
    mode = random.choice((None, InstantMode.FREE, InstantMode.OWNER, InstantMode.HUB, InstantMode.HUB))
    if mode is None:
        return None
    a_day = random.choice((5, 500, 500, 500))
    return InstantTerms(mode=mode, series="espresso", label="A free espresso", a_day=a_day)


def _draw_changes(random: Random) -> Changes:
    def rate(most: float) -> float:
        return random.uniform(most / 10, most) if random.random() < CHOSEN else 0.0

    return Changes(
        policies=rate(3),
        denials=rate(5),
        leaves=rate(2),
        revoke_day=random.randrange(DAYS) if random.random() < 0.1 else None,
        quiet_days=random.choice((5, 15, 31, 31, 40)) if random.random() < 0.25 else 0,
    )


def poisson(random: Random, mean: float) -> int:
    """How many of something happen in a span in which `mean` do on average."""
    count, left = 0, random.expovariate(1.0)
    while left < mean:
        count += 1
        left += random.expovariate(1.0)
    return count
