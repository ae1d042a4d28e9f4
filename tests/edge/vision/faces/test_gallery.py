"""The gallery finds whom exact search finds, holds who was put and forgets who was removed, to the last byte."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.core.match import CANDIDATES_MAX, COHORT_MAX, Comparison
from edge.vision.faces.gallery import (
    EXACT_MAX,
    MEMBERS_MAX,
    TEMPLATE_BYTES,
    Gallery,
    GalleryEntry,
    pack,
    unpack,
)
from shared.ids import MemberId

NOBODY = Comparison(candidates=(), enrolled=0, probes=2, cohort_mean=0.0, cohort_deviation=0.0)


def member(number: int) -> MemberId:
    return MemberId(number.to_bytes(10, "big"))


def directions(count: int, seed: int = 1) -> NDArray[np.float32]:
    """Vectors of length 1 as unlike each other as strangers' are: about 0.09 (portraits, 2026-11)."""
    vectors = np.random.default_rng(seed).normal(size=(count, 120)) @ np.random.default_rng(0).normal(size=(120, 256))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def entry(number: int, vector: NDArray[np.float32]) -> GalleryEntry:
    return GalleryEntry(member=member(number), template=pack(vector))


def near(vector: NDArray[np.float32], score: float, seed: int) -> NDArray[np.float32]:
    """A vector of length 1 that scores so with this one."""
    other = directions(1, seed)[0]
    across = other - vector * np.float32(other @ vector)
    turned = score * vector + np.sqrt(1 - score * score) * across / np.linalg.norm(across)
    return np.asarray(turned, np.float32)


def filled(vectors: NDArray[np.float32]) -> Gallery:
    gallery = Gallery()
    gallery.replace([entry(number, vector) for number, vector in enumerate(vectors)])
    return gallery


# --- templates --------------------------------------------------------------------------------------------------------


def test_a_template_is_its_vector_but_for_rounding() -> None:
    vectors = directions(300)
    packed = np.stack([unpack(pack(vector)) for vector in vectors])
    assert len(pack(vectors[0])) == TEMPLATE_BYTES == 260
    assert float(np.min(np.sum(packed * vectors, axis=1))) > 0.9999
    assert float(np.abs(packed[:100] @ vectors[100:].T - vectors[:100] @ vectors[100:].T).max()) < 0.003
    np.testing.assert_allclose(np.linalg.norm(packed, axis=1), 1.0, atol=2e-6)


def test_the_length_of_what_is_packed_does_not_matter() -> None:
    vector = directions(1)[0]
    assert pack(vector * np.float32(0.37)) == pack(vector)


# --- comparing --------------------------------------------------------------------------------------------------------


def test_an_empty_gallery_knows_nobody() -> None:
    assert Gallery().compare(directions(1)[0], 2) == NOBODY


def test_one_member_is_scored_without_a_cohort() -> None:
    vector = directions(1)[0]
    comparison = filled(vector[np.newaxis]).compare(near(vector, 0.6, 5), 3)
    assert [candidate.member for candidate in comparison.candidates] == [member(0)]
    assert comparison.candidates[0].score == pytest.approx(0.6, abs=0.003)
    assert (comparison.enrolled, comparison.probes) == (1, 3)
    assert (comparison.cohort_mean, comparison.cohort_deviation) == (0.0, 0.0)


def test_the_cohort_is_everybody_but_the_best() -> None:
    vectors = directions(60)
    probe = near(vectors[7], 0.8, 5)
    comparison = filled(vectors).compare(probe, 1)
    scores = np.delete(vectors @ probe, 7)
    assert comparison.candidates[0].member == member(7)
    assert len(comparison.candidates) == CANDIDATES_MAX
    assert comparison.cohort_mean == pytest.approx(float(scores.mean()), abs=0.001)
    assert comparison.cohort_deviation == pytest.approx(float(scores.std()), abs=0.001)


def test_candidates_come_best_first_and_are_the_best() -> None:
    vectors = directions(500)
    probe = near(vectors[3], 0.5, 9)
    comparison = filled(vectors).compare(probe, 1)
    expected = np.argsort(-(vectors @ probe))[:CANDIDATES_MAX]
    scores = [candidate.score for candidate in comparison.candidates]
    assert scores == sorted(scores, reverse=True)
    assert comparison.candidates[0].member == member(int(expected[0]))
    np.testing.assert_allclose(scores, (vectors @ probe)[expected], atol=0.003)


@pytest.fixture(scope="module")
def crowd() -> NDArray[np.float32]:
    return directions(EXACT_MAX + 4000, seed=3)


def test_signs_first_finds_whom_exact_search_finds(crowd: NDArray[np.float32]) -> None:
    gallery = filled(crowd)
    for number in range(40):
        probe = (
            near(crowd[number * 197], 0.5 + number * 0.01, 1000 + number) if number % 2 else directions(1, number)[0]
        )
        comparison = gallery.compare(probe, 1)
        scores = crowd @ probe
        best = int(np.argmax(scores))
        assert comparison.candidates[0].member == member(best)
        assert comparison.candidates[0].score == pytest.approx(float(scores[best]), abs=0.003)
        cohort = np.delete(scores[:COHORT_MAX], best) if best < COHORT_MAX else scores[:COHORT_MAX]
        assert comparison.cohort_mean == pytest.approx(float(cohort.mean()), abs=0.001)
        assert comparison.cohort_deviation == pytest.approx(float(cohort.std()), abs=0.001)


def test_a_search_leaves_nothing_in_its_buffers(crowd: NDArray[np.float32]) -> None:
    gallery = filled(crowd)
    gallery.compare(crowd[5], 1)
    assert not gallery._block.any()
    assert not gallery._apart.any()


@pytest.mark.parametrize("count", [EXACT_MAX, EXACT_MAX + 1])
def test_both_searches_agree_where_they_meet(crowd: NDArray[np.float32], count: int) -> None:
    probe = near(crowd[100], 0.7, 4)
    comparison = filled(crowd[:count]).compare(probe, 1)
    assert comparison.candidates[0].member == member(100)
    assert comparison.enrolled == count


# --- who is in it -----------------------------------------------------------------------------------------------------


def test_a_member_enrolled_anew_is_compared_with_the_new_template_only() -> None:
    vectors = directions(3)
    gallery = filled(vectors[:2])
    assert gallery.put(entry(0, vectors[2]))
    assert len(gallery) == 2
    assert gallery.compare(vectors[2], 1).candidates[0].member == member(0)
    assert gallery.compare(vectors[0], 1).candidates[0].score < 0.7


def test_of_a_member_named_twice_the_last_counts() -> None:
    vectors = directions(2)
    gallery = Gallery()
    gallery.replace([entry(0, vectors[0]), entry(0, vectors[1])])
    assert len(gallery) == 1
    assert gallery.compare(vectors[1], 1).candidates[0].score > 0.99


def test_members_are_told_apart_by_every_byte() -> None:
    vectors = directions(3)
    names = [MemberId(b"\x00" * 10), MemberId(b"\x00" * 9 + b"\x01"), MemberId(b"\x01" + b"\x00" * 9)]
    gallery = Gallery()
    for name, vector in zip(names, vectors, strict=True):
        gallery.put(GalleryEntry(member=name, template=pack(vector)))
    assert [gallery.compare(vector, 1).candidates[0].member for vector in vectors] == names


def test_a_full_gallery_takes_nobody_else_but_still_replaces() -> None:
    gallery, rows = Gallery(), np.random.default_rng(0).integers(0, 256, (MEMBERS_MAX, 10), np.uint8)
    rows[:, 0] = 7
    templates = np.tile(np.frombuffer(pack(directions(1)[0]), np.uint8), (MEMBERS_MAX, 1))
    gallery.extend(rows, templates)
    assert not gallery.put(entry(1, directions(1)[0]))
    assert gallery.put(GalleryEntry(member=MemberId(rows[9].tobytes()), template=pack(directions(2)[1])))
    assert len(gallery) == MEMBERS_MAX
    held = sum(array.nbytes for array in gallery._arrays())
    assert held <= 320 * MEMBERS_MAX


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_any_coming_and_going_leaves_who_is_in(steps: list[tuple[bool, int]]) -> None:
    vectors, gallery, expected = directions(10), Gallery(), set[int]()
    for comes, number in steps:
        if comes:
            gallery.put(entry(number, vectors[number]))
            expected.add(number)
        else:
            assert gallery.remove(member(number)) == (number in expected)
            expected.discard(number)
    assert len(gallery) == len(expected)
    for number in expected:
        assert gallery.compare(vectors[number], 1).candidates[0].member == member(number)
    rest = [array[..., len(gallery) :] for array in gallery._arrays()]
    assert not any(array.any() for array in rest), "what a member left behind is wiped"


def test_growing_wipes_the_outgrown_arrays() -> None:
    vectors, gallery = directions(257), Gallery()
    gallery.replace([entry(number, vector) for number, vector in enumerate(vectors[:256])])
    outgrown = gallery._arrays()
    gallery.put(entry(256, vectors[256]))
    assert not any(array.any() for array in outgrown)
    assert gallery.compare(vectors[17], 1).candidates[0].member == member(17)


def test_rows_are_made_in_advance_not_one_by_one() -> None:
    vectors, gallery, made = directions(600), Gallery(), set[int]()
    for number, vector in enumerate(vectors):
        gallery.put(entry(number, vector))
        made.add(len(gallery._scales))
    assert sorted(made) == [256, 512, 1024]


def test_nothing_is_left_after_the_wipe() -> None:
    gallery = filled(directions(30))
    arrays = (*gallery._arrays(), gallery._block)
    gallery.compare(directions(1)[0], 1)
    assert not gallery._block.any(), "no template stays in the search's own buffer"
    gallery.wipe()
    assert not any(array.any() for array in arrays)
    assert gallery.compare(directions(1)[0], 2) == NOBODY


def test_a_gallery_shows_no_template() -> None:
    assert repr(filled(directions(2))) == "Gallery(2)"
    assert "template" not in repr(entry(1, directions(1)[0]))
