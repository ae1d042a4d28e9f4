"""The frame mailbox: the newest picture whole or none at all, whatever its writer is, does or dies of."""

import os
import select
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.channel.frames import (
    LISTENERS_MAX,
    CameraState,
    FrameReader,
    FrameWriter,
    MailboxStatus,
    bell_path,
)
from edge.errors import ChannelBroken
from edge.ports import Frame
from tests.support.frame_flood import HEIGHT, WIDTH

SIZE = (24, 32, 3)
CAPACITY = 24 * 32 * 3
KILLS = 8
ROOT = Path(__file__).parents[3]


@pytest.fixture
def path() -> Iterator[Path]:
    """A short path: a Unix socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder) / "frames"


def frame(sequence: int, size: tuple[int, int, int] = SIZE) -> Frame:
    return Frame(pixels=np.full(size, sequence % 251, dtype=np.uint8), captured_ns=sequence * 1_000, sequence=sequence)


def poke(path: Path, word: int, value: int) -> None:
    """Writes one word of the header behind everybody's back."""
    with path.open("r+b") as file:
        file.seek(word * 8)
        file.write(value.to_bytes(8, sys.byteorder))


def test_the_newest_frame_is_read_once(path: Path) -> None:
    with FrameWriter(path, CAPACITY) as writer, FrameReader(path) as reader:
        assert reader.read_latest(0) is None
        for sequence in (1, 2, 3):
            writer.publish(frame(sequence))
        latest = reader.read_latest(0)
        assert latest is not None
        assert (latest.sequence, latest.captured_ns) == (3, 3_000)
        assert np.array_equal(latest.pixels, frame(3).pixels)
        assert reader.read_latest(latest.sequence) is None


def test_a_buffer_is_reused_when_it_is_large_enough(path: Path) -> None:
    with FrameWriter(path, CAPACITY) as writer, FrameReader(path) as reader:
        writer.publish(frame(1))
        roomy, tight = np.zeros(CAPACITY + 5, dtype=np.uint8), np.zeros(CAPACITY - 1, dtype=np.uint8)
        into_roomy, into_tight = reader.read_latest(0, roomy), reader.read_latest(0, tight)
        assert into_roomy is not None
        assert np.shares_memory(into_roomy.pixels, roomy)
        assert into_tight is not None
        assert not np.shares_memory(into_tight.pixels, tight)
        assert np.array_equal(into_roomy.pixels, into_tight.pixels)


def test_pictures_may_change_their_size_up_to_the_capacity(path: Path) -> None:
    with FrameWriter(path, CAPACITY) as writer, FrameReader(path) as reader:
        writer.publish(frame(1, (8, 4, 3)))
        small = reader.read_latest(0)
        assert small is not None
        assert small.pixels.shape == (8, 4, 3)
        with pytest.raises(ChannelBroken):
            writer.publish(frame(2, (25, 32, 3)))
        again = reader.read_latest(0)
        assert again is not None
        assert again.sequence == 1


def test_a_picture_with_strides_is_copied_as_it_looks(path: Path) -> None:
    with FrameWriter(path, CAPACITY) as writer, FrameReader(path) as reader:
        wide = np.arange(24 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(24, 64, 3)
        writer.publish(Frame(pixels=wide[:, ::2], captured_ns=1, sequence=1))
        read = reader.read_latest(0)
        assert read is not None
        assert np.array_equal(read.pixels, wide[:, ::2])


def test_without_a_writer_there_is_nothing_and_nothing_breaks(path: Path) -> None:
    with FrameReader(path) as reader:
        assert reader.read_latest(0) is None
        assert reader.read_status() is None
        assert reader.wait(0.0) is False
        assert reader.wait(0.01) is False


def test_the_camera_s_state_is_there_without_a_picture(path: Path) -> None:
    now = [7]
    with FrameWriter(path, CAPACITY, monotonic_ns=lambda: now[0]) as writer, FrameReader(path) as reader:

        def status() -> MailboxStatus | None:
            return reader.read_status()

        assert status() == MailboxStatus(state=CameraState.OPENING, attempts=0, heartbeat_ns=7)
        writer.lost(3)
        assert status() == MailboxStatus(state=CameraState.LOST, attempts=3, heartbeat_ns=7)
        now[0] = 8
        writer.opening(3)
        assert status() == MailboxStatus(state=CameraState.OPENING, attempts=3, heartbeat_ns=8)
        writer.publish(frame(1))
        assert status() == MailboxStatus(state=CameraState.LIVE, attempts=0, heartbeat_ns=8)
        now[0] = 9
        writer.beat()
        assert status() == MailboxStatus(state=CameraState.LIVE, attempts=0, heartbeat_ns=9)


def test_a_silent_writer_s_news_is_old_after_five_seconds() -> None:
    status = MailboxStatus(state=CameraState.LIVE, attempts=0, heartbeat_ns=10)
    assert status.is_current(5_000_000_010)
    assert not status.is_current(5_000_000_011)


@pytest.mark.parametrize(("is_ended", "state"), [(True, CameraState.ENDED), (False, CameraState.OFF)])
def test_a_closed_mailbox_keeps_its_state_and_no_picture(path: Path, is_ended: bool, state: CameraState) -> None:
    with FrameReader(path) as early:
        with FrameWriter(path, CAPACITY) as writer:
            writer.publish(frame(200))
            assert early.read_latest(0) is not None
            if is_ended:
                writer.ended()
        assert early.read_latest(0) is None
        with FrameReader(path) as late:
            assert late.read_latest(0) is None
            assert [reader.read_status() for reader in (early, late)] == [late.read_status()] * 2
            status = late.read_status()
            assert status is not None
            assert status.state is state
    assert bytes([200] * 8) not in path.read_bytes()
    assert not bell_path(path).exists()


def test_the_bell_rings_for_pictures_and_states(path: Path) -> None:
    with FrameWriter(path, CAPACITY) as writer, FrameReader(path) as reader:
        assert reader.wait(1.0) is True  # connected: there may be something already
        assert reader.wait(0.0) is False
        writer.publish(frame(1))
        assert reader.wait(1.0) is True
        assert reader.wait(0.0) is False
        writer.lost(1)
        assert reader.wait(1.0) is True


def test_the_bell_has_one_descriptor_for_event_loops(path: Path) -> None:
    with FrameReader(path) as reader:
        number = reader.fileno()
        with FrameWriter(path, CAPACITY) as writer:
            reader.wait(1.0)
            assert select.select([reader], [], [], 0)[0] == []
            writer.publish(frame(1))
            assert select.select([reader], [], [], 1)[0] == [reader]
        assert reader.wait(1.0) is True  # rung
        assert reader.wait(1.0) is True  # hung up
        with FrameWriter(path, CAPACITY):
            assert reader.wait(1.0) is True
            assert reader.fileno() == number


def test_a_reader_that_does_not_listen_never_delays_the_writer(path: Path) -> None:
    """The socket holds a few hundred bytes; the rest of the rings are dropped, the newest picture is not."""
    with FrameWriter(path, CAPACITY) as writer, FrameReader(path) as reader:
        reader.wait(1.0)
        for sequence in range(1, 5_001):
            writer.publish(frame(sequence))
        assert reader.wait(0.0) is True
        latest = reader.read_latest(0)
        assert latest is not None
        assert latest.sequence == 5_000


def test_listeners_are_few(path: Path) -> None:
    readers = [FrameReader(path) for _ in range(LISTENERS_MAX + 1)]
    with FrameWriter(path, CAPACITY) as writer:
        for reader in readers:
            assert reader.wait(1.0) is True
            writer.publish(frame(1))
        assert all(reader.wait(1.0) for reader in readers)  # rung, or the last one hung up on
        writer.publish(frame(2))
        assert [reader.wait(0.0) for reader in readers[:-1]] == [True] * LISTENERS_MAX
    for reader in readers:
        reader.close()


def test_a_gone_listener_is_forgotten(path: Path) -> None:
    with FrameWriter(path, CAPACITY) as writer:
        for sequence in range(1, 3 * LISTENERS_MAX):
            with FrameReader(path) as reader:
                assert reader.wait(1.0) is True
                writer.publish(frame(sequence))
                assert reader.wait(1.0) is True


def test_a_new_writer_is_found_and_its_numbers_start_again(path: Path) -> None:
    with FrameReader(path) as reader:
        with FrameWriter(path, CAPACITY) as writer:
            writer.publish(frame(90))
            old = reader.read_latest(0)
            assert old is not None
        with FrameWriter(path, CAPACITY * 2) as writer:
            assert reader.read_latest(old.sequence) is None
            writer.publish(frame(1))
            new = reader.read_latest(old.sequence)
            assert new is not None
            assert new.sequence == 1
            assert reader.read_latest(new.sequence) is None


@pytest.mark.parametrize(("is_shared", "file_mode", "bell_mode"), [(False, 0o600, 0o600), (True, 0o640, 0o660)])
def test_only_those_meant_to_may_look(path: Path, is_shared: bool, file_mode: int, bell_mode: int) -> None:
    with FrameWriter(path, CAPACITY, is_shared_with_group=is_shared):
        assert stat.S_IMODE(path.stat().st_mode) == file_mode
        assert stat.S_IMODE(bell_path(path).stat().st_mode) == bell_mode


def test_what_is_no_mailbox_is_none(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    with FrameWriter(elsewhere, CAPACITY) as writer:
        writer.publish(frame(1))
        path.symlink_to(elsewhere)  # a link could lead anywhere
        with FrameReader(path) as reader:
            assert reader.read_latest(0) is None
        path.unlink()
    os.mkfifo(path)
    with FrameReader(path) as reader:
        assert reader.read_status() is None
    path.unlink()
    path.mkdir()
    with FrameReader(path) as reader:
        assert reader.read_latest(0) is None


def test_a_half_written_slot_leaves_the_picture_before_it(path: Path) -> None:
    """The counter of the slot not shown is odd, as a writer killed while copying leaves it."""
    with FrameWriter(path, CAPACITY) as writer, FrameReader(path) as reader:
        writer.publish(frame(1))  # slot 0
        poke(path, 16, 1)
        latest = reader.read_latest(0)
        assert latest is not None
        assert latest.sequence == 1
        poke(path, 8, 3)
        assert reader.read_latest(0) is None


def test_a_file_cut_short_is_none(path: Path) -> None:
    with FrameWriter(path, CAPACITY) as writer, FrameReader(path) as reader:
        writer.publish(frame(1))
        assert reader.read_latest(0) is not None
        os.truncate(path, 4096 + 100)
        assert reader.read_latest(0) is None
        os.truncate(path, 17)
        assert reader.read_latest(0) is None
        assert reader.read_status() is None
        os.truncate(path, 4096 + 2 * 4096)


@settings(max_examples=150, deadline=None)
@given(
    words=st.dictionaries(st.integers(0, 23), st.integers(0, 2**64 - 1) | st.integers(0, 64), max_size=6),
    size=st.integers(0, 16_384) | st.none(),
    is_open=st.booleans(),
)
def test_a_hostile_header_never_breaks_a_reader(words: dict[int, int], size: int | None, is_open: bool) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "frames"
        with written_mailbox(path, CAPACITY), FrameReader(path) as reader:
            if is_open:
                reader.read_status()
            for word, value in words.items():
                poke(path, word, value)
            if size is not None:
                os.truncate(path, size)
            latest, status = reader.read_latest(0), reader.read_status()
            assert latest is None or 0 < latest.pixels.nbytes <= CAPACITY
            assert status is None or status.state in set(CameraState)


@contextmanager
def written_mailbox(path: Path, capacity: int) -> Iterator[None]:
    """A mailbox with one picture whose writer lets go of the map first: what is done to the file then hurts nobody."""
    with FrameWriter(path, capacity) as writer:
        writer.publish(frame(1))
        kept = path.read_bytes()
    path.write_bytes(kept)
    yield


def test_a_writer_killed_at_any_moment_leaves_no_torn_picture(path: Path) -> None:
    """Real processes and SIGKILL: each new writer is found, each picture is one picture."""
    pixels = np.empty(WIDTH * HEIGHT * 3, dtype=np.uint8)
    with FrameReader(path) as reader:
        for kill in range(KILLS):
            with subprocess.Popen([sys.executable, "-m", "tests.support.frame_flood", str(path)], cwd=ROOT) as writer:
                try:
                    seen = read_whole_pictures(reader, pixels, count=20 + 7 * kill)
                finally:
                    writer.send_signal(signal.SIGKILL)
            after_death = reader.read_latest(0, pixels)
            assert after_death is None or is_whole(after_death)
            assert seen > 0


def read_whole_pictures(reader: FrameReader, pixels: NDArray[np.uint8], count: int) -> int:
    """The last sequence number after so many pictures of one writer."""
    sequence = 0
    numbers: list[int] = []
    while len(numbers) < count:
        assert reader.wait(20.0)
        latest = reader.read_latest(sequence, pixels)
        if latest is not None:
            assert is_whole(latest)
            if latest.sequence < sequence:
                numbers.clear()  # the new writer's first: what came before was left by the one killed last
            sequence = latest.sequence
            numbers.append(sequence)
    assert numbers == sorted(set(numbers))
    return sequence


def is_whole(latest: Frame) -> bool:
    return bool((latest.pixels == latest.sequence % 251).all()) and latest.captured_ns == latest.sequence
