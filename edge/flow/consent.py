"""What is written when a member consents to being recognised, is enrolled, or takes it back."""

from edge.db import faces, knowledge
from edge.db.database import Connection
from edge.flow.entrance import Entrance, Moment
from edge.flow.write import append_fact
from shared.biometrics import Forgetting, SealedTemplate
from shared.consent import BIOMETRIC_TEXT_VERSION, Purpose
from shared.envelope import ConsentSaid, Fact, TemplateEnrolled, TemplateShared
from shared.ids import MemberId
from shared.policy import Means, Policy


def give_consent(entrance: Entrance, member: MemberId, means: Means, language: str, moment: Moment) -> None:
    """The member agreed to the present text in this language. Raises: StorageFull."""
    with entrance.database.transaction() as connection:
        _append(connection, entrance, _said(connection, member, means, language, given=True), moment)
        knowledge.save_face_consent(connection, member, BIOMETRIC_TEXT_VERSION)


def withdraw_consent(entrance: Entrance, member: MemberId, means: Means, language: str, moment: Moment) -> None:
    """The member does not want to be recognised any more: from here on they are not. Raises: StorageFull.

    The template is on its way out, and no envelope carries it any more, sent or not.
    """
    with entrance.database.transaction() as connection:
        _append(connection, entrance, _said(connection, member, means, language, given=False), moment)
        knowledge.save_face_consent(connection, member, None)
        faces.ask_to_leave(connection, (member,), Forgetting.WITHDRAWN)
        faces.erase_of(connection, member)


def record_template(entrance: Entrance, template: SealedTemplate, frames: int, moment: Moment) -> None:
    """A member's face was learnt here. Raises: StorageFull."""
    with entrance.database.transaction() as connection:
        append_template(connection, entrance, template, moment, frames=frames, resealed=False)
        faces.keep(connection, (MemberId(template.member),))


def append_template(
    connection: Connection,
    entrance: Entrance,
    template: SealedTemplate,
    moment: Moment,
    *,
    frames: int,
    resealed: bool,
) -> None:
    """The envelope of a sealed template, inside the caller's transaction; noted, so that it can be erased."""
    policy = _policy(connection)
    fact = TemplateEnrolled(
        tenant=policy.tenant,
        store=policy.store,
        template=template,
        frames=frames,
        text_version=BIOMETRIC_TEXT_VERSION,
        resealed=resealed,
    )
    seq = _append(connection, entrance, fact, moment)
    faces.note_envelope(connection, knowledge.life(connection).epoch, seq, MemberId(template.member))


def append_shared(entrance: Entrance, template: SealedTemplate, for_store: str, moment: Moment) -> None:
    """The member's template was sealed for another store. Raises: StorageFull.

    Noted like the store's own, so that its envelope is erased once it is settled, or when the member withdraws.
    """
    with entrance.database.transaction() as connection:
        policy = _policy(connection)
        fact = TemplateShared(
            tenant=policy.tenant,
            store=policy.store,
            for_store=for_store,
            template=template,
            text_version=BIOMETRIC_TEXT_VERSION,
        )
        seq = _append(connection, entrance, fact, moment)
        faces.note_envelope(connection, knowledge.life(connection).epoch, seq, MemberId(template.member))


def _said(connection: Connection, member: MemberId, means: Means, language: str, *, given: bool) -> ConsentSaid:
    policy = _policy(connection)
    return ConsentSaid(
        tenant=policy.tenant,
        store=policy.store,
        member=member,
        purpose=Purpose.BIOMETRIC,
        given=given,
        text_version=BIOMETRIC_TEXT_VERSION,
        language=language,
        means=means,
    )


def _append(connection: Connection, entrance: Entrance, fact: Fact, moment: Moment) -> int:
    epoch = knowledge.life(connection).epoch
    version = _policy(connection).version
    return append_fact(connection, entrance, epoch, fact, moment, business_day=None, policy_version=version)


def _policy(connection: Connection) -> Policy:
    policy = knowledge.policy(connection)
    assert policy is not None, "nobody is asked about faces without one"
    return policy
