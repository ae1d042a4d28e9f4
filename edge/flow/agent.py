"""The device's one decider: every event comes here, every commit happens here, every screen leaves from here.

It holds what is not worth storing (the visit at the door, the state of sending, a question for the time) and calls
one use case an event. It never waits: time comes in with `tick`, messages with `hear`, codes with `see_codes`, what
`vision` says of faces with `hear_vision`.
"""

import logging
from dataclasses import dataclass, replace
from typing import assert_never

from edge.channel.messages import (
    CSR_BYTES_MAX,
    AdmissionTold,
    CertificateTold,
    ChallengeEnded,
    ClockTold,
    DistrustTold,
    EnrolEnded,
    EnrolHinted,
    FaceGone,
    FaceSeen,
    GroupChanged,
    GroupUnchanged,
    JoinTold,
    PeerAnswered,
    PeerAsked,
    PeersHeard,
    StatusTold,
    TemplateGiven,
    TemplatesKept,
    VisionHello,
)
from edge.core import sync as sending
from edge.core import visit as visits
from edge.core.device_events import DeviceEventKind
from edge.core.screen import FaultName, Offer, Screen, ScreenName
from edge.core.sync import Send, Sync
from edge.core.visit import Visit
from edge.db import knowledge, outbox
from edge.errors import StorageFull
from edge.flow import keep_time, learn, recover, report
from edge.flow.admit import Admission, admit_shown, judge_texts
from edge.flow.enrol import Enrolment, Tell
from edge.flow.entrance import Entrance, Moment
from edge.flow.faces import Faces
from edge.flow.group import WINDOW_S, Group
from edge.flow.held import Held, review_terms
from edge.flow.housekeeping import Housekeeping
from edge.flow.instants import Said
from edge.flow.introduce import Introductions
from edge.flow.keep_time import TimeQuestion
from edge.flow.learn import Learned
from edge.flow.neighbours import Neighbours, Then
from edge.flow.share import Sharing
from edge.flow.templates import Templates
from shared.answers import AllotmentIssued, Answer, EpochIssued, Page, Receipt, TemplatePage, TimeTold, open_answer
from shared.business_day import ClockTrust, milliseconds
from shared.envelope import SALT_BYTES, Batch, TimeAsked, encode
from shared.ids import MemberId
from shared.instants import InstantOutcome
from shared.policy import Means
from shared.provisioning import prove_renewal
from shared.topics import Down, Up

log = logging.getLogger(__name__)

ASK_TIME_EVERY_NS = 15 * 60 * 1_000_000_000
ASK_TIME_AGAIN_NS = 3 * 1_000_000_000  # while the time is not known
SAY_STATE_EVERY_NS = 10 * 60 * 1_000_000_000
SAY_STATE_AGAIN_NS = 2 * 1_000_000_000  # while something the cloud must give is missing
SEND_LEFTOVERS_EVERY_NS = 60 * 1_000_000_000

SERIAL_LENGTH_MAX = 40  # RFC 5280, section 4.1.2.2: 20 bytes

SECONDS_DEFAULT = 4.0
_SECONDS: dict[ScreenName, float] = {
    ScreenName.GREETING: 5,
    ScreenName.NOTED: 5,
    ScreenName.SHOW_CODE: 6,
    ScreenName.CHOOSE: 20,  # to read six short names, and to tap
    ScreenName.TURN: 8,  # longer than a challenge lasts
    ScreenName.CONSENT: 90,  # a hundred words, read slowly
    ScreenName.ENROL: 15,  # since the last hint; they come several times a second
    ScreenName.ENROLLED: 5,
    ScreenName.NOT_ENROLLED: 6,
    ScreenName.FORGOTTEN: 5,
    ScreenName.JOIN_GROUP: WINDOW_S,
    ScreenName.ADMITTED: 6,
    ScreenName.INTRODUCE: WINDOW_S,
    ScreenName.INTRODUCED: 6,
}

SECONDS_TO_PHOTOGRAPH = 12.0  # to take a telephone out
SECONDS_TO_COPY = 25.0  # to find a phone, open its camera and take a picture of a coupon
SECONDS_TO_TAP = 8.0  # a greeting that offers something is there to be read, and to be reached for

FaceWord = (
    FaceSeen
    | FaceGone
    | ChallengeEnded
    | EnrolHinted
    | EnrolEnded
    | TemplatesKept
    | GroupChanged
    | GroupUnchanged
    | TemplateGiven
)
"""What `vision` says of faces."""


@dataclass(slots=True)
class Line:
    """What the agent remembers of the connection to the cloud. Times are monotonic nanoseconds."""

    session: int = 0
    question: TimeQuestion | None = None
    asked_time_ns: int = 0
    said_state_ns: int = 0
    behind: bool = False
    certificate: CertificateTold | None = None


class Agent:
    """Takes events, calls use cases, and keeps the few things that need no storage."""

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._visit = Visit()
        self._sync = Sync()
        self._line = Line()
        self._screen: Screen | None = None
        self._until_ns = 0
        self._camera_live = True
        self._decoder_restarts = 0
        self._storage_full = False
        self._leftovers_ns = 0
        self._house = Housekeeping(entrance)
        self._aside_ms: int | None = None
        self._held = Held()
        self._looked = False
        self._faces = Faces(entrance, self, self._held)
        self._templates = Templates(entrance, self, self._held)
        self._enrolment = Enrolment(entrance, self, self._held, self._templates)
        self._group = Group(entrance, self, self._held, self._templates)
        self._introductions = Introductions(entrance, self, self._held)
        self._sharing = Sharing(entrance, self, self._held)
        self._neighbours = Neighbours(entrance)

    @property
    def screen(self) -> Screen | None:
        """The screen that is on for its time, None while the kiosk rests."""
        return self._screen

    @property
    def sync(self) -> Sync:
        """The state of sending."""
        return self._sync

    @property
    def online(self) -> bool:
        """True while the line is up."""
        return self._sync.online

    @property
    def storage_full(self) -> bool:
        """True while the disk refuses commits."""
        return self._storage_full

    def start(self) -> None:
        """Reads where the outbox stands and shows the first screen."""
        connection = self._entrance.database.connection
        stands = outbox.unsettled(connection, knowledge.life(connection).epoch)
        self._sync = Sync(head=stands.head, settled=stands.settled, ahead=stands.ahead)
        self._house.start(self._entrance.now())
        self._entrance.note(DeviceEventKind.STARTED, self._entrance.software)
        self._refresh()

    # --- the door -------------------------------------------------------------------------------------------------

    def see_codes(self, texts: tuple[str, ...], at_ns: int) -> None:
        """A frame held these codes."""
        self._visit, judge = visits.see_codes(self._visit, texts, at_ns)
        if judge is None:
            return
        try:
            moment = self._entrance.now()
            if self._group.take_request(judge.texts, moment) or self._introductions.take(judge.texts, moment):
                return
            self._judge_codes(judge.texts, moment, at_ns)
        except StorageFull:
            self._storage_is_full()

    def _judge_codes(self, texts: tuple[str, ...], moment: Moment, at_ns: int) -> None:
        shown = judge_texts(self._entrance, texts, moment.reading)
        if isinstance(shown, Screen):
            self._serve_codes(Admission(screen=shown), at_ns)
            return

        def serve(said: Said | None) -> None:
            self._serve_codes(admit_shown(self._entrance, shown, self._entrance.now(), said), at_ns)

        self.ask(shown.admitted.member, shown.admitted.means, moment, serve)

    def _serve_codes(self, admission: Admission, at_ns: int) -> None:
        self._storage_works()
        self._sent(admission)
        if admission.member is None:
            self._visit = visits.not_accepted(self._visit, at_ns)
            self.show(admission.screen)
            return
        self._faces.code_accepted()
        is_known = visits.is_same_stay(self._visit, admission.member) or admission.member == self._enrolment.member
        if is_known and admission.seq is None:
            return
        self._visit = visits.recognised(self._visit, admission.member, at_ns)
        screen, invited = self._enrolment.offer(self._handed_out(admission))
        self.show(screen)
        self._enrolment.remember(invited)

    def touch(self, offer: Offer, choice: int | None) -> None:
        """Somebody tapped what the present screen offers; anything else is a tap that came too late."""
        if self._screen is None or offer not in self._screen.offers:
            return
        try:
            match offer:
                case Offer.NOT_ME:
                    self._visit = replace(self._visit, member=None)
                    self._faces.not_me()
                case Offer.PICK:
                    self._faces.pick(choice)
                case Offer.RECOGNISE_ME:
                    self._enrolment.ask_consent()
                case Offer.FORGET_ME:
                    self._enrolment.forget_me()
                case Offer.AGREE:
                    self._enrolment.agree()
                case Offer.DECLINE:
                    self._enrolment.decline()
                case _:
                    assert_never(offer)
        except StorageFull:
            self._storage_is_full()

    def see_camera(self, *, live: bool, decoder_restarts: int) -> None:
        """The camera came or went. Without it the screen says so until it is back."""
        self._decoder_restarts = decoder_restarts
        if live == self._camera_live:
            return
        self._camera_live = live
        log.log(logging.INFO if live else logging.WARNING, "camera is back" if live else "camera is lost")
        self._entrance.note(DeviceEventKind.CAMERA_BACK if live else DeviceEventKind.CAMERA_LOST)
        self._refresh()

    def _storage_is_full(self) -> None:
        if not self._storage_full:
            log.error("storage refuses commits: nothing is granted until there is room")
            self._entrance.note(DeviceEventKind.STORAGE_FULL)
        self._storage_full = True
        self._house.look_for_room()
        self._screen = None
        self._screen_changes(None)
        self._refresh()

    def _storage_works(self) -> None:
        if self._storage_full:
            log.info("storage takes commits again")
            self._entrance.note(DeviceEventKind.STORAGE_BACK)
            self._storage_full = False
            self._refresh()

    # --- faces ----------------------------------------------------------------------------------------------------

    def vision_arrives(self, hello: VisionHello) -> None:
        """`vision` is there, with what it holds for faces."""
        self._held.vision, self._held.terms = hello, None
        self._vision_changed()
        self._review_terms(self._entrance.now())
        try:
            self._templates.arrive()
        except StorageFull:
            self._storage_is_full()

    def vision_leaves(self) -> None:
        """`vision` is gone: nobody is recognised, and what it had in hand is lost."""
        self._held.vision = self._held.terms = None
        self._templates.leave()
        self._vision_changed()
        self._review_terms(self._entrance.now())

    def _review_terms(self, moment: Moment) -> None:
        was_on, was_bound = self._looked, self._held.is_bound
        review_terms(self._entrance, self._held, moment)
        self._line.behind = self._line.behind or self._held.is_bound is not was_bound
        self._looked = self._held.is_on
        if was_on != self._looked:  # the notice on the screen says whether faces are looked for
            self._refresh()

    def _vision_changed(self) -> None:
        self._faces.vision_changed()
        self._enrolment.vision_changed()
        self._group.vision_changed()
        self._sharing.vision_changed()

    def hear_vision(self, word: FaceWord) -> None:
        """`vision` says something of faces."""
        try:
            self._take_word(word)
        except StorageFull:
            self._storage_is_full()

    def _take_word(self, word: FaceWord) -> None:
        match word:
            case FaceSeen():
                self._faces.see(word)
            case FaceGone():
                self._faces.gone(word.track)
            case ChallengeEnded():
                self._faces.challenge_ended(word.track, passed=word.passed)
            case EnrolHinted():
                self._enrolment.hint(word)
            case EnrolEnded():
                self._enrolment.ended(word)
            case TemplatesKept():
                self._enrolment.forgotten(self._templates.kept(word))
            case GroupChanged():
                moment = self._entrance.now()
                self._introductions.changed(word, moment)
                self._group.changed(word, moment)
            case GroupUnchanged():
                self._group.unchanged(word)
            case TemplateGiven():
                self._sharing.given(word, self._entrance.now())
            case _:
                assert_never(word)

    def ask_admission(self) -> AdmissionTold:
        """A person at the command line lets the next request to join the group count."""
        return self._group.open_window(self._entrance.now())

    def ask_join(self) -> JoinTold:
        """A person at the command line wants this kiosk's request on the screen."""
        return self._group.show_request()

    def ask_introduction(self) -> JoinTold:
        """A person at the command line wants this group's introduction on the screen."""
        return self._introductions.show()

    def ask_trust(self) -> AdmissionTold:
        """A person at the command line lets the next introduction of another store count."""
        return self._introductions.open_window(self._entrance.now())

    def ask_distrust(self, store: str) -> DistrustTold:
        """A person at the command line takes that store's introduction back."""
        return self._introductions.distrust(store)

    def ask_enrol(self, member: MemberId, tell: Tell) -> None:
        """A person at the command line wants this member's face learnt; `tell` hears how it goes."""
        self._enrolment.ask(member, tell)

    def stop_enrol(self, tell: Tell) -> None:
        """Whoever asked with this is gone."""
        self._enrolment.stop_asking(tell)

    # --- the line -------------------------------------------------------------------------------------------------

    def link_starts(self) -> bytes:
        """The will of a new link session, to leave with the broker. Raises: StorageFull."""
        self._neighbours.link_changed()
        try:
            with self._entrance.database.transaction() as connection:
                self._line.session = knowledge.next_session(connection)
        except StorageFull:
            self._storage_is_full()
            raise
        return encode(report.device_state(self._entrance, self._held, self._line.session, online=False, settled=0))

    def line_up(self) -> None:
        """The broker took us: say who we are, ask the time, send what waits."""
        now_ns = self._now_ns()
        log.info("line is up", extra={"waiting": self._sync.waiting})
        self._entrance.note(DeviceEventKind.LINE_UP)
        self._sync, send = sending.line_up(self._sync, now_ns)
        self._say_state(now_ns)
        self._ask_time(now_ns)
        self._send(send)
        self._send_leftovers(now_ns)
        self._refresh()

    def line_down(self) -> None:
        """The line is gone; granting goes on."""
        if self._sync.online:
            log.info("line is down", extra={"waiting": self._sync.waiting})
            self._entrance.note(DeviceEventKind.LINE_DOWN)
        self._sync = sending.line_down(self._sync)
        self._line.question = None
        self._refresh()

    def clock_told(self) -> ClockTold:
        """The time as it is believed now, for `link`, which judges the dates of certificates by it."""
        moment = self._entrance.now()
        instant = moment.reading.instant
        return ClockTold(
            instant_ms=None if instant is None else milliseconds(instant), monotonic_ns=moment.raw.monotonic_ns
        )

    def hear_certificate(self, told: CertificateTold | None) -> None:
        """How the certificate is, as `link` says; None when `link` is gone."""
        self._line.certificate = told

    def prove_renewal(self, serial: str, csr: bytes) -> bytes | None:
        """The proof that this device wants the request certified, None for what cannot be a request of ours.

        Signed under a context of its own: whoever took over `link` can have a certificate for its own key, which it
        holds anyway, and nothing else.
        """
        if not (0 < len(csr) <= CSR_BYTES_MAX and 0 < len(serial) <= SERIAL_LENGTH_MAX and serial.isalnum()):
            log.warning("link asked for a proof of what is no request")
            return None
        return prove_renewal(self._entrance.signing_key, self._entrance.device, serial, csr)

    def hear(self, kind: Down, data: bytes) -> bool:
        """Takes a message from the cloud. False when it could not be stored now and should come again."""
        answer = open_answer(kind, data, self._entrance.signers())
        if answer is None:
            log.warning("a message was not signed by the cloud", extra={"kind": kind.value})
            return True
        try:
            self._take(answer)
        except StorageFull:
            self._storage_is_full()
            return False
        return True

    def _take(self, answer: Answer) -> None:
        match answer:
            case Receipt():
                self._take_receipt(answer)
            case TimeTold():
                self._take_time(answer)
            case EpochIssued():
                if learn.learn_epoch(self._entrance, answer) is Learned.TAKEN:
                    self._say_state(self._now_ns())
                    # What was sent before may have been answered when no key was known yet to believe it by.
                    self._send_leftovers(self._now_ns())
            case AllotmentIssued():
                learn.learn_allotment(self._entrance, answer)
            case TemplatePage():
                learned = self._templates.hear(answer)
                if learned is Learned.TAKEN:
                    self._sharing.hear(answer, self._entrance.now())
                self._learned(answer, learned)
            case page:
                self._learned(page, learn.learn_page(self._entrance, page))

    def _learned(self, page: Page, learned: Learned) -> None:
        self._line.behind = self._line.behind or learned is Learned.BEHIND
        if learned is Learned.TAKEN and page.more:
            self._line.behind = True
        elif learned is Learned.TAKEN:
            self._review_terms(self._entrance.now())
            self._refresh()

    def _take_receipt(self, told: Receipt) -> None:
        receipt = learn.believe_receipt(self._entrance, told)
        match learn.learn_receipt(self._entrance, receipt):
            case Learned.SET_BACK:
                self._begin_life(receipt)
                return
            case Learned.OLDER_LIFE:
                self._send_leftovers(self._now_ns())
                return
            case Learned.TAKEN:
                pass
            case _:
                return
        verdicts = frozenset(verdict.seq for verdict in receipt.verdicts)
        self._sync, send = sending.receipt(self._sync, receipt.contiguous, verdicts, receipt.missing, self._now_ns())
        self._send(send)
        self._refresh()

    def _begin_life(self, receipt: Receipt) -> None:
        """The cloud knows more of this epoch than we do: a copy was put back, or the card is another one."""
        recover.begin_set_back(self._entrance, receipt)
        self._sync = replace(Sync(), online=self._sync.online)
        now_ns = self._now_ns()
        self._say_state(now_ns)
        self._send_leftovers(now_ns)
        self._review_terms(self._entrance.now())
        self._refresh()

    def _take_time(self, told: TimeTold) -> None:
        question = self._line.question
        if question is not None and keep_time.hear_time(self._entrance, question, told):
            self._line.question = None
            self.wrote()
            self._refresh()

    def _send(self, send: Send) -> None:
        connection = self._entrance.database.connection
        epoch = knowledge.life(connection).epoch
        for numbers in send.messages:
            envelopes = outbox.read_envelopes(connection, epoch, numbers)
            if envelopes:
                self._entrance.link.publish(Up.EVENT, encode(Batch(envelopes=envelopes)))

    def _send_leftovers(self, now_ns: int) -> None:
        """What an earlier life wrote and no receipt settled goes out as it was, a message at a time."""
        self._leftovers_ns = now_ns
        connection = self._entrance.database.connection
        envelopes = outbox.leftovers(connection, knowledge.life(connection).epoch, sending.MESSAGE_ENVELOPES)
        if envelopes:
            self._entrance.link.publish(Up.EVENT, encode(Batch(envelopes=envelopes)))

    def _sent(self, admission: Admission) -> None:
        if admission.seq is not None:
            self._appended(admission.seq)

    def _appended(self, head: int) -> None:
        self._sync, send = sending.appended(self._sync, head, self._now_ns())
        self._send(send)

    def wrote(self) -> None:
        """Facts written by a use case other than admitting are on their way, too."""
        connection = self._entrance.database.connection
        head = outbox.head_of(connection, self._entrance.device, knowledge.life(connection).epoch).seq
        if head > self._sync.head:
            self._appended(head)

    def _say_state(self, now_ns: int) -> None:
        state = report.device_state(
            self._entrance, self._held, self._line.session, online=True, settled=self._sync.settled
        )
        self._entrance.link.publish(Up.STATE, encode(state))
        self._line.said_state_ns = now_ns
        self._line.behind = False

    def _ask_time(self, now_ns: int) -> None:
        nonce = self._entrance.random_bytes(SALT_BYTES)
        self._line.question = TimeQuestion(nonce=nonce, asked=self._entrance.clock.read())
        self._line.asked_time_ns = now_ns
        self._entrance.link.publish(Up.TIME, encode(TimeAsked(nonce=nonce)))

    # --- the store's other kiosks ---------------------------------------------------------------------------------

    def ask(self, member: MemberId, means: Means, moment: Moment, then: Then) -> None:
        """Does what follows: now, or once the kiosks that have a say about the member's coupon have answered."""
        self._neighbours.ask(member, means, moment, then)

    def hear_peers(self, heard: PeersHeard) -> None:
        """Kiosks of the store answered."""
        try:
            if self._neighbours.heard(heard):
                self.wrote()
                self._refresh()
        except StorageFull:
            self._storage_is_full()

    def answer_peer(self, asked: PeerAsked) -> PeerAnswered:
        """What a kiosk of the store that asks is told."""
        return self._neighbours.answer(asked, self._entrance.now())

    # --- time passing ---------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Called about once a second: asks again what was not answered, dates visits, keeps house."""
        now_ns = self._now_ns()
        moment = self._entrance.now()
        if self._screen is not None and now_ns >= self._until_ns:
            self._screen_over()
        self._review_terms(moment)
        try:
            took = keep_time.hear_kernel(self._entrance)
            dated = keep_time.date_visits(self._entrance)
            stepped = self._set_system_clock_aside()
            if took or dated or stepped:
                self.wrote()
            self._group.tick(moment)
            self._templates.tick(moment)
            self._sharing.tick(moment)
            self._neighbours.tick(moment, online=self._sync.online)
            self._house.tick(moment, is_quiet=self._screen is None)
        except StorageFull:
            self._storage_is_full()
        if self._storage_full and self._may_write():
            self._storage_works()
        if not self._sync.online:
            return
        self._sync, send = sending.tick(self._sync, now_ns, self._entrance.random_unit())
        self._send(send)
        if now_ns - self._leftovers_ns > SEND_LEFTOVERS_EVERY_NS:
            self._send_leftovers(now_ns)
        unknown = moment.reading.trust is not ClockTrust.SYNCED
        if now_ns - self._line.asked_time_ns > (ASK_TIME_AGAIN_NS if unknown else ASK_TIME_EVERY_NS):
            self._ask_time(now_ns)
        if now_ns - self._line.said_state_ns > (SAY_STATE_AGAIN_NS if self._is_wanting() else SAY_STATE_EVERY_NS):
            self._say_state(now_ns)

    def _set_system_clock_aside(self) -> bool:
        """True when the system clock was found to have stepped against uptime, and that was written."""
        before, self._aside_ms = self._aside_ms, keep_time.hear_set_aside(self._entrance, self._aside_ms)
        if self._aside_ms is None or self._aside_ms == before:
            return False
        log.warning("the system clock stepped and is not believed", extra={"offset_ms": self._aside_ms})
        return True

    def _may_write(self) -> bool:
        """True when there is room and a commit that changes nothing but the file works."""
        if not self._entrance.database.has_room():
            return False
        try:
            with self._entrance.database.transaction() as connection:
                knowledge.touch(connection)
        except StorageFull:
            return False
        return True

    def _is_wanting(self) -> bool:
        """True while the cloud owes something without which nothing can be granted, or a feed has a gap."""
        connection = self._entrance.database.connection
        life = knowledge.life(connection)
        return self._line.behind or life.epoch == 0 or knowledge.policy(connection) is None

    # --- what is shown --------------------------------------------------------------------------------------------

    def status(self) -> StatusTold:
        """The answer to `doorstep-edge status`."""
        return report.status(
            self._entrance,
            self._held,
            no_match_today=self._faces.strangers_today(self._entrance.now()),
            shares_waiting=self._sharing.waiting,
            online=self._sync.online,
            camera_live=self._camera_live,
            decoder_restarts=self._decoder_restarts,
            screen=self._showing(self._now_ns()).name,
            storage_full=self._storage_full,
            certificate=self._line.certificate,
        )

    def show(self, screen: Screen) -> None:
        """Replaces what is shown, for the screen's time."""
        self._screen = screen
        self._until_ns = self._now_ns() + int(_seconds_of(screen) * 1e9)
        self._screen_changes(screen)
        self._refresh()

    def rest(self, *names: ScreenName) -> None:
        """The kiosk rests, if one of these screens is on."""
        if self._screen is not None and self._screen.name in names:
            self._screen = None
            self._screen_changes(None)
            self._refresh()

    def admit(self, admission: Admission) -> None:
        """A member was recognised by face and served: what was written is sent, and the screen shown."""
        assert admission.member is not None
        self._storage_works()
        self._sent(admission)
        self._visit = visits.recognised(self._visit, admission.member, self._now_ns())
        self.show(self._handed_out(admission).screen)

    def _handed_out(self, admission: Admission) -> Admission:
        """The admission with its receipt on the screen while there is no line: the claim may never leave this kiosk."""
        if self._sync.online or admission.receipt is None or admission.screen.code is not None:
            return admission
        return replace(admission, screen=replace(admission.screen, code=admission.receipt))

    def behind(self) -> None:
        """The cloud is to be told soon what this device holds."""
        self._line.behind = True

    def _screen_over(self) -> None:
        """A screen's time is over; a greeting may lead on to a face that is learnt."""
        if not self._enrolment.greeted():
            self._screen = None
            self._screen_changes(None)
            self._refresh()

    def _screen_changes(self, screen: Screen | None) -> None:
        self._faces.screen_changes(screen)
        self._enrolment.screen_changes(screen)

    def _showing(self, now_ns: int) -> Screen:
        """What is to be seen now: the last screen while its time lasts, else the one the kiosk rests on."""
        if self._screen is not None and now_ns < self._until_ns:
            return self._screen
        if self._storage_full:
            return Screen(name=ScreenName.FAULT, fault=FaultName.STORAGE)
        if not self._camera_live:
            return Screen(name=ScreenName.FAULT, fault=FaultName.CAMERA)
        return Screen(name=ScreenName.IDLE)

    def _refresh(self) -> None:
        now_ns = self._now_ns()
        screen = self._showing(now_ns)
        status = report.screen_status(
            self._entrance,
            self._held,
            online=self._sync.online,
            waiting=self._sync.waiting,
            camera_live=self._camera_live,
        )
        seconds = (self._until_ns - now_ns) / 1e9 if screen is self._screen else 0.0
        self._entrance.display.show(screen, status, seconds)

    def _now_ns(self) -> int:
        return self._entrance.clock.read().monotonic_ns


def _seconds_of(screen: Screen) -> float:
    """How long the screen is there unless another comes."""
    seconds = _SECONDS.get(screen.name, SECONDS_DEFAULT)
    if screen.coupon is InstantOutcome.SHOWN:
        return SECONDS_TO_COPY
    if screen.name is ScreenName.GREETING and screen.code is not None:
        return SECONDS_TO_PHOTOGRAPH
    return max(seconds, SECONDS_TO_TAP) if screen.offers else seconds
