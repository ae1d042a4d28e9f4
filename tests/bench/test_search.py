"""The search benchmark in small: it measures the product, and its own exact search knows no worse."""

from pathlib import Path

import numpy as np

from edge.core.match import PROBES_MAX
from edge.vision.faces.gallery import EXACT_MAX, Gallery, GalleryEntry, pack, unpack
from tests.bench.search import agreement, cold_start, compare_all, draw_crowd, draw_probes, pseudonyms, timed_searches

COUNT = EXACT_MAX + 2_000


def test_a_search_by_signs_first_says_what_a_search_of_all_says() -> None:
    chance = np.random.default_rng(1)
    crowd = draw_crowd(COUNT, chance, None)
    members, templates = pseudonyms(COUNT), [pack(person) for person in crowd.people]
    gallery, probes = Gallery(), draw_probes(crowd, 100, chance)
    gallery.replace([GalleryEntry(member=member, template=one) for member, one in zip(members, templates, strict=True)])
    found, times = timed_searches(gallery, probes)
    unpacked = np.stack([unpack(template) for template in templates])
    said = agreement(found, (compare_all(unpacked, members, probe) for probe in probes))
    assert (said.probes, said.best, said.verdict) == (100, 100, 100)
    assert all(one.probes == PROBES_MAX for one in found)
    assert times.min() > 0


def test_half_the_probes_are_of_members() -> None:
    chance = np.random.default_rng(2)
    crowd = draw_crowd(500, chance, None)
    best = (draw_probes(crowd, 200, chance) @ crowd.people.T).max(axis=1)
    assert best[::2].min() > 0.44
    assert np.median(best[1::2]) < 0.45


def test_every_template_of_a_start_is_usable(tmp_path: Path) -> None:
    people = draw_crowd(200, np.random.default_rng(3), None).people
    start = cold_start(tmp_path, pseudonyms(200), [bytes(pack(person)) for person in people])
    assert start.usable == 200
    assert start.cpu_s > 0
