"""The private Mosquitto's configuration and access list, written from what the cloud knows about its devices.

Every client shows a certificate of our authority; its common name is the user name the access list speaks of, and
it is also forced to be the client id, so that no device can push another off the line by taking its id
(eclipse-mosquitto/mosquitto#2348). A device has lines of its own instead of one `%u` pattern: a pattern cannot be
taken from one device, and a revoked certificate alone does not end a session that is already open. Checked against
Mosquitto 2.0.11, Debian 12's.
"""

import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.envelope import MESSAGE_BYTES_MAX
from shared.ids import DeviceId
from shared.topics import ROOT, down_filter, up_filter

CLOUD_NAME: Final = "cloud"
"""The common name of the cloud's own certificate; more workers need more names, as a name is also a client id."""
WORKERS_MAX: Final = 64
"""Further workers; long before so many the database is what binds (docs/scaling.md)."""

SECRET_MODE: Final = 0o640  # the access list names every device; the broker may run under a group of its own

IN_FLIGHT_MAX: Final = 1000  # as many as a worker takes (BrokerOptions); the default of 20 is one round trip each 20
QUEUED_BYTES_MAX: Final = 64 * 1024 * 1024  # a client's queue; an hour of a whole chain's claims, or an offline kiosk
QUEUED_MAX: Final = 1_000_000  # bytes bind first; not 0 (no bound): 2.0.11 then cuts a client off at a denied publish
PACKET_BYTES_MAX: Final = MESSAGE_BYTES_MAX + 4096  # our largest message and what MQTT puts around it
KEEPALIVE_MAX_S: Final = 120  # a dead line is noticed within three minutes whatever the client wished
SESSION_DAYS: Final = 7  # a closed week; kiosks ask for the same, this is for MQTT 3.1.1 clients that cannot ask
AUTOSAVE_S: Final = 300  # sessions survive an orderly restart; nothing depends on more


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFiles:
    """Where the broker's files are. `revocations` is a PEM list of revoked certificates, or None before the first.

    `storage` is a folder the broker may write to. `log` is a file, or None for standard error.
    """

    configuration: Path
    access_list: Path
    authority: Path
    certificate: Path
    key: Path
    storage: Path
    revocations: Path | None = None
    log: Path | None = None


def worker_name(number: int) -> str:
    """The common name of a further worker, from 2 on: the service itself is the first."""
    assert 2 <= number <= WORKERS_MAX
    return f"{CLOUD_NAME}-{number}"


def render_configuration(files: BrokerFiles, *, host: str, port: int, user: str) -> str:
    """The text of mosquitto.conf.

    `user` is whom the broker becomes when it is started as root (it would become `mosquitto`, who can read none of
    our files); under any other account Mosquitto ignores the line.
    """
    return "\n".join([*_process_lines(files, user), *_listener_lines(files, host, port), *_limit_lines()]) + "\n"


def _process_lines(files: BrokerFiles, user: str) -> list[str]:
    return [
        "# Written by doorstep-cloud; changes are overwritten.",
        f"user {user}",
        f"log_dest {'stderr' if files.log is None else f'file {files.log}'}",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_type information",  # reloads of the access list among them
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
        "sys_interval 0",
        "persistence true",
        f"persistence_location {files.storage}/",
        f"autosave_interval {AUTOSAVE_S}",
        f"acl_file {files.access_list}",
    ]


def _listener_lines(files: BrokerFiles, host: str, port: int) -> list[str]:
    return [
        f"listener {port} {host}",
        f"cafile {files.authority}",
        f"certfile {files.certificate}",
        f"keyfile {files.key}",
        *([] if files.revocations is None else [f"crlfile {files.revocations}"]),
        "tls_version tlsv1.2",  # the oldest accepted
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "allow_anonymous false",
        "allow_zero_length_clientid false",
    ]


def _limit_lines() -> list[str]:
    """Limits under which the broker loses nothing in an ordinary day.

    By default Mosquitto keeps 1000 messages a client and drops the rest in silence: 12,196 of 20,000 were lost behind
    a slow subscriber (measured, 2.0.11). The bound here is on bytes, as a batch of claims and a time question are
    not the same. Nothing depends on it: a device asks again until the cloud itself has answered.
    """
    return [
        "set_tcp_nodelay true",
        "retain_available false",
        f"max_queued_messages {QUEUED_MAX}",
        f"max_queued_bytes {QUEUED_BYTES_MAX}",
        f"max_inflight_messages {IN_FLIGHT_MAX}",
        f"max_packet_size {PACKET_BYTES_MAX}",
        f"max_keepalive {KEEPALIVE_MAX_S}",
        f"persistent_client_expiration {SESSION_DAYS}d",
    ]


def render_acl(devices: Iterable[DeviceId], *, workers: Iterable[str] = (CLOUD_NAME,)) -> str:
    """The text of the access list: each device its own topics, each worker of the cloud all of them.

    Raises: ValueError when a device bears the name of a worker, which would hand it everybody's messages.
    """
    names = frozenset(workers)
    blocks = [f"user {name}\ntopic read {up_filter()}\ntopic write {ROOT}/+/down/+\n" for name in sorted(names)]
    for device in sorted(set(devices)):
        if device in names:
            raise ValueError(f"{device!r} names a worker of the cloud")
        blocks.append(f"user {device}\ntopic write {ROOT}/{device}/up/+\ntopic read {down_filter(device)}\n")
    return "\n".join(blocks)


def write_atomically(path: Path, text: str) -> None:
    """The file holds the whole text or what it held before, whenever the power goes."""
    draft = path.with_name(f".{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, SECRET_MODE)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def reload(pid: int) -> None:
    """The broker reads access list, certificates and revocations again; sessions stay, under the new list.

    Not in its first moments: until it logs "running" Mosquitto has no handler and the signal would end it.
    """
    os.kill(pid, signal.SIGHUP)
