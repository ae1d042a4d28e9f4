"""The cloud's side of the claims bench, in a process of its own: the real broker client, with or without the claims.

Run by tests.bench.claims.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import msgspec
from prometheus_client import CollectorRegistry

from cloud.broker.client import BrokerClient
from cloud.broker.ingest import Ingest
from cloud.broker.messages import Handle, Inbound, Outbound
from cloud.broker.options import BrokerOptions
from cloud.kit.database import open_engine
from cloud.kit.keyring import load_keyring

GIVE_UP_S = 60


class Cloud(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the broker and as whom, and what to do with what comes: store it in `database`, or only count when
    empty.

    It says so once `expected` messages are handled; one of several workers expects none.
    """

    port: int
    authority: str
    certificate: str
    key: str
    keyring: str
    database: str
    expected: int
    client_id: str = "cloud"


class CloudResult(msgspec.Struct, frozen=True, kw_only=True):
    """Messages and batches handled, monotonic seconds of the last one's end, CPU from ready to then."""

    messages: int
    batches: int
    last_s: float
    cpu_s: float


@dataclass(slots=True, kw_only=True)
class Counting:
    """Handles a batch and takes note."""

    handle: Handle
    messages: int = 0
    batches: int = 0
    last_s: float = 0.0
    cpu_s: float = 0.0

    def __call__(self, inbound: Sequence[Inbound]) -> Sequence[Outbound]:
        """What the handler says."""
        answers = self.handle(inbound)
        self.messages += len(inbound)
        self.batches += 1
        self.last_s, self.cpu_s = time.monotonic(), time.process_time()
        return answers


def handle_nothing(_: Sequence[Inbound]) -> Sequence[Outbound]:
    """No answer."""
    return ()


def main(path: Path) -> None:
    """Connects, says so, works until a line comes, prints the result as JSON."""
    cloud = msgspec.msgpack.decode(path.read_bytes(), type=Cloud)
    options = BrokerOptions(
        host="127.0.0.1",
        port=cloud.port,
        ca=Path(cloud.authority),
        certificate=Path(cloud.certificate),
        key=Path(cloud.key),
        client_id=cloud.client_id,
    )
    engine = open_engine(cloud.database) if cloud.database else None
    handle: Handle = handle_nothing
    if engine is not None:
        keyring = load_keyring(Path(cloud.keyring))
        handle = Ingest(engine, keyring, clock=lambda: datetime.now(UTC), registry=CollectorRegistry())
    counting = Counting(handle=handle)
    with BrokerClient(options, counting, random=Random(1)) as client:
        while not client.is_up:
            time.sleep(0.01)
        began_cpu_s = time.process_time()
        print("ready", flush=True)
        until_s = time.monotonic() + GIVE_UP_S
        while counting.messages < cloud.expected and time.monotonic() < until_s:
            time.sleep(0.05)
        print("all" if counting.messages >= cloud.expected else f"only {counting.messages}", flush=True)
        sys.stdin.readline()
    if engine is not None:
        engine.dispose()
    result = CloudResult(
        messages=counting.messages,
        batches=counting.batches,
        last_s=counting.last_s,
        cpu_s=counting.cpu_s - began_cpu_s,
    )
    print(msgspec.json.encode(result).decode(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
