"""What happens at a rendered door, as a script: a JSON file of acts, parsed into values that cannot be wrong.

A phone's act carries the private key that makes its codes. Scenes are for demonstrations and tests; their members are
made up, and their keys are worth nothing at a real store.
"""

import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.tokens import CARD_BYTES, CARD_TYPE, PHONE_CERTIFICATE_BYTES, PREFIX, base45_encode

SCENE_BYTES_MAX = 1 << 20
Seconds = Annotated[float, Meta(gt=0, le=3600)]
Text = Annotated[str, Meta(min_length=1, max_length=1000)]  # far beyond a token: oversized codes are part of the play
Side = Annotated[int, Meta(ge=160, le=4096)]
Distance = Annotated[float, Meta(ge=0.5, le=20)]
Aside = Annotated[float, Meta(ge=-10, le=10)]
FolderName = Annotated[str, Meta(min_length=1, max_length=1000)]
PortraitName = Annotated[str, Meta(pattern=r"^(?!/)(?!.*\.\.).{1,200}$")]  # below the folder, with no way out of it
PORTRAITS_MAX = 64  # in a scene; each is kept as a square of 190 kB
_CERTIFICATE = rf"^[0-9a-fA-F]{{{2 * PHONE_CERTIFICATE_BYTES}}}$"


class Act(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """A stretch of the scene."""


class Empty(Act, frozen=True, kw_only=True, tag="empty"):
    """Nobody at the door."""

    seconds: Seconds = 2.0


class Visitor(Act, frozen=True, kw_only=True, tag="visitor"):
    """Somebody who comes and goes and shows no code."""

    seconds: Seconds = 2.5


class CardAct(Act, frozen=True, kw_only=True, tag="card"):
    """Somebody holds up a printed code."""

    text: Text
    seconds: Seconds = 2.5


class PhoneAct(Act, frozen=True, kw_only=True, tag="phone"):
    """Somebody holds up a phone that shows its code of the moment. Both keys are hexadecimal."""

    certificate: Annotated[str, Meta(pattern=_CERTIFICATE)]
    private_key: Annotated[str, Meta(pattern="^[0-9a-fA-F]{64}$")]
    seconds: Seconds = 3.0


class Pair(Act, frozen=True, kw_only=True, tag="pair"):
    """Two printed codes in view at once."""

    texts: tuple[Text, Text]
    seconds: Seconds = 2.5


class Glare(Act, frozen=True, kw_only=True, tag="glare"):
    """A printed code with a reflection wandering over it."""

    text: Text
    seconds: Seconds = 2.5


class Walker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person of an approach, made from a portrait: sets off, walks to the mark, stays and turns away.

    `portrait` is a picture file in the scene's folder of portraits. They come from `from_m` away and `from_side_m` to
    the right of the camera's axis (negative: left), at `speed_m_s`, in a straight line, so that they stand `mark_m`
    away and `mark_side_m` to the right when the act is `on_mark_s` old; `stays_s` later they walk off to the side they
    stand on. `code` is a printed code they hold up while they stand.
    """

    portrait: PortraitName
    from_m: Distance = 8.0
    from_side_m: Aside = 0.0
    mark_m: Distance = 1.3
    mark_side_m: Aside = 0.0
    speed_m_s: Annotated[float, Meta(ge=0.1, le=5)] = 1.3
    on_mark_s: Annotated[float, Meta(ge=0, le=3600)] = 5.0
    stays_s: Annotated[float, Meta(ge=0, le=3600)] = 3.0
    code: Text | None = None


class Approach(Act, frozen=True, kw_only=True, tag="approach"):
    """People with faces walk up to the camera, each at their own time; whoever is nearer covers who is behind."""

    walkers: Annotated[tuple[Walker, ...], Meta(min_length=1, max_length=6)]
    seconds: Seconds = 10.0


class Blackout(Act, frozen=True, kw_only=True, tag="blackout"):
    """The lens is covered or the light is off."""

    seconds: Seconds = 2.0


class Freeze(Act, frozen=True, kw_only=True, tag="freeze"):
    """The camera gives no picture for so long; reads time out."""

    seconds: Seconds = 5.0


class Disconnect(Act, frozen=True, kw_only=True, tag="disconnect"):
    """The camera is gone until it is opened again, which fails for so long."""

    seconds: Seconds = 1.0


AnyAct = Empty | Visitor | CardAct | PhoneAct | Pair | Glare | Approach | Blackout | Freeze | Disconnect


class Scene(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A script: acts one after the other, for ever when `loop` is set. Without a size the camera's options give it.

    `portraits` is the folder of the walkers' pictures, seen from the scene's own.
    """

    acts: Annotated[tuple[AnyAct, ...], Meta(min_length=1, max_length=1000)]
    width: Side | None = None
    height: Side | None = None
    rate: Annotated[float, Meta(ge=1, le=120)] | None = None
    loop: bool = True
    portraits: FolderName = "."

    @property
    def portrait_names(self) -> tuple[str, ...]:
        """Every picture that the scene needs, once."""
        walkers = (walker for act in self.acts if isinstance(act, Approach) for walker in act.walkers)
        return tuple(dict.fromkeys(walker.portrait for walker in walkers))


def parse_scene(data: bytes) -> Scene:
    """The scene in a JSON text. Raises: msgspec.ValidationError, msgspec.DecodeError."""
    return msgspec.json.decode(data, type=Scene)


def built_in_scene() -> Scene:
    """What plays when nobody gives a scene: an empty door, a forged code and a code that is none of ours."""
    return Scene(
        acts=(
            Empty(seconds=3.0),
            CardAct(text=forged_card(), seconds=3.0),
            Empty(seconds=2.0),
            CardAct(text="https://example.com/menu", seconds=3.0),
            Visitor(seconds=3.0),
        )
    )


def forged_card() -> str:
    """A code of the right form and length that no issuer has signed."""
    filler = hashlib.sha512(b"a card that nobody issued").digest() * 2
    return PREFIX + base45_encode(bytes([CARD_TYPE]) + filler[: CARD_BYTES - 1])
