"""Loads the networks of the faces side, each by its hash and after it answered a known question rightly."""

from dataclasses import dataclass
from hashlib import sha256

from edge.errors import ModelUnusable
from edge.vision.faces.detector import Detector
from edge.vision.faces.embedder import IDENTITY_BYTES, Embedder
from edge.vision.faces.head_turn import HeadTurn
from edge.vision.faces.liveness import SpoofCheck
from edge.vision.faces.weights import (
    Role,
    Weights,
    answer_of_detector,
    answer_of_embedder,
    answer_of_head_turn,
    answer_of_spoof_check,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """All of them, loaded. One user at a time."""

    detector: Detector
    embedder: Embedder
    spoof: SpoofCheck
    head_turn: HeadTurn


def embedder_identity(weights: Weights) -> bytes:
    """The name of the embedder in use, once every weight is there and whole.

    Raises: ModelUnusable when one is missing or another file.
    """
    missing = weights.missing()
    if missing:
        raise ModelUnusable(", ".join(missing), f"not in {weights.folder}")
    for role in Role:
        weights.load(role)
    return sha256(weights.load(Role.EMBEDDER)).digest()[:IDENTITY_BYTES]


def load_networks(weights: Weights) -> Networks:
    """The networks, none of which answers garbage. Raises: ModelUnusable."""
    networks = Networks(
        detector=Detector(weights.load(Role.DETECTOR)),
        embedder=Embedder(weights.load(Role.EMBEDDER)),
        spoof=SpoofCheck(weights.load(Role.SPOOF_NEAR), weights.load(Role.SPOOF_FAR)),
        head_turn=HeadTurn(weights.load(Role.LANDMARKS)),
    )
    weights.check_known_answers(
        {
            Role.DETECTOR: answer_of_detector(networks.detector),
            Role.EMBEDDER: answer_of_embedder(networks.embedder),
            Role.SPOOF_NEAR: answer_of_spoof_check(networks.spoof),
            Role.LANDMARKS: answer_of_head_turn(networks.head_turn),
        }
    )
    return networks
