"""The rendered door: its codes can be read, its accidents happen, the same seed gives the same pixels."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import zxingcpp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.camera.address import open_camera
from edge.camera.options import NS, CameraOptions
from edge.camera.scene import SCENE_BYTES_MAX, built_in_scene, forged_card, parse_scene
from edge.errors import CameraLost, CameraUnavailable, EndOfStream
from edge.ports import Camera, Frame
from shared.ids import MemberId
from shared.tokens import PhoneCode, TokenFault, certify_phone, issue_card, parse_token, step_of, verify_token
from tests.support.step_clock import StepClock

OPTIONS = CameraOptions()
SMALL = CameraOptions(width=320, height=240)
ISSUER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PHONE = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
MEMBER = MemberId(bytes(10))
CARD = issue_card(ISSUER, issuer=1, member=MEMBER, serial=1, expiry_day=30_000)
CERTIFICATE = certify_phone(
    ISSUER, issuer=1, member=MEMBER, expiry_day=30_000, public_key=PHONE.public_key().public_bytes_raw()
)
ISSUERS = {1: ISSUER.public_key()}

QR_ONLY = zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCode])
Json = dict[str, object]
EMPTY: Json = {"kind": "empty", "seconds": 0.2}


def scene_camera(
    folder: Path, acts: list[Json], clock: StepClock, options: CameraOptions = OPTIONS, **settings: object
) -> Camera:
    path = folder / "scene.json"
    path.write_text(json.dumps({"acts": acts, "loop": False} | settings))
    return open_camera(f"synthetic:{path}", options, clock.for_camera)


def played(camera: Camera) -> Iterator[Frame]:
    while True:
        try:
            yield camera.read(2.0)
        except EndOfStream:
            return


def all_frames(camera: Camera) -> list[Frame]:
    return list(played(camera))


def texts_in(frame: Frame) -> list[str]:
    codes = zxingcpp.read_barcodes(frame.pixels[:, :, 1].copy(), formats=QR_ONLY)
    return [code.text for code in codes]


def readable_share(folder: Path, act: Json, texts: set[str]) -> float:
    """How many of the act's frames give exactly these codes."""
    with scene_camera(folder, [act], StepClock()) as camera:
        frames = all_frames(camera)
    return sum(set(texts_in(frame)) == texts for frame in frames) / len(frames)


def test_a_card_can_be_read_while_it_is_held_up(tmp_path: Path) -> None:
    assert readable_share(tmp_path, {"kind": "card", "text": CARD}, {CARD}) >= 0.6


def test_two_cards_can_be_read_at_once(tmp_path: Path) -> None:
    pair: Json = {"kind": "pair", "texts": [CARD, "https://example.com/"]}
    assert readable_share(tmp_path, pair, {CARD, "https://example.com/"}) >= 0.5


def test_glare_hides_a_code_for_a_while(tmp_path: Path) -> None:
    clear = readable_share(tmp_path, {"kind": "card", "text": CARD}, {CARD})
    assert 0.2 <= readable_share(tmp_path, {"kind": "glare", "text": CARD}, {CARD}) < clear


@pytest.mark.parametrize("kind", ["empty", "visitor", "blackout"])
def test_without_a_code_none_is_read(tmp_path: Path, kind: str) -> None:
    assert readable_share(tmp_path, {"kind": kind, "seconds": 1.0}, set()) == 1.0


def test_the_dark_is_dark_and_the_door_is_not(tmp_path: Path) -> None:
    blackout: Json = {"kind": "blackout", "seconds": 0.1}
    with scene_camera(tmp_path, [blackout, EMPTY], StepClock(), SMALL) as camera:
        frames = all_frames(camera)
    assert frames[0].pixels.max() < 16
    assert frames[-1].pixels.mean() > 60


def test_a_phone_shows_the_code_of_the_moment_and_the_next_one_in_the_next_step(tmp_path: Path) -> None:
    clock = StepClock(wall_s=1_800_000_027.0)
    act: Json = {
        "kind": "phone",
        "certificate": CERTIFICATE.hex(),
        "private_key": PHONE.private_bytes_raw().hex(),
        "seconds": 8,
    }
    steps: list[int] = []
    with scene_camera(tmp_path, [act], clock, rate=4) as camera:
        for frame in played(camera):
            now = datetime.fromtimestamp(clock.wall_s(), UTC)
            for text in texts_in(frame):
                code = parse_token(text)
                assert isinstance(code, PhoneCode)
                assert verify_token(code, ISSUERS, now) is None
                assert code.step == step_of(now)
                steps.append(code.step)
    assert set(steps) == {60_000_000, 60_000_001}
    assert steps == sorted(steps)


def test_the_built_in_scene_shows_a_forged_code_a_foreign_one_and_nothing_else() -> None:
    kinds = [type(act).__name__ for act in built_in_scene().acts]
    assert kinds == ["Empty", "CardAct", "Empty", "CardAct", "Visitor"]
    code = parse_token(forged_card())
    assert not isinstance(code, TokenFault)
    assert verify_token(code, {code.issuer: ISSUER.public_key()}, None) is TokenFault.FORGED
    seen: set[str] = set()
    with open_camera("synthetic:", OPTIONS, StepClock().for_camera) as camera:
        for _ in range(15 * 14 + 15 * 4):  # the whole scene and the beginning of the next round
            seen.update(texts_in(camera.read(2.0)))
    assert seen == {forged_card(), "https://example.com/menu"}


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others(tmp_path: Path) -> None:
    path = tmp_path / "scene.json"
    path.write_text(json.dumps({"acts": [{"kind": "card", "text": CARD, "seconds": 0.5}], "loop": False}))
    runs: list[bytes] = []
    for seed in (5, 5, 6):
        with open_camera(f"synthetic:{path}?seed={seed}", SMALL, StepClock().for_camera) as camera:
            runs.append(b"".join(frame.pixels.tobytes() for frame in all_frames(camera)))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_every_frame_has_noise_of_its_own(tmp_path: Path) -> None:
    with scene_camera(tmp_path, [EMPTY], StepClock(), SMALL) as camera:
        one, two = (frame.pixels.astype(int) for frame in all_frames(camera)[:2])
    assert 1 < np.abs(one - two).mean() < 6


def test_a_freeze_blocks_a_patient_reader_and_is_a_loss_to_others(tmp_path: Path) -> None:
    clock = StepClock()
    acts: list[Json] = [EMPTY, {"kind": "freeze", "seconds": 3.0}, EMPTY]
    with scene_camera(tmp_path, acts, clock, SMALL) as camera:
        before = [camera.read(2.0) for _ in range(3)]
        with pytest.raises(CameraLost):
            camera.read(2.0)
        after = camera.read(2.0)
    assert after.captured_ns - before[-1].captured_ns >= 3 * NS
    assert after.sequence == 4


def test_an_unplugged_camera_stays_lost_until_it_is_opened_again(tmp_path: Path) -> None:
    clock = StepClock()
    acts: list[Json] = [EMPTY, {"kind": "disconnect", "seconds": 2.0}, {"kind": "blackout", "seconds": 0.2}]
    camera = scene_camera(tmp_path, acts, clock, SMALL)
    camera.open()
    for _ in range(3):
        camera.read(2.0)
    for _ in range(2):
        with pytest.raises(CameraLost):
            camera.read(2.0)
        clock.step(30)
    with pytest.raises(CameraUnavailable):
        camera.open()
    clock.step(2)
    camera.open()
    assert camera.read(2.0).pixels.max() < 16  # the play goes on, it does not begin again
    camera.close()


def test_a_looped_scene_does_not_end(tmp_path: Path) -> None:
    with scene_camera(tmp_path, [EMPTY, {"kind": "freeze", "seconds": 0.1}], StepClock(), SMALL, loop=True) as camera:
        assert [camera.read(2.0).sequence for _ in range(20)][-1] == 20


def test_a_looped_scene_that_was_written_anew_goes_on_with_the_new_one(tmp_path: Path) -> None:
    with scene_camera(tmp_path, [EMPTY], StepClock(), SMALL, loop=True) as camera:
        assert camera.read(2.0).pixels.max() > 16
        (tmp_path / "scene.json").write_text(json.dumps({"acts": [{"kind": "blackout", "seconds": 0.2}], "loop": True}))
        later = [camera.read(2.0).pixels.max() for _ in range(4)]
        assert later[-1] < 16


def test_a_scene_has_its_own_size_and_rate(tmp_path: Path) -> None:
    clock = StepClock()
    with scene_camera(tmp_path, [EMPTY], clock, OPTIONS, width=200, height=160, rate=50) as camera:
        frames = all_frames(camera)
    assert frames[0].pixels.shape == (160, 200, 3)
    assert len(frames) == 10
    assert frames[1].captured_ns - frames[0].captured_ns == NS // 50


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"acts": []}',
        '{"acts": [{"kind": "dance"}]}',
        '{"acts": [{"kind": "card"}]}',
        '{"acts": [{"kind": "card", "text": ""}]}',
        '{"acts": [{"kind": "empty", "seconds": 0}]}',
        '{"acts": [{"kind": "empty", "seconds": 1e9}]}',
        '{"acts": [{"kind": "empty", "colour": "red"}]}',
        '{"acts": [{"kind": "phone", "certificate": "00", "private_key": "00"}]}',
        '{"acts": [{"kind": "empty"}], "width": 9000}',
        '{"acts": [{"kind": "empty"}], "width": 2000, "height": 300}',
        '{"acts": [{"kind": "empty"}], "rate": 0}',
        " " * (SCENE_BYTES_MAX + 1),
    ],
)
def test_a_scene_that_cannot_be_played_is_unavailable(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scene.json"
    path.write_text(text)
    with pytest.raises(CameraUnavailable):
        open_camera(f"synthetic:{path}", OPTIONS, StepClock().for_camera).open()


def test_a_code_of_any_length_and_letters_can_be_part_of_the_play(tmp_path: Path) -> None:
    texts = ["<script>alert(1)</script>", "DS1:" + "A" * 900, "à è ì"]
    acts: list[Json] = [{"kind": "card", "text": text, "seconds": 0.3} for text in texts]
    with scene_camera(tmp_path, acts, StepClock(), SMALL) as camera:
        assert len(all_frames(camera)) == 3 * round(0.3 * 15)
    assert len(parse_scene((tmp_path / "scene.json").read_bytes()).acts) == 3
