"""What crosses the wire of a face: sealed templates and wrapped secrets, which the cloud carries and cannot open.

A template is sealed to the secret of its store's group of kiosks. `key` names that secret, `embedder` the network whose
numbers it holds; neither opens anything.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.ids import MEMBER_ID_BYTES

GROUP_KEY_BYTES = 8
EMBEDDER_BYTES = 8
SEALING_PUBLIC_BYTES = 32
INTAKE_PUBLIC_BYTES = 32
SEALED_TEMPLATE_BYTES_MAX = 320  # 256 numbers with their scale: sealed by the own group 289, for another store 317
WRAP_BYTES_MAX = 3072  # the secret and a list of forty kiosks; a fact is at most 4 kB
KIOSKS_MAX = 40
PARTNERS_MAX = 8  # stores that a group was introduced to: with 40 kiosks of 16 characters they fit into a wrap

Member = Annotated[bytes, Meta(min_length=MEMBER_ID_BYTES, max_length=MEMBER_ID_BYTES)]
GroupKey = Annotated[bytes, Meta(min_length=GROUP_KEY_BYTES, max_length=GROUP_KEY_BYTES)]
EmbedderId = Annotated[bytes, Meta(min_length=EMBEDDER_BYTES, max_length=EMBEDDER_BYTES)]


class SealedTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """A member's template as it leaves a kiosk. Member, key and embedder are bound to the sealed bytes."""

    member: Member
    key: GroupKey
    embedder: EmbedderId
    sealed: Annotated[bytes, Meta(max_length=SEALED_TEMPLATE_BYTES_MAX)]


class Wrap(msgspec.Struct, frozen=True, kw_only=True):
    """The group's secret and its list of kiosks, wrapped to one kiosk's sealing key."""

    device: str
    sealed: Annotated[bytes, Meta(max_length=WRAP_BYTES_MAX)]


class Forgetting(StrEnum):
    """Why a template was deleted.

    WITHDRAWN: the consent was. LAPSED: its lease ran out without a word of the cloud. REPLACED: the member enrolled
    anew or the group changed. RESTORED: the device found itself restored from a copy.
    """

    WITHDRAWN = "withdrawn"
    LAPSED = "lapsed"
    REPLACED = "replaced"
    RESTORED = "restored"
