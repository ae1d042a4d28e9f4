"""From a code that was accepted to a face that is learnt, or forgotten: what is offered, asked, shown and written."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge.channel.messages import EnrolEnded, EnrolHinted, EnrolStarts, EnrolStops, EnrolTold
from edge.core.invitation import Invitation, Visitor, invite
from edge.core.screen import Offer, Screen, ScreenName, StandHint
from edge.db import faces, knowledge
from edge.flow.admit import Admission
from edge.flow.consent import give_consent, record_template, withdraw_consent
from edge.flow.entrance import Entrance
from edge.flow.held import Held
from edge.flow.recognise import may_be_recognised
from edge.flow.stage import Stage
from edge.flow.templates import Templates
from shared.business_day import milliseconds
from shared.consent import BIOMETRIC_TEXT_VERSION
from shared.ids import MemberId
from shared.policy import Means

log = logging.getLogger(__name__)

Tell = Callable[[EnrolTold], None]
INVITING = frozenset({ScreenName.GREETING, ScreenName.COLLECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Invited:
    """The member on the screen, how they were known, and what they may tap or what follows by itself."""

    member: MemberId
    means: Means
    language: str
    invitation: Invitation


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """A face is being learnt for this member; `tell` hears how it goes when somebody at the command line asked."""

    member: MemberId
    language: str | None
    tell: Tell | None = None


class Enrolment:
    """What is going on about one member's face, at most one member at a time."""

    def __init__(self, entrance: Entrance, stage: Stage, held: Held, templates: Templates) -> None:
        self._entrance = entrance
        self._stage = stage
        self._held = held
        self._templates = templates
        self._invited: Invited | None = None
        self._learning: Learning | None = None
        self._forgetting: Invited | None = None

    @property
    def member(self) -> MemberId | None:
        """Whose face is being learnt."""
        return None if self._learning is None else self._learning.member

    # --- after a code -----------------------------------------------------------------------------------------------

    def offer(self, admission: Admission) -> tuple[Screen, Invited | None]:
        """The admission's screen with what it offers about faces, to be remembered once it is shown."""
        shown, member, screen = admission.shown, admission.member, admission.screen
        if shown is None or member is None or screen.name not in INVITING:
            return screen, None
        connection = self._entrance.database.connection
        visitor = Visitor(
            means=shown.admitted.means,
            fresh=not shown.admitted.repeated,
            consents=may_be_recognised(connection, member),
            held=faces.is_kept(connection, member),
        )
        # Whoever is to forget must be there to do it.
        if visitor.held and self._held.vision is None:
            return screen, None
        invitation = invite(visitor, looking=self._held.is_on, touch=self._entrance.touch)
        offer = {Invitation.ASK: Offer.RECOGNISE_ME, Invitation.FORGET: Offer.FORGET_ME}.get(invitation)
        invited = Invited(
            member=member,
            means=shown.admitted.means,
            language=spoken(screen.language, self._entrance.languages),
            invitation=invitation,
        )
        return screen if offer is None else replace(screen, offers=(offer,)), invited

    def remember(self, invited: Invited | None) -> None:
        """The screen that offers it is on, until another comes."""
        self._invited = invited

    def greeted(self) -> bool:
        """The greeting's time is over; True when the face of a member who consented on their page is learnt now."""
        invited, self._invited = self._invited, None
        if invited is None or invited.invitation is not Invitation.LEARN or not self._held.is_on:
            return False
        self._start(Learning(member=invited.member, language=invited.language))
        return True

    # --- what is tapped ---------------------------------------------------------------------------------------------

    def ask_consent(self) -> None:
        """Shows the text to agree to."""
        invited = self._invited
        if invited is None or invited.invitation is not Invitation.ASK:
            return
        self._stage.show(
            Screen(
                name=ScreenName.CONSENT,
                language=invited.language,
                text_version=BIOMETRIC_TEXT_VERSION,
                offers=(Offer.AGREE, Offer.DECLINE),
            )
        )
        self.remember(invited)

    def agree(self) -> None:
        """Writes the consent, and only then learns the face. Raises: StorageFull."""
        invited, self._invited = self._invited, None
        if invited is None or invited.invitation is not Invitation.ASK:
            return
        if not self._held.is_on:  # turned off while the text was read
            self._stage.rest(ScreenName.CONSENT)
            return
        give_consent(self._entrance, invited.member, invited.means, invited.language, self._entrance.now())
        self._stage.wrote()
        self._start(Learning(member=invited.member, language=invited.language))

    def decline(self) -> None:
        """Not now: back to rest, and nothing that was taken is kept."""
        self._stage.rest(ScreenName.CONSENT, ScreenName.ENROL)

    def forget_me(self) -> None:
        """Writes the withdrawal, and tells `vision`; the screen says so once it is done. Raises: StorageFull."""
        invited, self._invited = self._invited, None
        if invited is None or invited.invitation is not Invitation.FORGET:
            return
        withdraw_consent(self._entrance, invited.member, invited.means, invited.language, self._entrance.now())
        self._stage.wrote()
        self._forgetting = invited
        self._templates.forget_now()

    def forgotten(self, members: frozenset[MemberId]) -> None:
        """These are proved to be gone."""
        invited = self._forgetting
        if invited is not None and invited.member in members:
            self._forgetting = None
            self._stage.show(Screen(name=ScreenName.FORGOTTEN, language=invited.language))

    # --- while a face is learnt -------------------------------------------------------------------------------------

    def ask(self, member: MemberId, tell: Tell) -> None:
        """Somebody at the command line wants this member's face learnt now."""
        reason = self._against(member)
        if reason is not None:
            tell(EnrolTold(done=True, hint=None, taken=0, wanted=0, reason=reason))
            return
        known = knowledge.known_member(self._entrance.database.connection, member)
        language = None if known is None else known.language
        self._start(Learning(member=member, language=spoken(language, self._entrance.languages), tell=tell))

    def stop_asking(self, tell: Tell) -> None:
        """Whoever asked at the command line is gone."""
        if self._learning is not None and self._learning.tell is tell:
            self._stage.rest(ScreenName.ENROL)

    def hint(self, hinted: EnrolHinted) -> None:
        """How the member should stand now."""
        learning = self._learning
        if learning is None or learning.member != hinted.member:
            return
        if learning.tell is not None:
            learning.tell(
                EnrolTold(done=False, hint=hinted.hint, taken=hinted.taken, wanted=hinted.wanted, reason=None)
            )
        self._show_hint(learning, hinted.hint, hinted.taken, hinted.wanted)

    def ended(self, ended: EnrolEnded) -> None:
        """Writes the template, gives it back to `vision` for use, and says so; or says why not. Raises: StorageFull."""
        learning = self._learning
        if learning is None or learning.member != ended.member:
            return
        self._learning = None
        moment = self._entrance.now()
        if ended.template is None or moment.reading.instant is None or ended.template.member != learning.member:
            self._say(learning, "nobody" if ended.refusal is None else ended.refusal.value)
            screen = Screen(name=ScreenName.NOT_ENROLLED, refusal=ended.refusal, language=learning.language)
            self._stage.show(screen)
            return
        record_template(self._entrance, ended.template, ended.frames, moment)
        self._templates.keep((ended.template,), milliseconds(moment.reading.instant))
        self._stage.wrote()
        self._say(learning, None)
        self._stage.show(Screen(name=ScreenName.ENROLLED, language=learning.language))

    def screen_changes(self, screen: Screen | None) -> None:
        """Another screen, or none, takes the place of what was shown: what it was about is over."""
        if self._learning is not None and (screen is None or screen.name is not ScreenName.ENROL):
            learning, self._learning = self._learning, None
            self._entrance.eyes.tell(EnrolStops())
            self._say(learning, "interrupted")
        self._invited = None
        self._forgetting = None

    def vision_changed(self) -> None:
        """`vision` is another process now, or none: what it had taken is lost."""
        self._stage.rest(ScreenName.ENROL)

    def _against(self, member: MemberId) -> str | None:
        if not self._held.is_on:
            return self._held.readiness.value
        if not may_be_recognised(self._entrance.database.connection, member):
            return "no consent in force"
        screen = self._stage.screen
        return "somebody is being served" if screen is not None else None

    def _start(self, learning: Learning) -> None:
        self._show_hint(learning, StandHint.COME, 0, 0)
        self._learning = learning
        self._entrance.eyes.tell(EnrolStarts(member=learning.member))

    def _show_hint(self, learning: Learning, hint: StandHint, taken: int, wanted: int) -> None:
        self._stage.show(
            Screen(
                name=ScreenName.ENROL,
                language=learning.language,
                hint=hint,
                taken=taken,
                wanted=wanted,
                offers=(Offer.DECLINE,) if self._entrance.touch else (),
            )
        )

    def _say(self, learning: Learning, reason: str | None) -> None:
        if learning.tell is not None:
            learning.tell(EnrolTold(done=True, hint=None, taken=0, wanted=0, reason=reason))


def spoken(asked: str | None, languages: tuple[str, ...]) -> str:
    """The screen's language for a member who prefers `asked` ("it-IT" finds "it"), else the screen's own."""
    wanted = (asked or "").lower()
    known = {language.lower(): language for language in reversed(languages)}
    return known.get(wanted) or known.get(wanted.split("-")[0]) or languages[0]
