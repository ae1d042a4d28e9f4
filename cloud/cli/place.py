"""Where an installation of the cloud lives, and how a command opens it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cloud.errors import CloudError
from shared.policy import CERTIFICATE_AGE_MAX

if TYPE_CHECKING:  # a command that needs no database must not wait for one to be imported
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Engine

    from cloud.broker.mosquitto import BrokerFiles
    from cloud.kit.keyring import Keyring


class NotThere(CloudError):
    """A command names something that is not there; `reason` says what."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`home` holds keys, the broker's files and, unless `database` names another, the database.

    `broker_pid_file` may be there or not: whoever runs the broker writes its process number into it.
    """

    home: Path
    database: str
    broker_pid_file: Path

    @property
    def keys(self) -> Path:
        """The folder of the keys."""
        return self.home / "keys"

    @property
    def broker(self) -> Path:
        """The folder of the broker's files."""
        return self.home / "broker"

    def broker_files(self) -> BrokerFiles:
        """The broker's files in this installation."""
        from cloud.broker.mosquitto import BrokerFiles
        from cloud.kit.keyring import KeyFiles

        files = KeyFiles(folder=self.keys)
        return BrokerFiles(
            configuration=self.broker / "mosquitto.conf",
            access_list=self.broker / "access.acl",
            authority=files.ca_certificate,
            certificate=files.broker_certificate,
            key=files.broker_key,
            storage=self.broker / "storage",
            revocations=files.revocations,
        )

    @contextmanager
    def open_database(self) -> Iterator[Engine]:
        """The database, brought to the newest schema. Raises: DatabaseRefused, NotThere."""
        from sqlalchemy.exc import OperationalError

        from cloud.kit.database import open_engine
        from cloud.kit.upgrade import upgrade

        engine = open_engine(self.database)
        try:
            try:
                upgrade(engine)
            except OperationalError as error:
                raise NotThere(f"the database cannot be opened: {error.orig}") from error
            yield engine
        finally:
            engine.dispose()

    def open_keyring(self) -> Keyring:
        """The keys. Raises: KeyringRefused."""
        from cloud.kit.keyring import load_keyring

        return load_keyring(self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What every command may need of the world outside. Certificates of devices are good for `certificate_life`."""

    place: Place
    clock: Callable[[], datetime]
    random: Callable[[int], bytes]
    certificate_life: timedelta = CERTIFICATE_AGE_MAX
