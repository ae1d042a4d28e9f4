"""The long campaigns behind what is claimed of Doorstep, written down with the commands that made them: `make proof`.

Worlds simulated seed by seed, processes killed by the hundred, every benchmark. `--share 0.01` does a hundredth of
each campaign, to try it out. The exit code is 1 when a promise broke or a benchmark crashed; a missed bar is marked
in its table and is no failure. What is written names no machine beyond processor, cores and versions.
"""

import argparse
import os
import platform
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.__main__ import NAMES
from tests.bench.table import MISSED

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "measurements.md"
SEEDS = 500  # four seconds each
KILLS = 500
ROUNDS_OF_NODES = 6  # each a minute
ROUNDS_OF_CUTS = 10  # each three
CLAIMS = 20_000
TEXTS = 10_000_000  # eight minutes
IMAGES = 200_000  # ten
COMPLAINT_LINES_MAX = 30  # of a step that failed; its whole output is on the screen


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to run: what it shows and the words behind `python -m`."""

    title: str
    shows: str
    words: tuple[str, ...]

    @property
    def command(self) -> str:
        """What a person would type."""
        return f".venv/bin/python -m {shlex.join(self.words)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A step that was run: what it printed, and whether it ended well."""

    step: Step
    text: str
    code: int
    took_s: float

    def section(self) -> str:
        """Its part of the document."""
        failed = "" if self.code == 0 else f"**It failed with exit code {self.code}.**\n\n"
        return (
            f"## {self.step.title}\n\n{self.step.shows}\n\n{failed}"
            f"`{self.step.command}` ({self.took_s:.0f} s)\n\n```text\n{self.text}\n```\n"
        )


def steps(share: float) -> tuple[Step, ...]:
    """Everything that is run, with this share of each campaign."""
    seeds, kills, claims = (
        max(least, round(all_of * share)) for all_of, least in ((SEEDS, 2), (KILLS, 7), (CLAIMS, 1000))
    )
    benches = tuple(
        Step(
            title=f"Benchmark: {name}", shows=_shows(name), words=(f"tests.bench.{name}", *_words(name, claims, share))
        )
        for name in NAMES
    )
    return (
        *benches,
        Step(
            title="Simulated worlds",
            shows="Several kiosks, a broker and one cloud in one thread, with faults drawn from each seed; checkers"
            " look at the whole world after every step.",
            words=("tests.simulation", "--seeds", f"1..{seeds}"),
        ),
        Step(
            title="Processes killed",
            shows="A whole shop of real processes under load; kill -9 of any of them at any moment, the broker losing"
            " all it stored.",
            words=("tests.system.kills", "--kills", str(kills)),
        ),
        Step(
            title="Nodes of a clustered broker killed",
            shows="Three nodes of RabbitMQ, MQTT 3.1.1, mutual TLS; kill -9 of the node with all sessions, under load.",
            words=("tests.system.cluster", "--rounds", str(max(1, round(ROUNDS_OF_NODES * share)))),
        ),
        Step(
            title="Lines cut",
            shows="Kiosks, broker and cloud in network namespaces (as root); cables out, packets dropped in silence,"
            " ends of a connection that die unnoticed.",
            words=("tests.system.partitions", "--rounds", str(max(1, round(ROUNDS_OF_CUTS * share)))),
        ),
    )


def _shows(name: str) -> str:
    return {
        "qr": "How many sample photos each reader reads, and what it costs.",
        "grant": "What one grant costs in CPU and in syncs of the log.",
        "device": "How quickly a member is served, and what the device's processes need.",
        "claims": "How many claims a second go from the broker to a committed receipt.",
        "liveness": "What the passive check and the turn of the head let through of drawn attacks, and whom they stop.",
        "portraits": "How many known people are missed at a wanted rate of strangers taken for somebody.",
        "search": "A gallery of 100,000 templates: time, size, agreement with exact search, cold load.",
        "unlinkability": "Whether templates of one person in two groups look like those of two people.",
        "faces": "What recognising costs: frames a second, CPU at a visited and an empty door, memory, start.",
        "walkin": "Rendered visits of members and strangers, with the verdicts, the times and the peers.",
        "fuzz": "Texts, pictures and files that nobody would make on purpose, by the million.",
    }[name]


def _words(name: str, claims: int, share: float) -> tuple[str, ...]:
    match name:
        case "claims":
            return ("--claims", str(claims))
        case "fuzz":
            return ("--texts", str(max(1000, round(TEXTS * share))), "--images", str(max(100, round(IMAGES * share))))
        case _:
            return ()


def run(step: Step) -> Done:
    """The step, run; what it says is shown as it comes."""
    print(f"--- {step.command}", flush=True)
    began_s, said = time.monotonic(), []
    child = subprocess.Popen(
        [sys.executable, "-m", *step.words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )
    with child:
        assert child.stdout is not None
        for line in child.stdout:
            print(line, end="", flush=True)
            said.append(line.rstrip())
    lines = said if child.returncode == 0 else said[-COMPLAINT_LINES_MAX:]
    text = "\n".join(lines).strip().replace(str(ROOT), ".")
    return Done(step=step, text=text, code=child.returncode, took_s=time.monotonic() - began_s)


def document(done: list[Done], share: float) -> str:
    """The whole page."""
    missed = [one.step.title for one in done if MISSED in one.text]
    failed = [one.step.title for one in done if one.code != 0]
    part = "" if share == 1 else f" This run did {share:g} of each campaign."
    opening = (
        "# Measurements\n\n"
        f"Written by `make proof` on {datetime.now(UTC):%Y-%m-%d}; do not edit by hand.{part} Each figure stands below"
        f" the command that made it.\n\nMachine: {_machine()}.\n\n"
        f"Bars missed: {', '.join(missed) or 'none'}. Campaigns that failed: {', '.join(failed) or 'none'}.\n"
    )
    return "\n".join([opening, *(one.section() for one in done)])


def _machine() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    processor = names[0] if names else platform.machine()
    linux = platform.release().partition("-")[0]
    return f"{os.cpu_count()} cores of {processor}, Linux {linux}, Python {platform.python_version()}"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.proof", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of each campaign; 1 is all of it")
    parser.add_argument("--output", type=Path, default=DOCUMENT)
    given = parser.parse_args()
    done = [run(step) for step in steps(given.share)]
    given.output.write_text(document(done, given.share))
    print(f"--- written to {given.output}")
    return 1 if any(one.code != 0 for one in done) else 0


if __name__ == "__main__":
    sys.exit(main())
