"""Lines between kiosks, broker and cloud are cut in every way, in network namespaces; all is posted once in the end."""

import pytest

from tests.support.namespaces import why_no_namespaces
from tests.support.shop import no_shop
from tests.system.partitions import run_apart

SEED = 20261129

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


def test_lines_that_are_cut_or_drop_in_silence_cost_nobody_a_point() -> None:
    reason = no_shop() or why_no_namespaces()
    if reason is not None:
        pytest.skip(reason)
    said: list[str] = []
    code = run_apart(1, SEED, is_quick=True, say=said.append)
    assert code == 0, "".join(said)[-6000:]
