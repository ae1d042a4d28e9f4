"""A grant is durable with one sync of the log and no other, and every grant of the benchmark is one."""

from collections import Counter
from pathlib import Path

import pytest

from tests.bench.grant import count_syncs, grants, show_card, show_phone, why_uncounted
from tests.support.entrances import DEVICE


def test_one_sync_a_grant_and_none_of_anything_but_the_log(tmp_path: Path) -> None:
    uncounted = why_uncounted()
    if uncounted is not None:
        pytest.skip(uncounted)
    assert count_syncs(tmp_path, 40) == Counter({f"{DEVICE}.db-wal": 40})


@pytest.mark.parametrize("online", [True, False])
def test_what_is_measured_are_grants(tmp_path: Path, online: bool) -> None:
    for name, shows in (("cards", show_card), ("phones", show_phone)):
        (tmp_path / name).mkdir()
        result = grants(tmp_path / name, shows, 10, online=online)
        assert 0 < result.median_ms <= result.p99_ms
