"""Every benchmark's table, one after the other: `python -m tests.bench [NAME…]`. What `make bench` calls.

Options after one name are that benchmark's own.

Each runs in a process of its own, so that none warms up, or weighs on, the next. A bar that is missed is said in its
table; the exit code is 1 only when a benchmark ended without a table.
"""

import argparse
import subprocess
import sys

NAMES = (
    "qr",
    "grant",
    "rot",
    "device",
    "claims",
    "liveness",
    "portraits",
    "search",
    "unlinkability",
    "faces",
    "walkin",
    "fuzz",
)


def run(name: str, *words: str) -> str | None:
    """The text that the benchmark prints, or None when it crashed; what it complains about goes to standard error."""
    command = [sys.executable, "-m", f"tests.bench.{name}", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], default=list(NAMES), metavar="NAME")
    given, words = parser.parse_known_args()
    if words and len(given.names) != 1:
        parser.error(f"{words[0]} is for one benchmark: name it")
    crashed = []
    for name in given.names or NAMES:
        text = run(name, *words)
        if text is None:
            crashed.append(name)
        print(f"{text or f'{name}: ended without a table'}\n", flush=True)
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
