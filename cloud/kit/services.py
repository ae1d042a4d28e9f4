"""What a router is given instead of reaching for it: the database, the keys, the clock and randomness."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from cloud.kit.keyring import Keyring


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """`clock` gives the aware UTC instant, `random` that many unpredictable bytes; app.py makes the real ones."""

    engine: Engine
    keyring: Keyring
    clock: Callable[[], datetime]
    random: Callable[[int], bytes]
