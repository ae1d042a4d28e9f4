"""Kills any process of a shop at any moment, again and again, while members keep coming; looks at what became of them.

What must hold at the moment of every kill: nothing was shown that is not in the kiosk's database. And at the end:
every claim a kiosk keeps is in the ledger, once, and nothing else is. The broker comes back with what it stored a
moment before its end, or with nothing. `python -m tests.system.kills --kills 500`, on PostgreSQL where it is installed.
"""

import argparse
import collections
import itertools
import json
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from random import Random

from tests.bench.table import Row, Table
from tests.support.agent_peer import Doorman, Watcher
from tests.support.postgres import postgres_server, why_no_postgres
from tests.support.shop import PROCESSES, Guest, Shop, ShopKiosk, claims_of, open_shop, verify_all

CODE_EVERY_S = 0.1
BOTH_DOORS_EVERY = 5  # every fifth guest goes to the other door, too
PAUSE_MAX_S = 0.6  # between a restart and the next kill
DOWN_MAX_S = 0.3
KILL_S = 4.0  # no kill takes longer on average, the cloud's restarts included
SHARED = ("cloud", "broker", "broker emptied")
SETTLE_S = 180.0  # a link that lost its broker often pauses up to a minute, and tries more than once
CARD_S = 1.2
ACTS_MAX = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A process of the shop; `kiosk` is None for what all kiosks share."""

    role: str
    kiosk: ShopKiosk | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a campaign did and what was found at its end."""

    kills: dict[str, int]
    shown: int
    kept: int
    posted: int
    by_camera: int
    seconds: float
    database: str

    def __str__(self) -> str:
        """A table of who was killed and what came of it."""
        killed = tuple(Row(cells=(f"kill -9: {role}", str(count))) for role, count in sorted(self.kills.items()))
        found = (
            ("grants shown at two doors", self.shown, ""),
            ("claims kept by kiosks", self.kept, ""),
            ("members' claims posted, once each", self.posted, ""),
            ("  of them through the camera", self.by_camera, ""),
            ("shown and not kept", 0, "= 0"),  # run_kills raises at the first
            ("kept and not posted, or the other way round", 0, "= 0"),
            ("posted twice, or rejected", 0, "= 0"),
        )
        return str(
            Table(
                title=f"{sum(self.kills.values())} kills in {self.seconds:.0f} s, the cloud on {self.database}",
                headers=("what", "count"),
                rows=(*killed, *(Row(cells=(what, str(count)), bar=bar) for what, count, bar in found)),
                notes=("Ledger and kiosks' databases verified by their own commands at the end.",),
            )
        )


def run_kills(shop: Shop, kills: int, seed: int, within_s: float = float("inf")) -> Found:
    """What was found; the killing ends early when the time is up.

    Raises: AssertionError when a promise was broken, ShopFailed when something did not come back.
    """
    began_s, random = time.monotonic(), Random(seed)
    known = set(shop.grants())
    by_hand = shop.enrol(round(kills * KILL_S / CODE_EVERY_S))
    by_camera = shop.enrol(min(ACTS_MAX, round(kills * KILL_S / CARD_S)))
    shop.kiosks[0].set(camera=write_scene(shop.kiosks[0], by_camera))
    for kiosk in shop.kiosks:
        shop.start(kiosk)
    shop.await_ready()
    with ExitStack() as stack:
        watchers = {kiosk.name: stack.enter_context(Watcher(kiosk.agent_socket)) for kiosk in shop.kiosks}
        with members_coming(shop.kiosks, by_hand):
            killed = [
                _kill_one(shop, watchers, role, random)
                for role in _draw_roles(kills, random)
                if time.monotonic() - began_s < within_s
            ]
        shop.children.stop(*(kiosk.process(role) for kiosk in shop.kiosks for role in ("capture", "vision")))
        shop.settle(SETTLE_S)
    check_shown(shop.kiosks, watchers)
    posted = check_posted(shop, known)
    verify_all(shop)
    camera_members = {guest.member.hex() for guest in by_camera}
    kept = [claim for kiosk in shop.kiosks for claim in kiosk.claims() if claim.claim in posted]
    return Found(
        kills=dict(collections.Counter(victim.role for victim in killed)),
        shown=sum(len(watcher.claims) for watcher in watchers.values()),
        kept=len(kept),
        posted=len(posted),
        by_camera=len({claim.member for claim in kept} & camera_members),
        seconds=time.monotonic() - began_s,
        database=shop.database.partition(":")[0],
    )


def write_scene(kiosk: ShopKiosk, guests: Sequence[Guest]) -> str:
    """The address of a camera at whose door the guests hold up their cards, one after the other, for ever."""
    path = kiosk.home / "scene.json"
    acts = [{"kind": "card", "text": guest.card, "seconds": CARD_S} for guest in guests]
    path.write_text(json.dumps({"width": 640, "height": 360, "rate": 10, "loop": True, "acts": acts}))
    return f"synthetic:{path}"


@contextmanager
def members_coming(kiosks: Sequence[ShopKiosk], guests: Sequence[Guest]) -> Iterator[None]:
    """While the context lasts, ten guests a second show their cards at the doors in turn."""
    over = threading.Event()

    def come() -> None:
        doormen = [Doorman(kiosk.agent_socket) for kiosk in kiosks]
        turns = itertools.cycle(doormen)
        for number, guest in enumerate(guests):
            if over.wait(CODE_EVERY_S):
                break
            next(turns).show(guest.card)
            if number % BOTH_DOORS_EVERY == 0:
                next(turns).show(guest.card)
        for doorman in doormen:
            doorman.close()

    thread = threading.Thread(target=come, name="members")
    thread.start()
    try:
        yield
        assert thread.is_alive(), "there were too few members: nobody came any more at the end"
    finally:
        over.set()
        thread.join()


def _draw_roles(kills: int, random: Random) -> list[str]:
    """Whom death comes for, in a random order: every role as often as the others, or once more."""
    roles = list(itertools.islice(itertools.cycle((*PROCESSES, *SHARED)), kills))
    random.shuffle(roles)
    return roles


def _kill_one(shop: Shop, watchers: dict[str, Watcher], role: str, random: Random) -> Victim:
    """Kills a process, looks at what was shown until then, and starts it again."""
    if role == "broker":
        shop.children.running[role].send_signal(signal.SIGUSR1)  # it saves, and will come back with that
    time.sleep(random.uniform(0.0, PAUSE_MAX_S))
    shop.assert_all_run()
    victim = Victim(role=role, kiosk=random.choice(shop.kiosks) if role in PROCESSES else None)
    _kill(shop, victim)
    if victim.kiosk is not None and role == "agent":
        watchers[victim.kiosk.name].wait_until_gone()
    check_shown(shop.kiosks, watchers)
    time.sleep(random.uniform(0.0, DOWN_MAX_S))
    _start(shop, victim)
    return victim


def _kill(shop: Shop, victim: Victim) -> None:
    if victim.kiosk is not None:
        shop.children.kill(victim.kiosk.process(victim.role))
    elif victim.role == "broker":
        shop.cloud.broker.kill()
    elif victim.role == "broker emptied":
        shop.cloud.broker.crash()
    else:
        shop.children.kill("cloud")


def _start(shop: Shop, victim: Victim) -> None:
    if victim.kiosk is not None:
        shop.start(victim.kiosk, victim.role)
    elif victim.role in ("broker", "broker emptied"):
        shop.cloud.broker.join()
    else:
        shop.cloud.serve()


def check_shown(kiosks: Sequence[ShopKiosk], watchers: dict[str, Watcher]) -> None:
    """Whatever was shown as granted is in the database of the kiosk that showed it."""
    for kiosk in kiosks:
        shown = watchers[kiosk.name].claims  # read before the database: it may only be behind
        missing = shown - claims_of([kiosk])
        assert not missing, f"{kiosk.name} showed what it does not hold: {sorted(missing)}"


def check_posted(shop: Shop, known: set[str]) -> set[str]:
    """The claims posted since `known`: those that kiosks keep, each once."""
    granted = shop.grants()
    assert len(granted) == len(set(granted)), "a claim was posted twice"
    posted, kept = set(granted) - known, claims_of(shop.kiosks) - known
    assert posted == kept, f"kept and not posted: {sorted(kept - posted)}; posted and not kept: {sorted(posted - kept)}"
    rejected = {kiosk.name: shop.status(kiosk).rejected for kiosk in shop.kiosks}
    assert not any(rejected.values()), f"claims were rejected: {rejected}"
    return posted


def main() -> None:
    """Runs one campaign in a shop of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which nobody more is killed")
    given = parser.parse_args()
    with ExitStack() as stack:
        database = None
        if why_no_postgres() is None:
            server = stack.enter_context(postgres_server())
            server.execute("CREATE DATABASE kills")
            database = server.url("kills")
        shop = stack.enter_context(open_shop(database=database))
        print(run_kills(shop, given.kills, given.seed, given.minutes * 60))


if __name__ == "__main__":
    main()
