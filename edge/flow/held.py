"""What the agent remembers of `vision`: what it holds for faces, and whether faces may be looked at."""

from dataclasses import dataclass

from edge.channel.messages import FaceTerms, VisionHello
from edge.core.readiness import FaceStanding, Readiness, judge_readiness
from edge.db import knowledge
from edge.flow.entrance import Entrance, Moment
from shared.answers import FeedName
from shared.business_day import instant_of
from shared.policy import Policy


@dataclass(slots=True)
class Held:
    """`vision` as it last spoke of itself, None while it is away; what it was told, and why that is as it is."""

    vision: VisionHello | None = None
    terms: FaceTerms | None = None
    readiness: Readiness = Readiness.NO_POLICY

    @property
    def is_bound(self) -> bool:
        """True once `vision` was told whose templates it keeps: before, it may be told nothing about them."""
        return self.vision is not None and self.terms is not None

    @property
    def is_on(self) -> bool:
        """True while `vision` looks at faces."""
        return self.readiness is Readiness.ON and self.terms is not None


def review_terms(entrance: Entrance, held: Held, moment: Moment) -> None:
    """Tells `vision` what it may do when that is another thing than it was told.

    Nothing before there is a policy: it names the store, and a secret of another store would be thrown away.
    """
    connection = entrance.database.connection
    policy = knowledge.policy(connection)
    held.readiness = judge_readiness(_standing(entrance, held, policy), moment.reading.instant)
    if held.vision is None or policy is None:
        return
    terms = FaceTerms(
        on=held.readiness is Readiness.ON,
        liveness=policy.liveness,
        device=entrance.device,
        store=policy.store,
        life=knowledge.life(connection).database,
    )
    if terms != held.terms:
        held.terms = terms
        entrance.eyes.tell(terms)


def _standing(entrance: Entrance, held: Held, policy: Policy | None) -> FaceStanding:
    connection = entrance.database.connection
    ages = {
        name: None if (told_ms := knowledge.current_ms(connection, name)) is None else instant_of(told_ms)
        for name in (FeedName.POLICY, FeedName.DENY, FeedName.ROSTER, FeedName.TEMPLATES)
    }
    return FaceStanding(
        wanted=None if policy is None else policy.faces,
        revoked=knowledge.is_revoked(connection, entrance.device),
        vision=held.vision is not None,
        models=held.vision is not None and held.vision.embedder is not None,
        group=held.vision is not None and held.vision.group is not None,
        policy_as_of=ages[FeedName.POLICY],
        deny_list_as_of=ages[FeedName.DENY],
        roster_as_of=ages[FeedName.ROSTER],
        templates_as_of=ages[FeedName.TEMPLATES],
    )
