"""How many claims a second go from the broker to a committed receipt, and what each part alone could do.

`python -m tests.bench.claims [--claims N] [--workers N]`. With several workers, each a process of its own on a shared
subscription, it says what they cost each other. A private Mosquitto with mutual TLS, the cloud's ingest in a process
of its own and twenty kiosks in another; one claim a message, QoS 1, every signature made before the clock starts and
checked while it runs. Clock: from the first publish to the arrival of the receipt for the last claim. CPU is that of
each process, per claim. A "disk" row is there when the temporary folder is not on the memory file system.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import text

from cloud.broker.mosquitto import CLOUD_NAME, worker_name
from cloud.claims.actions import apply_batches
from cloud.kit.database import open_engine, writing
from cloud.kit.keyring import create_keyring
from cloud.kit.upgrade import upgrade
from shared.envelope import Batch, decode_batch, encode
from shared.ids import DeviceId, MemberId
from tests.bench.claims_cloud import Cloud, CloudResult
from tests.bench.claims_kiosks import KioskFiles, Load, LoadResult
from tests.bench.table import Row, Table
from tests.cloud.claims.world import NOON, World, create_world
from tests.support.kiosk import batch_of, member_of
from tests.support.mosquitto import MosquittoMissing, PrivateMosquitto
from tests.support.postgres import postgres_server, why_no_postgres

RATE_MIN = 2000
WORKERS_RATE_MIN = 4000
LOCKED_MAX = 0.05
SAMPLE_S = 0.01
KIOSKS = 20
BATCH = 200  # as many messages as the broker's client hands over at once
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the kiosks are going to say: by device, its messages in order."""

    messages: dict[str, tuple[bytes, ...]]
    members: tuple[MemberId, ...]

    def in_turn(self) -> list[tuple[DeviceId, Batch]]:
        """All messages, decoded, as they would come in: one of each kiosk after the other."""
        rounds = zip(*self.messages.values(), strict=True)
        devices = [DeviceId(device) for device in self.messages]
        batches = ((device, decode_batch(data)) for each in rounds for device, data in zip(devices, each, strict=True))
        return [(device, batch) for device, batch in batches if batch is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Claims a second, and CPU microseconds a claim of the cloud, the broker, the database server and the kiosks."""

    rate: float
    cloud_us: float | None = None
    broker_us: float | None = None
    database_us: float | None = None
    kiosks_us: float | None = None
    locked: float | None = None
    """Of the workers' time, the share in which one waited for another's lock."""

    def row(self, name: str, bar: str = "") -> Row:
        """The line of the table."""
        figures = (self.cloud_us, self.broker_us, self.database_us, self.kiosks_us)
        cells = (name, f"{self.rate:,.0f}", *("" if us is None else f"{us:.0f}" for us in figures))
        return Row(cells=cells, bar=bar, missed=bool(bar) and self.rate < RATE_MIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A kind of database: its name in the table and how to have a fresh one."""

    name: str
    open: "Opener"


class Opener:
    """Gives fresh databases of one kind, each within a `with` block."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def __call__(self) -> Iterator[str]:
        """The address of a fresh SQLite file in the folder, or of a fresh PostgreSQL server when there is none."""
        if self._folder is not None:
            with tempfile.TemporaryDirectory(dir=self._folder, prefix="ds-bench-") as name:
                yield f"sqlite:///{name}/bench.db"
        else:
            with postgres_server(settings=(), parent=Path(tempfile.gettempdir())) as server:
                server.execute("CREATE DATABASE bench")
                yield server.url("bench")


def stores() -> tuple[list[Store], list[str]]:
    """The databases there are here, and notes on those that are not."""
    found, notes = [], []
    memory, disk = MEMORY if MEMORY.is_dir() else None, Path(tempfile.gettempdir())
    if memory is not None:
        found.append(Store(name="SQLite, memory file system", open=Opener(memory)))
    if memory is None or disk.stat().st_dev != memory.stat().st_dev:
        found.append(Store(name="SQLite, disk", open=Opener(disk)))
    reason = why_no_postgres()
    if reason is None:
        found.append(Store(name="PostgreSQL, disk", open=Opener(None)))
    else:
        notes.append(f"no PostgreSQL: {reason}")
    return found, notes


@contextlib.contextmanager
def world_on(url: str, said: Said | None, claims: int) -> Iterator[World]:
    """The store, its members and its kiosks in a fresh database; the same each time, so that signatures hold."""
    engine = open_engine(url)
    upgrade(engine)
    members = tuple(map(member_of, range(1, claims + 1))) if said is None else said.members
    world = create_world(engine, members=members, budget=10**9, allotment_points=10**6)
    for number in range(KIOSKS):
        world.add_kiosk(f"kiosk{number}")
    yield world
    engine.dispose()


def say(claims: int) -> Said:
    """Signed messages for so many members, shared out among the kiosks."""
    each = claims // KIOSKS
    members = tuple(map(member_of, range(1, each * KIOSKS + 1)))
    with tempfile.TemporaryDirectory() as name, world_on(f"sqlite:///{name}/sign.db", None, claims) as world:
        return Said(
            messages={
                kiosk.device: tuple(
                    encode(batch_of(kiosk.claim(member, NOON))) for member in members[at * each : (at + 1) * each]
                )
                for at, kiosk in enumerate(world.kiosks.values())
            },
            members=members,
        )


def measure_database(store: Store, said: Said) -> Measured:
    """The claims fed from memory, the same batches as the broker's client would hand over."""
    with store.open() as url, world_on(url, said, len(said.members)) as world:
        events = said.in_turn()
        before, began_s, cpu_s = cpu_of_children(), time.monotonic(), time.process_time()
        for start in range(0, len(events), BATCH):
            with writing(world.engine) as connection:
                apply_batches(connection, events[start : start + BATCH], NOON)
        took_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
        database_s = cpu_of_children().since(before, "postgres")
    return Measured(
        rate=len(events) / took_s,
        cloud_us=cpu_s / len(events) * 1e6,
        database_us=database_s / len(events) * 1e6 if database_s else None,
    )


def measure_broker(said: Said, folder: Path) -> Measured:
    """The same messages to a subscriber that does nothing with them."""
    return _run(said, folder, "")


def measure_all(store: Store, said: Said, folder: Path, workers: int = 1) -> Measured:
    """The whole way."""
    with store.open() as url, world_on(url, said, len(said.members)) as world:
        measured = _run(said, folder, url, workers)
        world.assert_sound()
    return measured


class LockWatch:
    """Looks every few milliseconds how many sessions of a PostgreSQL database wait for a lock."""

    def __init__(self, database: str) -> None:
        self._engine = open_engine(database)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._looks = self._waiting = 0

    def __enter__(self) -> "LockWatch":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()
        self._engine.dispose()

    def share(self, workers: int) -> float:
        """Of the workers' time, the share in which one waited."""
        return self._waiting / (self._looks * workers)

    def _look(self) -> None:
        query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not self._ended.wait(SAMPLE_S):
                self._looks += 1
                self._waiting += connection.execute(query).scalar_one()


def _run(said: Said, folder: Path, database: str, workers: int = 1) -> Measured:
    """One run of broker, cloud and kiosks."""
    count = sum(len(messages) for messages in said.messages.values())
    names = (CLOUD_NAME, *(worker_name(number) for number in range(2, workers + 1)))
    with running_broker(folder, said, names) as broker, contextlib.ExitStack() as stack:
        clouds, load = _write_orders(broker, said, folder, database, names)
        takers = [stack.enter_context(child("tests.bench.claims_cloud", cloud)) for cloud in clouds]
        giver = stack.enter_context(child("tests.bench.claims_kiosks", load))
        assert {*map(_line, takers), _line(giver)} == {"ready"}
        watch = stack.enter_context(LockWatch(database)) if database.startswith("postgresql") else None
        before = cpu_of_children()
        _say(giver, "go")
        assert (heard := {*map(_line, takers)}) == {"all"}, heard
        published = msgspec.json.decode(_line(giver), type=LoadResult)
        locked = None if watch is None else watch.share(workers)
        after = cpu_of_children()
        for taker in takers:
            _say(taker, "stop")
        handled = [msgspec.json.decode(_line(taker), type=CloudResult) for taker in takers]
    assert not database or published.posted == count, f"{published.posted} of {count} claims were posted"
    assert workers == 1 or all(one.messages for one in handled), "a worker had nothing to do"
    last_s = published.last_s if database else handled[0].last_s
    database_s = after.since(before, "postgres")
    return Measured(
        rate=count / (last_s - published.first_s),
        cloud_us=sum(one.cpu_s for one in handled) / count * 1e6,
        locked=locked,
        broker_us=after.since(before, "mosquitto") / count * 1e6,
        database_us=database_s / count * 1e6 if database_s else None,
        kiosks_us=published.cpu_s / count * 1e6,
    )


@contextlib.contextmanager
def running_broker(folder: Path, said: Said, workers: tuple[str, ...] = (CLOUD_NAME,)) -> Iterator[PrivateMosquitto]:
    """A private broker that knows the kiosks."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        broker = PrivateMosquitto(Path(name), said.messages, workers)
        broker.start()
        try:
            yield broker
        finally:
            broker.kill()


def _write_orders(
    broker: PrivateMosquitto, said: Said, folder: Path, database: str, workers: tuple[str, ...]
) -> tuple[list[Path], Path]:
    """The files that tell the cloud's workers and the kiosks what to do."""
    authority = str(broker.files.authority)
    keyring = folder / "keys"
    if not keyring.exists():
        create_keyring(keyring, ["localhost"], NOON)
    expected = sum(len(messages) for messages in said.messages.values())
    orders = []
    for name in workers:
        own = broker.issue(name)
        cloud = Cloud(
            port=broker.port,
            authority=authority,
            certificate=str(own.certificate),
            key=str(own.key),
            keyring=str(keyring),
            database=database,
            expected=expected if len(workers) == 1 else 0,
            client_id=name,
        )
        orders.append(folder / f"{name}.order")
        orders[-1].write_bytes(msgspec.msgpack.encode(cloud))
    kiosks = []
    for device, messages in said.messages.items():
        identity = broker.issue(device)
        files = KioskFiles(
            device=device, certificate=str(identity.certificate), key=str(identity.key), messages=messages
        )
        kiosks.append(files)
    load = Load(port=broker.port, authority=authority, kiosks=tuple(kiosks), receipts=bool(database))
    path = folder / "load.order"
    path.write_bytes(msgspec.msgpack.encode(load))
    return orders, path


@contextlib.contextmanager
def child(module: str, order: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of ours that speaks lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, order], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.communicate(timeout=20)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _say(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(word + "\n")
    process.stdin.flush()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """CPU seconds so far of the processes below this one, by process id, and their names."""

    seconds: dict[int, float]
    names: dict[int, str]

    def since(self, before: "Cpu", name: str) -> float:
        """What the processes of that name used since."""
        ours = (pid for pid, called in self.names.items() if called == name)
        return sum(self.seconds[pid] - before.seconds.get(pid, 0.0) for pid in ours)


def cpu_of_children() -> Cpu:
    """The CPU of every process below this one, as the kernel counts it."""
    seconds, names = {}, {}
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        try:
            head, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
            waiting += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        fields = rest.split()
        names[pid] = head.partition("(")[2]
        seconds[pid] = (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
    return Cpu(seconds=seconds, names=names)


def run(claims: int, workers: int = 1) -> Table:
    """The whole table."""
    if workers > 1:
        return run_workers(claims, workers)
    said = say(claims)
    found, notes = stores()
    rows = []
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="ds-bench-") as name:
        folder = Path(name)
        try:
            rows.append(measure_broker(said, folder).row("broker alone"))
        except MosquittoMissing as missing:
            notes.append(str(missing))
            found = []
        rows += [measure_database(store, said).row(f"database alone: {store.name}") for store in found]
        bar = f">= {RATE_MIN:,}/s"
        rows += [measure_all(store, said, folder).row(f"broker to receipt: {store.name}", bar) for store in found]
    return Table(
        title=f"Claims, {claims:,} of them, {KIOSKS} kiosks, one a message, mutual TLS, signatures checked",
        headers=("", "claims/s", "cloud us", "broker us", "database us", "kiosks us"),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def run_workers(claims: int, workers: int) -> Table:
    """One worker beside several, on PostgreSQL, in one run."""
    said = say(claims)
    postgres = Store(name="PostgreSQL, disk", open=Opener(None))
    reason = why_no_postgres()
    rows, notes = [], [f"no PostgreSQL: {reason}"] if reason else []
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="ds-bench-") as name:
        for number in (1, workers) if reason is None else ():
            measured = measure_all(postgres, said, Path(name), number)
            rows.append(_workers_row(measured, number))
    return Table(
        title=f"Claims, {claims:,} of one tenant, {KIOSKS} kiosks, one a message, on PostgreSQL",
        headers=("workers", "claims/s", "cloud us", "broker us", "database us", "kiosks us", "waiting for locks"),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _workers_row(measured: Measured, workers: int) -> Row:
    plain = measured.row(str(workers))
    assert measured.locked is not None
    slow = measured.rate < WORKERS_RATE_MIN or measured.locked > LOCKED_MAX
    return Row(
        cells=(*plain.cells, f"{measured.locked:.1%}"),
        bar="" if workers == 1 else f">= {WORKERS_RATE_MIN:,}/s; waiting <= {LOCKED_MAX:.0%}",
        missed=workers > 1 and slow,
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    print(run(given.claims, given.workers))


if __name__ == "__main__":
    main()
