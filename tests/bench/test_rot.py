"""A cut or a flipped bit in the files of a kiosk's database is found or changed nothing: 300 times each."""

import pytest

from tests.bench.rot import TRIALS, Fault, Finding, results


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", Fault)
def test_nothing_changes_in_silence(fault: Fault) -> None:
    found = results(TRIALS, (fault,))[fault]
    assert found[Finding.SILENT] == 0
    assert found[Finding.TOGETHER] + found[Finding.UNCHANGED] + found[Finding.NEWEST] == TRIALS
    match fault:
        case Fault.CUT:
            assert found[Finding.TOGETHER] == 0, "a power cut is no damage"
        case Fault.LOG_BIT:
            assert found[Finding.TOGETHER] > TRIALS / 2
        case Fault.FILE_BIT:
            assert found[Finding.SUMS] > found[Finding.QUICK]
            assert found[Finding.TOGETHER] > TRIALS / 3
        case Fault.SUMS_BIT:
            assert found[Finding.UNCHANGED] == TRIALS, "damaged sums damage nothing else"
