"""What the device says about itself: its state to the cloud, its status to the screen and the command line."""

import msgspec

from edge.channel.messages import CertificateTold, PartnerTold, RecoveryTold, StatusTold
from edge.core.screen import Status
from edge.db import claims, instants, knowledge, outbox
from edge.db.database import Connection
from edge.flow.entrance import Entrance
from edge.flow.held import Held
from edge.flow.instants import hub_of
from shared.business_day import instant_of, milliseconds
from shared.envelope import DeviceState


def device_state(entrance: Entrance, held: Held, session: int, *, online: bool, settled: int) -> DeviceState:
    """The birth message (or, not online, the will). Of templates it names what `vision` holds, or last held."""
    connection = entrance.database.connection
    life = knowledge.life(connection)
    policy = knowledge.policy(connection)
    allotment = None if policy is None else claims.allotment_of(connection, policy.campaign, life.epoch)
    feeds = knowledge.feed_versions(connection)
    if held.vision is not None:
        feeds = msgspec.structs.replace(feeds, templates=held.vision.templates_version)
    return DeviceState(
        device=entrance.device,
        session=session,
        online=online,
        database=life.database,
        epoch=life.epoch,
        head=outbox.head_of(connection, entrance.device, life.epoch).seq,
        settled=settled,
        feeds=feeds,
        allotment=0 if allotment is None else allotment.serial,
        software=entrance.software,
        lan=entrance.lan_address,
    )


def screen_status(entrance: Entrance, held: Held, *, online: bool, waiting: int, camera_live: bool) -> Status:
    """What stands beside every screen."""
    policy = knowledge.policy(entrance.database.connection)
    return Status(
        online=online,
        waiting=waiting,
        store_name="" if policy is None else policy.store_name,
        camera_live=camera_live,
        clock_trusted=entrance.now().reading.instant is not None,
        faces=held.is_on,
    )


def status(
    entrance: Entrance,
    held: Held,
    *,
    online: bool,
    camera_live: bool,
    decoder_restarts: int,
    screen: str,
    no_match_today: int,
    storage_full: bool,
    shares_waiting: int,
    certificate: CertificateTold | None,
) -> StatusTold:
    """The answer to `doorstep-edge status`."""
    connection = entrance.database.connection
    life = knowledge.life(connection)
    policy = knowledge.policy(connection)
    moment = entrance.now()
    reading = moment.reading
    day = None if policy is None or reading.instant is None else policy.calendar.business_day(reading.instant)
    allotment = None if policy is None else claims.allotment_of(connection, policy.campaign, life.epoch)
    oldest_ms = outbox.oldest_waiting_ms(connection)
    now_ms = None if reading.instant is None else milliseconds(reading.instant)
    copies = () if entrance.cellar is None else entrance.cellar.snapshots.newest_first()
    return StatusTold(
        device=entrance.device,
        store=None if policy is None else policy.store,
        epoch=life.epoch,
        online=online,
        clock_trust=reading.trust,
        business_day=None if day is None else day.isoformat(),
        policy_version=0 if policy is None else policy.version,
        claims_today=0 if day is None else claims.count_claims(connection, day.isoformat()),
        claims_total=claims.count_claims(connection, None),
        visits_waiting=claims.count_waiting_visits(connection),
        outbox_waiting=outbox.count_waiting(connection),
        oldest_waiting_s=None if oldest_ms is None or now_ms is None else max(0, (now_ms - oldest_ms) // 1000),
        rejected=outbox.count_rejected(connection),
        allotment_left=0 if allotment is None else allotment.left,
        roster=knowledge.count_roster(connection),
        camera_live=camera_live,
        decoder_restarts=decoder_restarts,
        screen=screen,
        faces=held.readiness.value,
        templates=0 if held.vision is None else held.vision.templates,
        group=None if held.vision is None or held.vision.group is None else held.vision.group.hex(),
        no_match_today=no_match_today,
        recovery=_recovery(connection, is_issued=life.epoch > 0),
        leftovers=outbox.count_leftovers(connection, life.epoch),
        snapshots=len(copies),
        snapshot_ms=copies[0].taken_ms if copies else None,
        storage_full=storage_full,
        partners=()
        if held.vision is None
        else tuple(PartnerTold(store=one.store, group=one.key.hex()) for one in held.vision.partners),
        shares_waiting=shares_waiting,
        certificate_ends=_ends(certificate),
        renewal=None if certificate is None else certificate.renewal,
        renewal_reason=None if certificate is None else certificate.reason,
        hub=hub_of(connection, entrance, knowledge.store_page(connection), moment),
        coupons_today=0 if day is None else instants.count_shown(connection, life.epoch, day.isoformat()),
    )


def _recovery(connection: Connection, *, is_issued: bool) -> RecoveryTold | None:
    began = knowledge.recovery(connection)
    if began is None:
        return None
    return RecoveryTold(
        how=began.how.value,
        at_ms=began.at_ms,
        snapshot_ms=began.snapshot_ms,
        salvaged=began.salvaged,
        damage=began.damage,
        epoch_issued=is_issued,
    )


def _ends(certificate: CertificateTold | None) -> str | None:
    if certificate is None or certificate.ends_ms is None:
        return None
    return instant_of(certificate.ends_ms).isoformat()
