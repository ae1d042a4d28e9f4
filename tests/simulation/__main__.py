"""`python -m tests.simulation --seeds A..B` runs many worlds; `--seed N` replays one and tells every step."""

import argparse
import sys
import time
from collections.abc import Sequence

from tests.simulation.campaign import report, run_seeds, unlogged
from tests.simulation.world import Outcome, SimulationFailed, Simulator


def main(arguments: Sequence[str]) -> int:
    """The exit status: 1 when a promise was broken under some seed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seeds", metavar="A..B", type=parse_seeds, help="run these seeds, both ends included")
    which.add_argument("--seed", metavar="N", type=int, help="replay this seed and print its trace")
    parser.add_argument("--steps", metavar="M", type=int, help="make peace after so many steps")
    parser.add_argument("--jobs", metavar="J", type=int, default=1, help="processes to share the seeds (default: 1)")
    chosen = parser.parse_args(arguments)
    began_s = time.monotonic()
    try:
        if chosen.seeds is None:
            outcomes = [_replay(chosen.seed, chosen.steps)]
        else:
            outcomes = run_seeds(chosen.seeds, steps=chosen.steps, jobs=chosen.jobs)
    except SimulationFailed as failed:
        steps = "" if chosen.steps is None else f" --steps {chosen.steps}"
        print(f"{failed}{steps}", file=sys.stderr)
        return 1
    print("\n".join(report(outcomes, time.monotonic() - began_s)))
    return 0


def parse_seeds(text: str) -> range:
    """The seeds in `A..B`, both ends included. Raises: ValueError."""
    first, _, last = text.partition("..")
    return range(int(first), int(last or first) + 1)


def _replay(seed: int, steps: int | None) -> Outcome:
    with unlogged(), Simulator() as simulator:
        return simulator.run(seed, steps=steps, echo=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
