"""A short campaign in every test run, and a look at whether the campaign would notice anything."""

import subprocess
from random import Random

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.ids import MemberId
from shared.tokens import PREFIX, TokenFault, issue_card, parse_token
from tests.bench.fuzz import (
    Issuer,
    Tally,
    _row,
    files,
    fuzz_files_in_child,
    fuzz_images,
    fuzz_texts,
    images,
    symbols,
    texts,
    timed,
    told_by,
)

SEED = 7
SYMBOLS = 24


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """Forty issued tokens."""
    return Issuer(SEED)


def test_no_hostile_text_crashes_or_is_accepted(issuer: Issuer) -> None:
    tally = fuzz_texts(issuer, 12_000, SEED)
    assert tally.is_clean(), tally.first
    assert tally.runs == 12_000
    assert 500 < tally.read < 3_000, "too few texts reach the signatures, or most of them do"


def test_no_hostile_image_crashes_the_decoder_or_is_accepted(issuer: Issuer) -> None:
    tally = fuzz_images(issuer, 160, SEED, symbol_count=SYMBOLS)
    assert tally.is_clean(), tally.first
    assert tally.runs == 160
    assert tally.read > 10, "hardly any image is near enough to a code"


def test_no_spoilt_file_crashes_the_loaders() -> None:
    tally = fuzz_files_in_child(270, SEED)
    assert tally.is_clean(), tally.first
    assert tally.runs == 270
    assert 10 < tally.read < 200, "the files are spoilt too much, or not at all"


def test_what_is_thrown_is_the_same_for_the_same_seed(issuer: Issuer) -> None:
    assert list(texts(issuer, Random(SEED), 200)) == list(texts(Issuer(SEED), Random(SEED), 200))
    assert list(files(np.random.default_rng(SEED), 40)) == list(files(np.random.default_rng(SEED), 40))
    drawn = symbols(issuer, SEED, SYMBOLS)
    once, twice = (list(images(drawn, np.random.default_rng(SEED), 40)) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(once, twice, strict=True))


def test_an_issued_token_is_told_from_one_that_was_not(issuer: Issuer) -> None:
    tally = Tally()
    issuer.judge(issuer.texts[0], tally)
    assert (tally.read, tally.genuine, tally.is_clean()) == (1, 1, True)
    key = Ed25519PrivateKey.from_private_bytes(Random(SEED).randbytes(32))  # the issuer's own key, in other hands
    forged = issue_card(key, issuer=1, member=MemberId(bytes(10)), serial=1, expiry_day=30_000)
    issuer.judge(forged, tally)
    assert (tally.accepted, tally.is_clean()) == (1, False)
    assert tally.first == f"accepted {forged!r}"
    assert _row("texts", timed(lambda: tally)).missed


def test_texts_end_in_every_way_a_text_can(issuer: Issuer) -> None:
    ends = {
        type(parsed) if not isinstance(parsed := parse_token(text), TokenFault) else parsed for text in _some(issuer)
    }
    assert len(ends) == 4, "card, phone code, foreign, malformed"


def _some(issuer: Issuer) -> list[str]:
    found = list(texts(issuer, Random(SEED), 500))
    assert any(len(text) > 1000 for text in found)
    assert any(text.startswith(PREFIX) for text in found)
    return found


def test_a_child_that_dies_counts() -> None:
    killed = subprocess.CompletedProcess([], -11, stdout=b"")
    assert told_by(killed, 9) == Tally(runs=9, crashes=1, first="the loaders' child ended with -11")
