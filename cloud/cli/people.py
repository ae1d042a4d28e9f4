"""Made-up members for the demonstration, and the scenes in which they come to a door.

They join through the same page's API as anybody; a phone's key is made here as a phone would make it, and put into
the scene so that the rendered phone can show the code of the moment.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

NAMES = ("Giulia", "Marco", "Sofia", "Luca", "Aisha", "Piotr", "Chiara", "Ben", "Noor", "Elena", "Tom", "Yuki")
TEXT_VERSION = 1
FOREIGN_CODE = "https://example.org/menu"
SHOWING_S = 3.5  # a code is held still for half of it
PAUSE_S = 2.5  # a screen stays for four or five seconds; a shop's door is sometimes quicker

Act = dict[str, str | float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with a card or a phone: what the scene needs to show it."""

    nickname: str
    shows: Act


class People:
    """Lets people join, one after the other, alternately with a phone and with a card."""

    def __init__(self, client: httpx.Client, store: str, programme: str, random: Callable[[int], bytes]) -> None:
        self._client = client
        self._store = store
        self._programme = programme
        self._random = random
        self._count = 0

    def next(self) -> Person:
        """The next person, joined just now. Raises: httpx.HTTPError when the cloud does not take them."""
        name = NAMES[self._count % len(NAMES)]
        self._count += 1
        headers = {"Authorization": f"Bearer dsm_{_base64url(self._random(32))}"}
        joining = {
            "programme": self._programme,
            "store": self._store,
            "nickname": name,
            "language": "it" if self._count % 2 else "en",
            "text_version": TEXT_VERSION,
        }
        self._client.post("/v1/members", json=joining, headers=headers).raise_for_status()
        shows = self._phone(headers) if self._count % 2 else self._card(headers)
        return Person(nickname=name, shows=shows)

    def _phone(self, headers: dict[str, str]) -> Act:
        key = Ed25519PrivateKey.generate()
        asked = {"public_key": _base64url(key.public_key().public_bytes_raw())}
        answer = self._client.post("/v1/members/me/phones", json=asked, headers=headers).raise_for_status()
        text = answer.json()["certificate"]
        certificate = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return {
            "kind": "phone",
            "certificate": certificate.hex(),
            "private_key": key.private_bytes_raw().hex(),
            "seconds": SHOWING_S,
        }

    def _card(self, headers: dict[str, str]) -> Act:
        self._client.post("/v1/members/me/card", headers=headers).raise_for_status()
        answer = self._client.get("/v1/members/me/card", headers=headers).raise_for_status()
        return {"kind": "card", "text": answer.json()["text"], "seconds": SHOWING_S}


def write_scene(path: Path, fresh: list[Person], known: list[Person], random: Random) -> None:
    """Makes the scene for the next pass: new people, somebody who was here, and a code that is not valid."""
    acts: list[Act] = [{"kind": "empty", "seconds": 1.5}]
    for person in fresh:
        acts += [person.shows, {"kind": "empty", "seconds": PAUSE_S}]
    if known:
        acts += [random.choice(known).shows, {"kind": "empty", "seconds": PAUSE_S}]
    acts += [{"kind": "card", "text": _invalid(random, known or fresh), "seconds": SHOWING_S}]
    acts += [{"kind": "visitor", "seconds": 2.5}, {"kind": "empty", "seconds": PAUSE_S}]
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({"loop": True, "acts": acts}))
    draft.chmod(0o600)
    draft.replace(path)


def _invalid(random: Random, people: list[Person]) -> str:
    """A code of something else, or a card with one character changed."""
    cards = [str(person.shows["text"]) for person in people if person.shows["kind"] == "card"]
    if not cards or random.random() < 0.5:
        return FOREIGN_CODE
    text = random.choice(cards)
    return text[:-2] + ("0" if text[-2] != "0" else "1") + text[-1]


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
