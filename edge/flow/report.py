"""What the device says about itself: its state to the cloud, its status to the screen and the command line."""

from edge.channel.messages import StatusTold
from edge.core.screen import Status
from edge.db import claims, knowledge, outbox
from edge.flow.entrance import Entrance
from shared.business_day import milliseconds
from shared.envelope import DeviceState


def device_state(entrance: Entrance, session: int, *, online: bool, settled: int) -> DeviceState:
    """The birth message (or, not online, the will)."""
    connection = entrance.database.connection
    life = knowledge.life(connection)
    policy = knowledge.policy(connection)
    allotment = None if policy is None else claims.allotment_of(connection, policy.campaign, life.epoch)
    return DeviceState(
        device=entrance.device,
        session=session,
        online=online,
        database=life.database,
        epoch=life.epoch,
        head=outbox.head_of(connection, entrance.device, life.epoch).seq,
        settled=settled,
        feeds=knowledge.feed_versions(connection),
        allotment=0 if allotment is None else allotment.serial,
        software=entrance.software,
    )


def screen_status(entrance: Entrance, *, online: bool, waiting: int, camera_live: bool) -> Status:
    """What stands beside every screen."""
    policy = knowledge.policy(entrance.database.connection)
    return Status(
        online=online,
        waiting=waiting,
        store_name="" if policy is None else policy.store_name,
        camera_live=camera_live,
        clock_trusted=entrance.now().reading.instant is not None,
    )


def status(entrance: Entrance, *, online: bool, camera_live: bool, decoder_restarts: int, screen: str) -> StatusTold:
    """The answer to `doorstep-edge status`."""
    connection = entrance.database.connection
    life = knowledge.life(connection)
    policy = knowledge.policy(connection)
    reading = entrance.now().reading
    day = None if policy is None or reading.instant is None else policy.calendar.business_day(reading.instant)
    allotment = None if policy is None else claims.allotment_of(connection, policy.campaign, life.epoch)
    oldest_ms = outbox.oldest_waiting_ms(connection)
    now_ms = None if reading.instant is None else milliseconds(reading.instant)
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
    )
