"""What the cloud says becomes what the device knows: pages of feeds, an epoch, an allotment, a receipt."""

from enum import StrEnum

import msgspec

from edge.core.feeds import PageVerdict, judge_page
from edge.db import claims, faces, knowledge, outbox
from edge.db.database import Connection
from edge.flow.entrance import Entrance
from shared.answers import AllotmentIssued, EpochIssued, Page, Reason, Receipt, name_of
from shared.business_day import milliseconds
from shared.envelope import EnvelopeFault, Opened, open_envelope

DAMAGED = frozenset(Reason(fault.value) for fault in EnvelopeFault)
"""What the cloud says of bytes that did not prove to be ours: it stored nothing under that number."""


class Learned(StrEnum):
    """TAKEN: it is stored. IGNORED: not for us, or older than what we have. BEHIND: something in between is missing.
    OLDER_LIFE: it settled some of what an earlier life wrote. SET_BACK: the cloud knows a later history of this life.
    """

    TAKEN = "taken"
    IGNORED = "ignored"
    BEHIND = "behind"
    OLDER_LIFE = "older_life"
    SET_BACK = "set_back"


def learn_page(entrance: Entrance, page: Page) -> Learned:
    """Applies the page if it fits what is held."""
    with entrance.database.transaction() as connection:
        match judge_page(page, knowledge.held_feed(connection, name_of(page))):
            case PageVerdict.APPLY:
                knowledge.apply_page(connection, page)
                return Learned.TAKEN
            case PageVerdict.IGNORE:
                return Learned.IGNORED
            case PageVerdict.ASK:
                return Learned.BEHIND


def learn_epoch(entrance: Entrance, issued: EpochIssued) -> Learned:
    """Takes the epoch when it was issued for this device and this life of its database."""
    with entrance.database.transaction() as connection:
        life = knowledge.life(connection)
        if (issued.device, issued.database) != (entrance.device, life.database) or life.epoch not in (0, issued.epoch):
            return Learned.IGNORED
        knowledge.save_epoch(connection, issued.epoch)
    return Learned.TAKEN


def learn_allotment(entrance: Entrance, issued: AllotmentIssued) -> Learned:
    """Takes the total when it is this epoch's and newer than the one held."""
    with entrance.database.transaction() as connection:
        if issued.device != entrance.device or issued.epoch != knowledge.life(connection).epoch:
            return Learned.IGNORED
        return Learned.TAKEN if claims.save_allotment(connection, issued) else Learned.IGNORED


def believe_receipt(entrance: Entrance, receipt: Receipt) -> Receipt:
    """The receipt without verdicts on what was damaged on its way: our envelope is good and goes out again.

    Otherwise whoever carries the messages could have a claim thrown away by changing one bit.
    """
    doubtful = tuple(verdict.seq for verdict in receipt.verdicts if verdict.reason in DAMAGED)
    if not doubtful:
        return receipt
    envelopes = outbox.read_envelopes(entrance.database.connection, receipt.epoch, doubtful)
    opened = [open_envelope(one, entrance.device, entrance.signing_key.public_key()) for one in envelopes]
    good = {one.header.seq for one in opened if isinstance(one, Opened)}
    verdicts = tuple(
        verdict for verdict in receipt.verdicts if verdict.reason not in DAMAGED or verdict.seq not in good
    )
    return msgspec.structs.replace(receipt, verdicts=verdicts)


def learn_receipt(entrance: Entrance, receipt: Receipt) -> Learned:
    """Settles what the receipt settles.

    A receipt for another device, or for an epoch that nothing is kept of, is not ours. One whose head differs from our
    chain at that number, or that goes beyond what we wrote, speaks of another history than this database's (a restored
    image, a cloned card): it settles nothing, and this life of the database is over.
    """
    with entrance.database.transaction() as connection:
        epoch = knowledge.life(connection).epoch
        if receipt.device != entrance.device:
            return Learned.IGNORED
        if receipt.epoch != epoch:
            return _learn_older(connection, receipt)
        if not _is_our_history(connection, entrance, receipt):
            return Learned.SET_BACK
        outbox.settle(connection, receipt.epoch, receipt.contiguous, receipt.verdicts)
        faces.erase_settled(connection)
        instant = entrance.now().reading.instant
        if instant is not None:
            knowledge.save_balances(connection, receipt.epoch, receipt.verdicts, milliseconds(instant))
    return Learned.TAKEN


def _learn_older(connection: Connection, receipt: Receipt) -> Learned:
    """Settles what an earlier life of the database wrote. The cloud may know more of it than we: what was lost."""
    if receipt.epoch not in outbox.epochs(connection):
        return Learned.IGNORED
    known = outbox.chain_at(connection, receipt.epoch, receipt.contiguous)
    if known is not None and known != receipt.head:
        # Another history below this number: whatever the cloud settles there, it says number by number.
        receipt = msgspec.structs.replace(receipt, contiguous=0)
    settled = outbox.settle(connection, receipt.epoch, receipt.contiguous, receipt.verdicts)
    faces.erase_settled(connection)
    return Learned.OLDER_LIFE if settled else Learned.IGNORED  # nothing is sent again at once for a receipt twice told


def _is_our_history(connection: Connection, entrance: Entrance, receipt: Receipt) -> bool:
    """True unless the receipt's head is not our chain's. Numbers that were pruned are taken on trust."""
    if receipt.contiguous > outbox.head_of(connection, entrance.device, receipt.epoch).seq:
        return False
    known = outbox.chain_at(connection, receipt.epoch, receipt.contiguous)
    return known is None or known == receipt.head
