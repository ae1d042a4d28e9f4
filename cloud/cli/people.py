"""Made-up members for the demonstration, and the scenes in which they come to a door.

They join through the same page's API as anybody; a phone's key is made here as a phone would make it, and put into
the scene so that the rendered phone can show the code of the moment.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
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

Act = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with a card or a phone: what the scene needs to show it."""

    nickname: str
    shows: Act
    headers: dict[str, str] = field(repr=False)
    language: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FacePerson:
    """A member who consented to be recognised, and two pictures of them, seen from the folder of portraits."""

    person: Person
    learnt_from: str
    known_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Who comes to a door in a scene. `faces` are acts of people out of the folder `portraits`."""

    fresh: list[Person]
    known: list[Person]
    faces: list[Act]
    portraits: Path | None


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
        return self._join(with_phone=self._count % 2 == 0)

    def next_with_face(self, learnt_from: str, known_by: str) -> FacePerson:
        """The next person, with a phone and the consent to be recognised. Raises: httpx.HTTPError."""
        person = self._join(with_phone=True)
        consent_to_faces(self._client, person.headers, person.language)
        return FacePerson(person=person, learnt_from=learnt_from, known_by=known_by)

    def _join(self, *, with_phone: bool) -> Person:
        name = NAMES[self._count % len(NAMES)]
        self._count += 1
        language = "it" if self._count % 2 else "en"
        headers = {"Authorization": f"Bearer dsm_{_base64url(self._random(32))}"}
        joining = {
            "programme": self._programme,
            "store": self._store,
            "nickname": name,
            "language": language,
            "text_version": TEXT_VERSION,
        }
        self._client.post("/v1/members", json=joining, headers=headers).raise_for_status()
        shows = self._phone(headers) if with_phone else self._card(headers)
        return Person(nickname=name, shows=shows, headers=headers, language=language)

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


def write_scene(path: Path, play: Play, random: Random) -> None:
    """Makes the scene for the next pass: faces, new people, somebody who was here, and a code that is not valid."""
    fresh, known = play.fresh, play.known
    acts: list[Act] = [{"kind": "empty", "seconds": 1.5}, *play.faces]
    for person in fresh:
        acts += [person.shows, {"kind": "empty", "seconds": PAUSE_S}]
    if known:
        acts += [random.choice(known).shows, {"kind": "empty", "seconds": PAUSE_S}]
    acts += [{"kind": "card", "text": _invalid(random, known or fresh), "seconds": SHOWING_S}]
    acts += [{"kind": "visitor", "seconds": 2.5}, {"kind": "empty", "seconds": PAUSE_S}]
    portraits = {} if play.portraits is None else {"portraits": str(play.portraits)}
    _replace(path, {"loop": True, "acts": acts, **portraits})


def consent_to_faces(public: httpx.Client, headers: dict[str, str], language: str) -> None:
    """The member lets the store's kiosks recognise their face. Raises: httpx.HTTPError."""
    version = public.get("/v1/members/me", headers=headers).raise_for_status().json()["biometric_text_version"]
    body = {"purpose": "biometric", "given": True, "language": language, "text_version": version}
    public.post("/v1/members/me/consents", json=body, headers=headers).raise_for_status()


def hold_up(path: Path, text: str) -> None:
    """Puts a code before whatever else happens in the scene."""
    scene = json.loads(path.read_text())
    scene["acts"] = [{"kind": "card", "text": text, "seconds": SHOWING_S}, *scene["acts"]]
    _replace(path, scene)


def _replace(path: Path, scene: object) -> None:
    """The scene is whole at every moment, and for nobody else to read."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(scene))
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
