"""Many seeds, on as many cores as are given to it."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from tests.simulation.trace import Fault
from tests.simulation.world import Outcome, Simulator


def run_seeds(seeds: Sequence[int], *, steps: int | None = None, jobs: int = 1) -> list[Outcome]:
    """What the seeds' worlds did, in their order. Raises: SimulationFailed."""
    if jobs == 1:
        return _run_share(seeds, steps)
    shares = [seeds[number::jobs] for number in range(jobs)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(_run_share, share, steps) for share in shares if share]
        done = [outcome for share in running for outcome in share.result()]
    return sorted(done, key=lambda outcome: outcome.seed)


def _run_share(seeds: Sequence[int], steps: int | None) -> list[Outcome]:
    with unlogged(), Simulator() as simulator:
        return [simulator.run(seed, steps=steps) for seed in seeds]


@contextmanager
def unlogged() -> Iterator[None]:
    """What the product logs of its faults is not what is looked for here."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def report(outcomes: Sequence[Outcome], took_s: float) -> list[str]:
    """What so many worlds did, for a person: sums, faults of each kind, and the pace."""
    claims = sum(outcome.claims for outcome in outcomes)
    faults = sum((outcome.faults for outcome in outcomes), Counter[Fault]())
    verdicts = sum((outcome.verdicts for outcome in outcomes), Counter[str]())
    lines = [
        f"seeds             {len(outcomes)}, no promise broken",
        f"steps             {sum(outcome.steps for outcome in outcomes)}",
        f"simulated days    {sum(outcome.days for outcome in outcomes):.1f}",
        f"visits            {sum(outcome.visits for outcome in outcomes)}",
        f"claims            {claims} granted, {sum(outcome.posted for outcome in outcomes)} posted once",
        f"late claims       {sum(outcome.late for outcome in outcomes)} paid by a contingency",
        f"taken back        {sum(outcome.taken_back for outcome in outcomes)} points",
        f"coupons           {sum(outcome.coupons for outcome in outcomes)} shown",
        f"claims a second   {claims / took_s:.0f} of real time, all checkers on ({took_s:.1f} s)",
    ]
    lines += [f"verdict {told:<32} {count}" for told, count in sorted(verdicts.items())]
    lines += [f"fault   {fault.value:<32} {faults[fault]}" for fault in Fault]
    if len(outcomes) == 1:
        lines.append(f"trace digest      {outcomes[0].digest}")
    return lines
