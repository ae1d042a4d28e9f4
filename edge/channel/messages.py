"""The small typed messages between the device's own processes. No frame, no crop and no array among them.

Everybody speaks to `agent` on one Unix socket: a process says who it is with its first message and then sends and
receives the messages of its role. Bytes on the socket are a 4-byte big-endian length and a msgpack body.
"""

import msgspec

from edge.core.certificate import RenewalState
from edge.core.lan import LanAnswer, LanQuestion
from edge.core.match import Comparison
from edge.core.screen import EnrolRefusal, Offer, Screen, Side, StandHint, Status
from shared.biometrics import Forgetting, SealedTemplate, Wrap
from shared.ids import MemberId
from shared.policy import Liveness
from shared.topics import Down, Up

MESSAGE_BYTES_MAX = 1024 * 1024  # a roster page is about 90 kB; nothing of ours comes near
CODES_MAX = 8
TEXT_LENGTH_MAX = 300
CSR_BYTES_MAX = 2048  # a P-256 request has some 250


class KnownGroup(msgspec.Struct, frozen=True):
    """The group of another store that was introduced to this one: its store, and the name of its secret."""

    store: str
    key: bytes


class VisionHello(msgspec.Struct, frozen=True, kw_only=True, tag="vision"):
    """`vision` is here, with what it holds for faces.

    `embedder` names the network in use, None when its weights are missing. `life` is the main database's life that the
    templates belong to, None before the first. `templates_version` and `templates_issued_ms` of the feed as applied,
    `templates` how many are held, among them those that no secret held here opens.
    `group` names the secret held, None when there is none; `kiosks` are those of its list. `sealing_public` is this
    kiosk's sealing key, `intake_public` its group's intake key, `partners` the groups that were introduced to it.
    """

    embedder: bytes | None = None
    life: bytes | None = None
    templates_version: int = 0
    templates_issued_ms: int = 0
    templates: int = 0
    group: bytes | None = None
    kiosks: tuple[str, ...] = ()
    sealing_public: bytes | None = None
    intake_public: bytes | None = None
    partners: tuple[KnownGroup, ...] = ()


class CodesSeen(msgspec.Struct, frozen=True, kw_only=True, tag="codes"):
    """Texts of the QR codes in one frame, at most CODES_MAX, each cut to TEXT_LENGTH_MAX + 1 characters.

    Sent for every decoded frame that holds a code; the visit rules decide what is new. `captured_ns` and `seen_ns`
    are monotonic: when the frame was taken and when its codes were read.
    """

    texts: tuple[str, ...]
    sequence: int
    captured_ns: int
    seen_ns: int


class ViewClear(msgspec.Struct, frozen=True, kw_only=True, tag="clear"):
    """A frame was read and held no code; sent once each time the view becomes clear."""

    sequence: int
    captured_ns: int


class CameraSeen(msgspec.Struct, frozen=True, kw_only=True, tag="camera"):
    """The camera's state as `vision` sees it, sent when it changes. `decoder_restarts` counts killed QR decoders."""

    live: bool
    decoder_restarts: int


class FaceSeen(msgspec.Struct, frozen=True, kw_only=True, tag="face"):
    """A face on the mark was compared once more. `live` from 0 to 1, None when the policy asks for none.

    `track` numbers the face's stay in view; `captured_ns` and `seen_ns` are monotonic, of the newest frame.
    """

    track: int
    comparison: Comparison
    live: float | None
    captured_ns: int
    seen_ns: int


class FaceGone(msgspec.Struct, frozen=True, kw_only=True, tag="gone"):
    """The face is out of view; everything that was known of it is wiped."""

    track: int


class ChallengeEnded(msgspec.Struct, frozen=True, kw_only=True, tag="turned"):
    """The head was turned as asked, or was not in time."""

    track: int
    passed: bool


class EnrolHinted(msgspec.Struct, frozen=True, kw_only=True, tag="hint"):
    """How the member should stand now, and how many good frames there are."""

    member: MemberId
    hint: StandHint
    taken: int
    wanted: int


class EnrolEnded(msgspec.Struct, frozen=True, kw_only=True, tag="enrolled"):
    """The face was learnt, and stays unused until `TemplatesTold` brings it back; or it was not, and why."""

    member: MemberId
    template: SealedTemplate | None
    frames: int
    refusal: EnrolRefusal | None


class TemplatesKept(msgspec.Struct, frozen=True, kw_only=True, tag="kept"):
    """What was told of templates is done and on the disk; these members were really forgotten by it."""

    version: int
    issued_ms: int
    templates: int
    forgotten: tuple[MemberId, ...]
    why: Forgetting


class GroupChanged(msgspec.Struct, frozen=True, kw_only=True, tag="group"):
    """The secret held, its list of kiosks, and what the cloud must be told: wraps for kiosks, templates sealed anew.

    `previous` is the secret that `group` replaces for the whole store, None for a first one and for newcomers.
    `intake_public` and `partners` as in VisionHello.
    """

    group: bytes
    previous: bytes | None
    kiosks: tuple[str, ...]
    wraps: tuple[Wrap, ...]
    resealed: tuple[SealedTemplate, ...]
    intake_public: bytes | None = None
    partners: tuple[KnownGroup, ...] = ()


class GroupUnchanged(msgspec.Struct, frozen=True, kw_only=True, tag="group="):
    """What was asked of the group could not be done: a wrap that is not for us, a list that is full, no secret."""

    reason: str


class TemplateGiven(msgspec.Struct, frozen=True, kw_only=True, tag="given"):
    """The member's template, sealed for the store that was asked for; or none, and why."""

    member: MemberId
    store: str
    template: SealedTemplate | None
    reason: str | None


class AdmissionAsked(msgspec.Struct, frozen=True, tag="admit?"):
    """A person at this kiosk's command line lets the next request to join the group count."""


class JoinAsked(msgspec.Struct, frozen=True, tag="join?"):
    """A person at this kiosk's command line wants its request to join the group on the screen."""


class IntroductionAsked(msgspec.Struct, frozen=True, tag="introduce?"):
    """A person at this kiosk's command line wants its group's introduction on the screen. Answered by JoinTold."""


class TrustAsked(msgspec.Struct, frozen=True, tag="trust?"):
    """A person at this kiosk's command line lets the next introduction of another store count. Answered by
    AdmissionTold."""


class DistrustAsked(msgspec.Struct, frozen=True, kw_only=True, tag="distrust?"):
    """A person at this kiosk's command line takes that store's introduction back. Answered by DistrustTold."""

    store: str


class EnrolAsked(msgspec.Struct, frozen=True, kw_only=True, tag="enrol?"):
    """A person at the command line wants this consenting member's face learnt now; answered by EnrolTold until done."""

    member: MemberId


class Touched(msgspec.Struct, frozen=True, kw_only=True, tag="touched"):
    """Somebody tapped what the screen with this serial offered; `choice` is the place of a picked nickname."""

    serial: int
    offer: Offer
    choice: int | None = None


class LinkHello(msgspec.Struct, frozen=True, tag="link"):
    """`link` is here and asks who it speaks for."""


class LinkUp(msgspec.Struct, frozen=True, tag="up"):
    """The broker accepted the connection and the subscription."""


class LinkDown(msgspec.Struct, frozen=True, kw_only=True, tag="down"):
    """The connection is gone."""

    reason: str


class Heard(msgspec.Struct, frozen=True, kw_only=True, tag="heard"):
    """A message for this device arrived; `number` is repeated in HeardDone once it is stored."""

    number: int
    kind: Down
    data: bytes


class CertificateTold(msgspec.Struct, frozen=True, kw_only=True, tag="certificate"):
    """Until when the newest certificate holds, None when it cannot be read, and how its renewal stands.

    `reason` is why the last attempt failed, None when none did. Said when it changes.
    """

    ends_ms: int | None
    renewal: RenewalState
    reason: str | None


class RenewalProofAsked(msgspec.Struct, frozen=True, kw_only=True, tag="renewal?"):
    """Prove with the signing key that this request for a certificate, after the one of that serial, is this device's.

    `csr` is the request in DER, at most CSR_BYTES_MAX; `number` is repeated in RenewalProved.
    """

    number: int
    serial: str
    csr: bytes


class WebHello(msgspec.Struct, frozen=True, tag="web"):
    """`web` is here and wants every screen from now on, the present one first."""


class StatusAsked(msgspec.Struct, frozen=True, tag="status?"):
    """A command line asks how the agent is."""


class LinkWelcome(msgspec.Struct, frozen=True, kw_only=True, tag="welcome"):
    """Whom `link` speaks for, and the will it leaves with the broker (the payload of `up/state`)."""

    device: str
    will: bytes


class ClockTold(msgspec.Struct, frozen=True, kw_only=True, tag="clock"):
    """The time the agent believes, None when it does not know it, and the uptime at which it was so.

    `monotonic_ns` counts since boot, suspension included. Said to a new `link`, and when it is news.
    """

    instant_ms: int | None
    monotonic_ns: int


class RenewalProved(msgspec.Struct, frozen=True, kw_only=True, tag="renewal!"):
    """The proof for the request of that number, None when it is not one that is signed."""

    number: int
    proof: bytes | None


class Publish(msgspec.Struct, frozen=True, kw_only=True, tag="publish"):
    """Send this upward now; when there is no connection it is dropped, the agent's own clock will ask again."""

    kind: Up
    data: bytes


class HeardDone(msgspec.Struct, frozen=True, kw_only=True, tag="heard!"):
    """What was heard under this number is stored (or was not for us): the broker may forget it."""

    number: int


class ScreenShown(msgspec.Struct, frozen=True, kw_only=True, tag="screen"):
    """The screen to show from now on, for `seconds` (0: until the next). `serial` grows by one."""

    serial: int
    screen: Screen
    status: Status
    seconds: float


class AdmissionTold(msgspec.Struct, frozen=True, kw_only=True, tag="admit!"):
    """For so long what was asked for counts when it is held to the camera; 0 and a reason when it cannot."""

    seconds: int
    reason: str | None


class JoinTold(msgspec.Struct, frozen=True, kw_only=True, tag="join!"):
    """For so long this kiosk shows what was asked for; 0 and a reason when it has none to show."""

    seconds: int
    reason: str | None


class DistrustTold(msgspec.Struct, frozen=True, kw_only=True, tag="distrust!"):
    """The introduction is being taken back, or why not."""

    reason: str | None


class EnrolTold(msgspec.Struct, frozen=True, kw_only=True, tag="enrol!"):
    """How learning a face goes: a hint while it does; `done` with why not, or with neither when it was learnt."""

    done: bool
    hint: StandHint | None
    taken: int
    wanted: int
    reason: str | None


class FaceTerms(msgspec.Struct, frozen=True, kw_only=True, tag="terms"):
    """What `vision` may do with faces now, sent to every new `vision` and whenever it changes.

    `on` only while policy, feeds and clock allow it. `life` names the main database: templates of another are wiped.
    """

    on: bool
    liveness: Liveness
    device: str
    store: str
    life: bytes


class CodeAccepted(msgspec.Struct, frozen=True, tag="code!"):
    """A valid code was shown: faces are left alone until everybody now in view is gone."""


class FaceSettled(msgspec.Struct, frozen=True, kw_only=True, tag="settled"):
    """The verdict on this track is final: no further comparison, no second attempt."""

    track: int


class ChallengeStarts(msgspec.Struct, frozen=True, kw_only=True, tag="turn"):
    """The face must be turned to this side."""

    track: int
    side: Side


class EnrolStarts(msgspec.Struct, frozen=True, kw_only=True, tag="enrol"):
    """Learn the face of whoever stands on the mark, for this member."""

    member: MemberId


class EnrolStops(msgspec.Struct, frozen=True, tag="enrol-"):
    """Stop learning and forget what was taken."""


class TemplatesTold(msgspec.Struct, frozen=True, kw_only=True, tag="templates"):
    """Templates to keep and members to forget, as one step; answered by TemplatesKept.

    `version` and `issued_ms` of the feed once this is done, None when it came from this kiosk's own enrolment or a
    withdrawal here. `whole` when the feed is then at its newest: every lease is renewed.
    """

    version: int | None
    issued_ms: int
    whole: bool
    reset: bool
    keep: tuple[SealedTemplate, ...]
    forget: tuple[MemberId, ...]
    why: Forgetting


class LeasesEnd(msgspec.Struct, frozen=True, kw_only=True, tag="lapse"):
    """Forget every template that was last confirmed before this instant; answered by TemplatesKept."""

    before_ms: int


class GroupMade(msgspec.Struct, frozen=True, tag="group+"):
    """The store has no group yet: make its secret. Answered by GroupChanged."""


class KioskAdmitted(msgspec.Struct, frozen=True, kw_only=True, tag="admit"):
    """Wrap the secret for this kiosk, whose sealing key was read from its own screen. Answered by GroupChanged."""

    device: str
    sealing_public: bytes


class WrapTold(msgspec.Struct, frozen=True, kw_only=True, tag="wrap"):
    """The secret of the group, wrapped for us. Answered by GroupChanged or GroupUnchanged."""

    key: bytes
    sealed: bytes


class GroupRotated(msgspec.Struct, frozen=True, kw_only=True, tag="rotate"):
    """Make a new secret for these kiosks only, and seal every template anew. Answered by GroupChanged."""

    kept: tuple[str, ...]


class RecoveryTold(msgspec.Struct, frozen=True, kw_only=True):
    """How a life of the database began that is not the device's first: from a snapshot, empty, or set back.

    `at_ms` and `snapshot_ms` are as the machine's clock said; `epoch_issued` once the cloud took the new life up and
    the kiosk may grant again.
    """

    how: str
    at_ms: int
    snapshot_ms: int | None
    salvaged: int
    damage: str
    epoch_issued: bool


class GroupIntroduced(msgspec.Struct, frozen=True, kw_only=True, tag="introduce"):
    """Another store's group, as it was read from its own kiosk's screen. Answered by GroupChanged or GroupUnchanged."""

    store: str
    key: bytes
    intake_public: bytes


class GroupDistrusted(msgspec.Struct, frozen=True, kw_only=True, tag="distrust"):
    """The introduction of that store's group is taken back. Answered by GroupChanged or GroupUnchanged."""

    store: str


class ShareWanted(msgspec.Struct, frozen=True, kw_only=True, tag="share"):
    """Seal this member's template for the group of that store, whose secret `key` names. Answered by TemplateGiven."""

    member: MemberId
    store: str
    key: bytes


class PartnerTold(msgspec.Struct, frozen=True, kw_only=True):
    """A store whose group was introduced here, and its secret's name in hex."""

    store: str
    group: str


class LanPeer(msgspec.Struct, frozen=True, kw_only=True):
    """Another kiosk of the store, and where it is reached; None when it only asks."""

    device: str
    address: str | None


class PeersTold(msgspec.Struct, frozen=True, kw_only=True, tag="peers"):
    """The kiosks of the store that may speak with this one, sent to every new `link` and whenever they change."""

    peers: tuple[LanPeer, ...]


class PeersAsked(msgspec.Struct, frozen=True, kw_only=True, tag="peers?"):
    """Ask these kiosks one after the other, and stop at the first that gives a coupon to another or says nothing.

    Answered by PeersHeard under the same number.
    """

    number: int
    peers: tuple[str, ...]
    question: LanQuestion


class PeerAnswered(msgspec.Struct, frozen=True, kw_only=True, tag="peer!"):
    """The answer to the question that came under this number; None when there is none to give."""

    number: int
    answer: LanAnswer | None


class PeerAsked(msgspec.Struct, frozen=True, kw_only=True, tag="peer?"):
    """A kiosk of the store, which proved to be it, asks. To be answered by PeerAnswered."""

    number: int
    device: str
    question: LanQuestion


class PeerWord(msgspec.Struct, frozen=True, kw_only=True):
    """What one kiosk answered."""

    device: str
    answer: LanAnswer


class PeersHeard(msgspec.Struct, frozen=True, kw_only=True, tag="peers!"):
    """What the kiosks answered that were asked under this number, as far as it came."""

    number: int
    words: tuple[PeerWord, ...]


class StatusTold(msgspec.Struct, frozen=True, kw_only=True, tag="status!"):
    """How the agent is; what `doorstep-edge status --json` prints.

    `faces` says whether faces are recognised and, if not, the first reason. `group` is the secret's name in hex.
    `recovery` says how this life of the database began, None when it is the device's first; `leftovers` counts
    envelopes of earlier lives that wait. `snapshots` counts copies, `snapshot_ms` is when the newest was made.
    `shares_waiting` counts members whose consent names a store that is not among the `partners`, or has another secret
    since.
    `certificate_ends` is the end of the certificate (ISO 8601, UTC) and `renewal` how its renewal stands, None while
    `link` has not said; `renewal_reason` why the last attempt failed.
    `hub` leads the store's kiosks, None when none does; `coupons_today` were shown here.
    """

    device: str
    store: str | None
    epoch: int
    online: bool
    clock_trust: str
    business_day: str | None
    policy_version: int
    claims_today: int
    claims_total: int
    visits_waiting: int
    outbox_waiting: int
    oldest_waiting_s: int | None
    rejected: int
    allotment_left: int
    roster: int
    camera_live: bool
    decoder_restarts: int
    screen: str
    faces: str
    templates: int
    group: str | None
    no_match_today: int
    recovery: RecoveryTold | None = None
    leftovers: int = 0
    snapshots: int = 0
    snapshot_ms: int | None = None
    storage_full: bool = False
    partners: tuple[PartnerTold, ...] = ()
    shares_waiting: int = 0
    certificate_ends: str | None = None
    renewal: RenewalState | None = None
    renewal_reason: str | None = None
    hub: str | None = None
    coupons_today: int = 0


ToAgent = (
    VisionHello
    | CodesSeen
    | ViewClear
    | CameraSeen
    | FaceSeen
    | FaceGone
    | ChallengeEnded
    | EnrolHinted
    | EnrolEnded
    | TemplatesKept
    | GroupChanged
    | GroupUnchanged
    | TemplateGiven
    | LinkHello
    | LinkUp
    | LinkDown
    | Heard
    | CertificateTold
    | RenewalProofAsked
    | PeerAsked
    | PeersHeard
    | WebHello
    | Touched
    | StatusAsked
    | AdmissionAsked
    | JoinAsked
    | IntroductionAsked
    | TrustAsked
    | DistrustAsked
    | EnrolAsked
)
ToVision = (
    FaceTerms
    | CodeAccepted
    | FaceSettled
    | ChallengeStarts
    | EnrolStarts
    | EnrolStops
    | TemplatesTold
    | LeasesEnd
    | GroupMade
    | KioskAdmitted
    | WrapTold
    | GroupRotated
    | GroupIntroduced
    | GroupDistrusted
    | ShareWanted
)
ToLink = PeersTold | PeersAsked | PeerAnswered
FromAgent = (
    LinkWelcome
    | ClockTold
    | RenewalProved
    | Publish
    | HeardDone
    | ToLink
    | ScreenShown
    | StatusTold
    | AdmissionTold
    | JoinTold
    | DistrustTold
    | EnrolTold
    | ToVision
)
