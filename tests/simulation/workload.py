"""Who comes to which door and with what in the hand, and what the merchant changes meanwhile.

Members come in rushes, as in a shop, and some around the cut-off hour; most with their own card or phone, some with
what should not be accepted. What the cloud was told of denials is kept here for the checkers: it is what a kiosk may
not have known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import partial
from random import Random
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from cloud.campaigns.actions import create_campaign
from cloud.campaigns.rules import Campaign
from cloud.catalogue.actions import set_daily_reward
from cloud.devices.actions import revoke_device
from cloud.kit.database import writing
from cloud.members import actions as members
from cloud.members.actions import PrintedCard
from cloud.members.tables import member as member_table
from shared.ids import CampaignId, MemberId, StoreId
from shared.policy import Policy
from shared.tokens import issue_card, show_phone_code, step_of
from tests.simulation.clock import DAY, HOUR, SECOND
from tests.simulation.cloud import Cloud
from tests.simulation.kiosk import Kiosk
from tests.simulation.plan import Plan, poisson
from tests.simulation.prepared import CALENDARS, ROME, TENANT, UNIT, WORDS, YORK, Credentials, PhoneKey, Prepared
from tests.simulation.schedule import Schedule
from tests.simulation.trace import Fault

RUSH_HOURS: Final = (8.5, 18.2)  # local time
RUSH_SPREAD_H: Final = 0.006  # most come within half a minute of it, as when a bell rings
ALONE_MAX: Final = 12  # members who find the one door that is open
CAMPAIGNS: Final = (CampaignId("daily-1"), CampaignId("daily-2"))


@dataclass(slots=True, kw_only=True)
class Person:
    """A member with what is in their pocket. `old_card` was replaced; `seen_code` is a phone code somebody copied."""

    member: MemberId
    home: StoreId
    card: str
    phone: PhoneKey | None
    phone_off_s: int
    old_card: str | None = None
    seen_code: str | None = None


@dataclass(slots=True, kw_only=True)
class Known:
    """What the cloud was told and a kiosk learns later.

    `denials` are the versions of the deny list in which something of the member's was denied; `left` are those gone.
    """

    denials: dict[MemberId, list[int]] = field(default_factory=dict)
    left: set[MemberId] = field(default_factory=set)


class Workload:
    """Plans each day's visits and changes, and carries them out."""

    def __init__(
        self,
        schedule: Schedule,
        plan: Plan,
        prepared: Prepared,
        cloud: Cloud,
        kiosks: Sequence[Kiosk],
        people: Sequence[Credentials],
    ) -> None:
        self.known = Known()
        self.is_over = False
        self.visits = 0
        self._schedule = schedule
        self._plan = plan
        self._prepared = prepared
        self._cloud = cloud
        self._random = Random(f"workload {plan.seed}")
        self._doors = {store: [one for one in kiosks if one.identity.store == store] for store in (ROME, YORK)}
        self._people = [self._person(one) for one in people[: plan.members]]

    def _person(self, credentials: Credentials) -> Person:
        random = self._random
        home = YORK if self._doors[YORK] and random.random() < 0.3 else ROME
        return Person(
            member=credentials.member,
            home=home,
            card=credentials.card,
            phone=credentials.phone,
            phone_off_s=random.choice((-900, 400, 7200)) if random.random() < 0.05 else random.randint(-20, 20),
        )

    # --- days -------------------------------------------------------------------------------------------------------

    def plan_day(self, number: int, start_ns: int) -> None:
        """Who comes and what changes within a day from `start_ns`."""
        random, changes = self._random, self._plan.changes
        today = (self._schedule.time.start + timedelta(microseconds=start_ns // 1000)).date()
        for person in self._people:
            for _ in range(poisson(random, self._plan.visits)):
                self._plan_visit(person, today)
        for often, change in (
            (changes.policies, self._change_policy),
            (changes.denials, self._deny),
            (changes.leaves, self._leave),
        ):
            for _ in range(poisson(random, often)):
                self._schedule.at(start_ns + random.randrange(DAY), change)
        if changes.revoke_day == number:
            self._schedule.at(start_ns + random.randrange(DAY), self._revoke)

    def plan_alone(self, door: Kiosk, start_ns: int) -> None:
        """Members come to one door in the half day from `start_ns`, to be heard of when its line is back."""
        for person in self._random.sample(self._people, min(len(self._people), ALONE_MAX)):
            when_ns = start_ns + self._random.randrange(12 * HOUR)
            self._schedule.at(when_ns, partial(self._visit, person, door))

    def _plan_visit(self, person: Person, today: date) -> None:
        random = self._random
        store = person.home
        if random.random() < 0.1:
            store = YORK if store == ROME else ROME
        if not self._doors[store]:
            return
        calendar = CALENDARS[store]
        if random.random() < 0.04:
            local_s = calendar.cutoff_hour * 3600 + random.randint(-900, 900)
        else:
            local_s = int((random.choice(RUSH_HOURS) + random.gauss(0, RUSH_SPREAD_H)) * 3600)
        midnight = datetime.combine(today, time(), tzinfo=ZoneInfo(calendar.zone))
        start = self._schedule.time.start
        when_ns = int((midnight.timestamp() - start.timestamp() + local_s) * 1e9) + random.randrange(SECOND)
        door = random.choice(self._doors[store])
        if when_ns > 0:
            self._schedule.at(when_ns, lambda: self._visit(person, door))

    # --- at the door ------------------------------------------------------------------------------------------------

    def _visit(self, person: Person, door: Kiosk) -> None:
        if self.is_over or not door.is_on:
            return
        self.visits += 1
        texts = self._in_hand(person)
        self._schedule.note(door.name, f"visit {person.member.hex()[:6]}")
        door.see(texts)
        for number in range(self._random.choice((0, 0, 1, 2))):
            delay_ns = (number + 1) * self._random.randint(SECOND // 5, 2 * SECOND)
            self._schedule.after(delay_ns, lambda: door.see(texts))

    def _in_hand(self, person: Person) -> tuple[str, ...]:
        """What the camera reads: mostly the member's own card or phone."""
        random = self._random
        own = self._own_code(person)
        draw = random.random()
        if draw < 0.80:
            return (own,)
        if draw < 0.84:
            return (own, person.card)
        if draw < 0.87:
            return (own, self._own_code(random.choice(self._people)))
        if draw < 0.90 and person.old_card is not None:
            return (person.old_card,)
        if draw < 0.93 and person.seen_code is not None:
            return (person.seen_code,)
        if draw < 0.95:
            return (self._expired_card(person),)
        if draw < 0.98:
            return (_forged(own, random),)
        return (random.choice(("DS1:NONSENSE", "https://example.org", "", "DS1:" + "A" * 400)),)

    def _own_code(self, person: Person) -> str:
        if person.phone is None or self._random.random() < 0.2:
            return person.card
        instant = self._schedule.time.instant + timedelta(seconds=person.phone_off_s)
        code = show_phone_code(person.phone.key, person.phone.certificate, step_of(instant))
        if person.seen_code is None or self._random.random() < 0.3:
            person.seen_code = code
        return code

    def _expired_card(self, person: Person) -> str:
        today = (self._schedule.time.instant - datetime(1970, 1, 1, tzinfo=self._schedule.time.start.tzinfo)).days
        issuer = self._prepared.issuer
        return issue_card(issuer.key, issuer=issuer.id, member=person.member, serial=1, expiry_day=today - 2)

    # --- what the merchant does -------------------------------------------------------------------------------------

    def open_shops(self) -> None:
        """Campaigns and the first terms of both stores."""
        plan, now = self._plan, self._schedule.time.instant
        with writing(self._prepared.engine) as connection:
            for id in CAMPAIGNS:
                wanted = Campaign(tenant=TENANT, id=id, name=id, unit=UNIT, allotment_points=plan.allotment_points)
                made = create_campaign(connection, wanted, budget=plan.budget, contingency=plan.contingency, now=now)
                assert made == wanted
            for store in (ROME, YORK):
                self._set_terms(
                    connection, store, CAMPAIGNS[0], plan.points, plan.reduced_points, plan.cards_reduced, now
                )

    def _change_policy(self) -> None:
        if self.is_over:
            return
        random, now = self._random, self._schedule.time.instant
        points = random.choice((5, 10, 20))
        campaign = CAMPAIGNS[0] if random.random() < 0.7 else CAMPAIGNS[1]
        store = random.choice((ROME, YORK))
        with writing(self._prepared.engine) as connection:
            version = self._set_terms(
                connection, store, campaign, points, random.choice((0, 1, 1, 1, points)), random.random() < 0.3, now
            )
        self._schedule.fault(Fault.POLICY_CHANGE, "cloud", f"{store} {version}")
        self._cloud.bring_news_soon()

    def _set_terms(
        self,
        connection: Connection,
        store: StoreId,
        campaign: CampaignId,
        points: int,
        reduced_points: int,
        cards_reduced: bool,
        now: datetime,
    ) -> int:
        made = set_daily_reward(
            connection,
            store,
            points=points,
            reduced_points=reduced_points,
            campaign=campaign,
            cards_reduced=cards_reduced,
            instant=self._plan.instant,
            now=now,
        )
        assert isinstance(made, Policy)
        return made.version

    def _deny(self) -> None:
        """A member's cards or phones are denied, or a new card denies the old one."""
        if self.is_over:
            return
        random, now = self._random, self._schedule.time.instant
        person = random.choice(self._people)
        if person.member in self.known.left:
            return
        with writing(self._prepared.engine) as connection:
            kind = random.choice(("cards", "phones", "new card"))
            match kind:
                case "cards":
                    members.deny_cards(connection, TENANT, person.member, now=now)
                case "phones":
                    members.deny_phones(connection, TENANT, person.member, now=now)
                case _:
                    made = members.issue_card(connection, self._prepared.issuer, TENANT, person.member, now=now)
                    assert isinstance(made, PrintedCard)
                    person.old_card, person.card = person.card, made.text
            self._remember_denial(connection, person.member)
        self._schedule.fault(Fault.DENIAL, "cloud", f"{kind} of {person.member.hex()[:6]}")
        self._cloud.bring_news_soon()

    def _leave(self) -> None:
        if self.is_over:
            return
        person = self._random.choice(self._people)
        if person.member in self.known.left:
            return
        with writing(self._prepared.engine) as connection:
            members.leave(connection, TENANT, person.member, words=WORDS, now=self._schedule.time.instant)
            self._remember_denial(connection, person.member)
        self.known.left.add(person.member)
        self._schedule.fault(Fault.LEAVE, "cloud", person.member.hex()[:6])
        self._cloud.bring_news_soon()

    def _remember_denial(self, connection: Connection, member: MemberId) -> None:
        c = member_table.c
        query = select(c.deny_version).where(c.tenant == TENANT, c.id == member)
        version = connection.execute(query).scalar()
        if version is not None:
            self.known.denials.setdefault(member, []).append(version)

    def _revoke(self) -> None:
        """A kiosk is revoked; some minutes later the broker shuts it out as well."""
        door = self._random.choice(self._doors[ROME])
        if self.is_over or any(one.is_revoked for one in self._doors[ROME]):
            return
        with writing(self._prepared.engine) as connection:
            revoke_device(connection, door.identity.device, self._schedule.time.instant)
        door.is_revoked = True
        self._schedule.fault(Fault.REVOCATION, "cloud", door.name)
        self._cloud.bring_news_soon()
        self._schedule.after(self._random.randint(SECOND, HOUR), door.shut_out)


def _forged(text: str, random: Random) -> str:
    """The text with one character changed."""
    place = random.randrange(4, len(text))
    return text[:place] + ("7" if text[place] != "7" else "8") + text[place + 1 :]
