"""Several workers on one database: no deadlock, no lost update, and the ledger of one worker."""

import threading

from shared.answers import Outcome, Verdict
from tests.cloud.claims.world import NOON, World
from tests.support.kiosk import member_of

WORKERS = 4
MEMBERS = 20
A_MESSAGE = 4


def test_workers_that_share_devices_and_members_end_in_one_ledger(world: World) -> None:
    """Each message goes to two workers, as after a redelivery; every member is claimed for at four doors."""
    kiosks = [world.add_kiosk(f"door{number}") for number in range(4)]
    said = {
        kiosk.device: [kiosk.claim(member_of(number), NOON) for number in range(1, MEMBERS + 1)] for kiosk in kiosks
    }
    starts = range(0, MEMBERS, A_MESSAGE)
    work = [(device, said[device][start : start + A_MESSAGE]) for start in starts for device in said]
    work += work[1:] + work[:1]  # a step aside, so that no worker has a device to itself
    verdicts: list[Verdict] = []
    failures: list[Exception] = []

    def serve(worker: int) -> None:
        for message in work[worker::WORKERS]:
            try:
                verdicts.extend(world.send(message).verdicts)
            except Exception as error:  # noqa: BLE001 - a thread's failure is the test's to tell
                failures.append(error)

    threads = [threading.Thread(target=serve, args=(worker,)) for worker in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert len(verdicts) == 2 * len(kiosks) * MEMBERS
    assert {verdict.outcome for verdict in verdicts} == {Outcome.POSTED, Outcome.EXISTS}
    assert [world.balance(number) for number in range(1, MEMBERS + 1)] == [10] * MEMBERS
    assert world.count_stored() == len(kiosks) * MEMBERS
    receipts = world.send(*((kiosk.device, said[kiosk.device][:1]) for kiosk in kiosks)).receipts
    assert [receipt.contiguous for receipt in receipts] == [MEMBERS] * len(kiosks)
    world.assert_sound()
