"""The faces side of `vision` as the agent sees it: a real keeper, a real template database, messages in and out."""

import asyncio
import hashlib
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from edge.channel.messages import (
    ChallengeEnded,
    ChallengeStarts,
    CodeAccepted,
    EnrolEnded,
    EnrolHinted,
    EnrolStarts,
    EnrolStops,
    FaceGone,
    FaceSeen,
    FaceSettled,
    FaceTerms,
    GroupChanged,
    GroupDistrusted,
    GroupIntroduced,
    GroupMade,
    GroupRotated,
    GroupUnchanged,
    KioskAdmitted,
    KnownGroup,
    LeasesEnd,
    ShareWanted,
    TemplateGiven,
    TemplatesKept,
    TemplatesTold,
    VisionHello,
    WrapTold,
)
from edge.core.screen import EnrolRefusal, Side
from edge.db.templates import TemplateDatabase
from edge.errors import ChannelBroken
from edge.vision.faces import desk as desks
from edge.vision.faces.desk import FaceDesk, FaceReport, FaceSources
from edge.vision.faces.intake import Intake
from edge.vision.faces.keeper import GroupRefusal
from edge.vision.faces.weights import Weights
from shared.biometrics import Forgetting, SealedTemplate
from shared.policy import Liveness
from tests.edge.vision.faces.scenes import (
    MIDDLE,
    MODELS,
    RATE_FPS,
    Picture,
    ann,
    bob,
    door,
    frame,
    member,
    needs_models,
)

ANN = member(1)
LIFE, OTHER_LIFE = b"1" * 16, b"2" * 16


def terms(*, on: bool = True, life: bytes = LIFE, liveness: Liveness = Liveness.NONE) -> FaceTerms:
    return FaceTerms(on=on, liveness=liveness, device="kiosk1", store="rome-1", life=life)


def told(*keep: SealedTemplate, forget: tuple[bytes, ...] = (), version: int | None = None) -> TemplatesTold:
    return TemplatesTold(
        version=version,
        issued_ms=1000,
        whole=version is not None,
        reset=False,
        keep=keep,
        forget=tuple(map(type(ANN), forget)),
        why=Forgetting.WITHDRAWN,
    )


def draw(count: int) -> bytes:
    """Bytes that are never the same twice in a run, and the same in every run."""
    draw.calls += 1  # type: ignore[attr-defined]  # a counter is all the state there is
    return hashlib.shake_256(draw.calls.to_bytes(8)).digest(count)  # type: ignore[attr-defined]  # as above


draw.calls = 0  # type: ignore[attr-defined]  # as above


async def with_desk(folder: Path, work: Callable[[FaceDesk], Awaitable[None]], *, models: Path | None = None) -> None:
    """Does the work at a desk that is opened before and closed after."""
    folder.mkdir(exist_ok=True)
    sources = FaceSources(
        weights=Weights(models or Path(MODELS or "")),
        shelf=TemplateDatabase(folder / "faces.db"),
        keys=folder,
        random=draw,
    )
    desk = FaceDesk(sources)
    await desk.open()
    try:
        await work(desk)
    finally:
        await desk.close()


def at_desk(folder: Path, work: Callable[[FaceDesk], Awaitable[None]], *, models: Path | None = None) -> None:
    """Runs the work at a desk that is opened before and closed after."""
    asyncio.run(with_desk(folder, work, models=models))


def look(desk: FaceDesk, picture: Picture | None, frames: int, *, first: int = 0) -> list[FaceReport]:
    """What is told of so many frames with this face on the mark."""
    pixels = door() if picture is None else door((picture, MIDDLE))
    return [
        report
        for number in range(first, first + frames)
        for report in desk.look(frame(number, pixels), code_in_view=False)
    ]


async def learnt(desk: FaceDesk, picture: Picture) -> SealedTemplate:
    """Ann's template, not in use yet."""
    assert await desk.take(EnrolStarts(member=ANN)) == ()
    reports = look(desk, picture, 5 * RATE_FPS)
    ended = reports[-1]
    assert isinstance(ended, EnrolEnded)
    assert ended.template is not None
    assert {type(report) for report in reports[:-1]} == {EnrolHinted}
    assert not [report for report in look(desk, None, 15, first=5 * RATE_FPS) if isinstance(report, FaceSeen)]
    return ended.template


@needs_models
def test_a_member_who_was_learnt_is_recognised_once_the_agent_brings_the_template_back(tmp_path: Path) -> None:
    async def work(desk: FaceDesk) -> None:
        assert await desk.take(terms()) == ()
        (made,) = await desk.take(GroupMade())
        assert isinstance(made, GroupChanged)
        template = await learnt(desk, ann())
        assert look(desk, ann(), 30, first=100) == [], "it is not in use yet"
        assert look(desk, None, 15, first=130) == []
        (kept,) = await desk.take(told(template))
        assert kept == TemplatesKept(version=0, issued_ms=0, templates=1, forgotten=(), why=Forgetting.WITHDRAWN)
        seen = look(desk, ann(), 14, first=145)
        assert seen
        assert all(isinstance(report, FaceSeen) and report.captured_ns < report.seen_ns for report in seen)
        last = seen[-1]
        assert isinstance(last, FaceSeen)
        assert last.comparison.candidates[0].member == ANN
        assert await desk.take(FaceSettled(track=last.track)) == ()
        assert look(desk, ann(), 20, first=159) == []
        assert look(desk, None, 15, first=179) == [FaceGone(track=last.track)]
        assert await desk.take(CodeAccepted()) == ()
        assert look(desk, ann(), 20, first=194) == [], "who stood behind the code is left alone, and never told of"
        assert look(desk, None, 15, first=214) == []

    at_desk(tmp_path / "kiosk", work)


@needs_models
def test_what_is_kept_is_there_after_a_restart_and_gone_once_forgotten(tmp_path: Path) -> None:
    async def first(desk: FaceDesk) -> None:
        await desk.take(terms())
        await desk.take(GroupMade())
        await desk.take(told(await learnt(desk, ann()), version=7))

    async def second(desk: FaceDesk) -> None:
        hello = desk.hello()
        assert hello.embedder is not None
        assert (hello.life, hello.templates_version, hello.templates_issued_ms) == (LIFE, 7, 1000)
        assert (hello.templates, hello.kiosks) == (1, ("kiosk1",))
        assert hello.group is not None
        assert hello.sealing_public is not None
        assert look(desk, ann(), 20) == [], "nothing is looked at before the terms are known"
        await desk.take(terms())
        assert look(desk, ann(), 20, first=20)
        assert await desk.take(told(forget=(ANN, member(5)))) == (
            TemplatesKept(version=7, issued_ms=1000, templates=0, forgotten=(ANN,), why=Forgetting.WITHDRAWN),
        )
        assert desk.hello().templates == 0

    at_desk(tmp_path / "kiosk", first)
    at_desk(tmp_path / "kiosk", second)


@needs_models
def test_leases_that_end_and_another_life_of_the_database_forget(tmp_path: Path) -> None:
    async def work(desk: FaceDesk) -> None:
        await desk.take(terms())
        await desk.take(GroupMade())
        template = await learnt(desk, ann())
        await desk.take(told(template))
        assert await desk.take(LeasesEnd(before_ms=1001)) == (
            TemplatesKept(version=0, issued_ms=0, templates=0, forgotten=(ANN,), why=Forgetting.LAPSED),
        )
        await desk.take(told(template, version=3))
        (restored,) = await desk.take(terms(life=OTHER_LIFE))
        assert restored == TemplatesKept(version=0, issued_ms=0, templates=0, forgotten=(), why=Forgetting.RESTORED)

    at_desk(tmp_path / "kiosk", work)


@needs_models
def test_the_group_changes_or_says_why_it_does_not(tmp_path: Path) -> None:
    async def work(desk: FaceDesk) -> None:
        await desk.take(terms())
        admitted = KioskAdmitted(device="kiosk2", sealing_public=b"k" * 32)
        assert await desk.take(admitted) == (GroupUnchanged(reason=GroupRefusal.UNGROUPED),)
        (made,) = await desk.take(GroupMade())
        assert isinstance(made, GroupChanged)
        assert (made.previous, made.kiosks) == (None, ("kiosk1",))
        (again,) = await desk.take(GroupMade())
        assert isinstance(again, GroupUnchanged)
        (refused,) = await desk.take(WrapTold(key=bytes(8), sealed=b"nonsense"))
        assert isinstance(refused, GroupUnchanged)
        (wrapped,) = await desk.take(admitted)
        assert isinstance(wrapped, GroupChanged)
        assert set(wrapped.kiosks) == {"kiosk1", "kiosk2"}
        assert wrapped.wraps
        template = await learnt(desk, ann())
        await desk.take(told(template))
        (rotated,) = await desk.take(GroupRotated(kept=("kiosk1",)))
        assert isinstance(rotated, GroupChanged)
        assert rotated.previous == made.group
        assert [resealed.member for resealed in rotated.resealed] == [ANN]
        assert rotated.resealed[0].sealed != template.sealed
        (kept,) = await desk.take(told(*rotated.resealed))
        assert isinstance(kept, TemplatesKept)
        assert look(desk, ann(), 20, first=300), "the face is found under the new secret"

    at_desk(tmp_path / "kiosk", work)


@needs_models
def test_templates_sealed_anew_that_never_came_back_are_told_again_with_the_next_terms(tmp_path: Path) -> None:
    async def work(desk: FaceDesk) -> None:
        await desk.take(terms())
        await desk.take(GroupMade())
        await desk.take(told(await learnt(desk, ann())))
        (rotated,) = await desk.take(GroupRotated(kept=("kiosk1",)))
        assert isinstance(rotated, GroupChanged)
        desk.hello()
        (again,) = await desk.take(terms())
        assert isinstance(again, GroupChanged)
        assert again.resealed == rotated.resealed
        assert again.previous is None
        (kept,) = await desk.take(told(*again.resealed))
        assert isinstance(kept, TemplatesKept)
        assert await desk.take(terms()) == ()

    at_desk(tmp_path / "kiosk", work)


@needs_models
def test_faces_are_looked_at_only_while_the_terms_say_so(tmp_path: Path) -> None:
    async def work(desk: FaceDesk) -> None:
        await desk.take(terms(on=False))
        assert look(desk, ann(), 20) == []
        assert await desk.take(EnrolStarts(member=ANN)) == (
            EnrolEnded(member=ANN, template=None, frames=0, refusal=EnrolRefusal.NOBODY),
        )
        for message in (CodeAccepted(), FaceSettled(track=1), EnrolStops()):
            assert await desk.take(message) == ()
        turn = ChallengeStarts(track=1, side=Side.LEFT)
        assert await desk.take(turn) == (ChallengeEnded(track=1, passed=False),)
        await desk.take(terms())
        assert await desk.take(turn) == (ChallengeEnded(track=1, passed=False),)
        assert await desk.take(EnrolStarts(member=ANN)) == ()
        ended = look(desk, ann(), 1)
        assert ended == [EnrolEnded(member=ANN, template=None, frames=0, refusal=EnrolRefusal.NO_GROUP)]
        await desk.take(GroupMade())
        await desk.take(EnrolStarts(member=ANN))
        assert [type(report) for report in look(desk, ann(), 3, first=1)] == [EnrolHinted]
        await desk.take(terms(on=False))
        (given_up,) = look(desk, ann(), 3, first=4)
        assert isinstance(given_up, EnrolEnded)
        assert (given_up.template, given_up.refusal) == (None, EnrolRefusal.NOBODY)
        await desk.take(EnrolStops())

    at_desk(tmp_path / "kiosk", work)


@needs_models
def test_liveness_is_told_as_the_terms_ask(tmp_path: Path) -> None:
    async def work(desk: FaceDesk) -> None:
        await desk.take(terms(liveness=Liveness.PASSIVE))
        await desk.take(GroupMade())
        await desk.take(told(await learnt(desk, bob())))
        seen = look(desk, bob(), 14, first=200)
        assert seen
        assert all(isinstance(report, FaceSeen) and report.live is not None for report in seen)

    at_desk(tmp_path / "kiosk", work)


@needs_models
def test_a_face_learnt_at_one_store_is_recognised_at_another_to_which_it_was_given(tmp_path: Path) -> None:
    async def at_home(home: FaceDesk) -> None:
        await home.take(terms())
        await home.take(GroupMade())
        await home.take(told(await learnt(home, ann())))

        async def away_from_home(away: FaceDesk) -> None:
            await away.take(terms_at("porto"))
            await away.take(GroupMade())
            (change,) = await home.take(introduction_of(away, "porto"))
            assert isinstance(change, GroupChanged)
            assert change.partners == home.hello().partners == (KnownGroup(store="porto", key=group_of(away)),)
            wanted = ShareWanted(member=ANN, store="porto", key=group_of(away))
            (given,) = await home.take(wanted)
            assert isinstance(given, TemplateGiven)
            assert given.template is not None
            (kept,) = await away.take(told(given.template))
            assert isinstance(kept, TemplatesKept)
            assert kept.templates == 1, "held, and shut"
            await away.take(terms_at("porto"))
            assert not recognised(away, first=0)
            (opened,) = await away.take(introduction_of(home, "rome-1"))
            assert isinstance(opened, GroupChanged)
            assert [template.member for template in opened.resealed] == [ANN]
            await away.take(terms_at("porto"))
            assert recognised(away, first=100)

        await with_desk(tmp_path / "away", away_from_home)

    at_desk(tmp_path / "kiosk", at_home)


def terms_at(store: str) -> FaceTerms:
    told_terms: FaceTerms = msgspec.structs.replace(terms(), store=store)
    return told_terms


def group_of(desk: FaceDesk) -> bytes:
    group = desk.hello().group
    assert group is not None
    return group


def introduction_of(desk: FaceDesk, store: str) -> GroupIntroduced:
    """What the other store's screen showed."""
    hello = desk.hello()
    assert hello.intake_public is not None
    return GroupIntroduced(store=store, key=group_of(desk), intake_public=hello.intake_public)


def recognised(desk: FaceDesk, *, first: int) -> bool:
    """True when Ann's face on the mark is compared best with Ann."""
    seen = [report for report in look(desk, ann(), 14, first=first) if isinstance(report, FaceSeen)]
    look(desk, None, 15, first=first + 14)
    return any(candidate.member == ANN for report in seen for candidate in report.comparison.candidates)


def test_what_is_not_known_or_not_held_is_not_given(tmp_path: Path) -> None:
    async def work(desk: FaceDesk) -> None:
        wanted = ShareWanted(member=ANN, store="porto", key=b"their--1")
        assert await desk.take(introduce_porto) == (GroupUnchanged(reason="ungrouped"),)
        await desk.take(terms())
        await desk.take(GroupMade())
        refused = TemplateGiven(member=ANN, store="porto", template=None, reason="unknown_store")
        assert await desk.take(wanted) == (refused,)
        await desk.take(introduce_porto)
        assert await desk.take(wanted) == (msgspec.structs.replace(refused, reason="not_held"),)
        (change,) = await desk.take(GroupDistrusted(store="porto"))
        assert isinstance(change, GroupChanged)
        assert change.partners == ()
        assert await desk.take(wanted) == (refused,)

    (tmp_path / "models").mkdir()
    introduce_porto = GroupIntroduced(store="porto", key=b"their--1", intake_public=Intake(b"p" * 32).public)
    at_desk(tmp_path / "kiosk", work, models=tmp_path / "models")


def test_what_stays_shut_or_does_not_open_is_said_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(desk: FaceDesk) -> None:
        await desk.take(terms())
        await desk.take(GroupMade())
        shut = SealedTemplate(member=ANN, key=group_of(desk), embedder=b"embedder", sealed=b"\x02" + bytes(316))
        untrue: SealedTemplate = msgspec.structs.replace(shut, sealed=b"\x02" + bytes(315))
        await desk.take(told(shut, untrue))

    (tmp_path / "models").mkdir()
    at_desk(tmp_path / "kiosk", work, models=tmp_path / "models")
    assert "templates that do not open were refused" in caplog.text
    assert "templates of a store not introduced here stay shut" in caplog.text


def test_without_weights_templates_are_kept_and_no_face_is_looked_at(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(desk: FaceDesk) -> None:
        assert desk.hello().embedder is None
        await desk.take(terms())
        await desk.take(terms())
        assert look(desk, ann(), 20) == []
        (kept,) = await desk.take(told(forget=(ANN,)))
        assert isinstance(kept, TemplatesKept)

    (tmp_path / "models").mkdir()
    at_desk(tmp_path / "kiosk", work, models=tmp_path / "models")
    said = [record for record in caplog.records if record.name == desks.__name__]
    assert [record.getMessage() for record in said] == ["no faces, codes alone"]


@needs_models
def test_weights_that_change_under_the_process_are_refused_and_the_agent_hears_another_hello(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(Path(MODELS or ""), models, ignore=shutil.ignore_patterns("convert", "*.bin", "*.xml"))

    async def work(desk: FaceDesk) -> None:
        assert desk.hello().embedder is not None
        weights = Weights(models)
        landmarks = next(models.glob("mediapipe_face_landmark*"))
        landmarks.write_bytes(b"another file")
        assert weights.missing() == ()
        with pytest.raises(ChannelBroken):
            await desk.take(terms())
        assert desk.hello().embedder is None
        assert await desk.take(terms()) == ()
        assert look(desk, ann(), 10) == []

    at_desk(tmp_path / "kiosk", work, models=models)


def test_a_template_database_that_cannot_be_used_leaves_the_codes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(desk: FaceDesk) -> None:
        assert desk.hello() == VisionHello()
        assert await desk.take(terms()) == ()
        assert await desk.take(told(forget=(ANN,))) == ()
        assert await desk.take(GroupMade()) == (GroupUnchanged(reason="storage"),)
        assert look(desk, None, 3) == []

    (tmp_path / "kiosk").mkdir()
    (tmp_path / "kiosk" / "faces.db").write_bytes(b"this is no database, and long enough not to be an empty one" * 20)
    at_desk(tmp_path / "kiosk", work)
    assert "templates cannot be kept" in caplog.text
