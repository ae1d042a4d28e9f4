"""The decoder's child: whatever happens to it, the frame at hand is answered in time and the next one is read."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.vision.decoder import Decoded, Decoder, DecoderStalled, StallReason, _Slot
from edge.vision.decoder_wire import SLOT_BYTES
from edge.vision.qr import Effort
from tests.support.pictures import Gray, noisy, on_canvas, qr_picture
from tests.support.readers import TRIGGER

CARD = "DS1:CARD"
FAULTY = np.full((48, 64), TRIGGER, dtype=np.uint8)
HONEST = np.zeros((48, 64), dtype=np.uint8)
PATIENT_S = 20.0  # where the limit is not what is tested, a busy machine must not fail the test


def texts(answer: Decoded | DecoderStalled) -> list[str]:
    """What was read."""
    assert isinstance(answer, Decoded), answer
    return [code.text for code in answer.codes]


def with_reader(name: str, limit_s: float = PATIENT_S) -> Decoder:
    """A decoder whose child runs one of the readers that misbehave."""
    return Decoder(reader=f"tests.support.readers:{name}", decode_limit_s=limit_s)


def wait_for_end(process: int) -> None:
    """The process is over (reaped or not); fails after some seconds."""
    watch = os.pidfd_open(process)
    try:
        poll = select.poll()
        poll.register(watch, select.POLLIN)
        assert poll.poll(10_000), f"process {process} lives on"
    finally:
        os.close(watch)


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    """A decoder with the real reader, shared by the tests that do it no harm."""
    with Decoder(wanted="DS1:", decode_limit_s=PATIENT_S) as started:
        yield started


@pytest.mark.parametrize("effort", Effort)
@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        pytest.param(on_canvas(qr_picture(CARD)), [CARD], id="a card"),
        pytest.param(on_canvas(qr_picture("other"), qr_picture(CARD)), [CARD, "other"], id="two codes"),
        pytest.param(qr_picture(CARD).T, [CARD], id="rows not contiguous"),
        pytest.param(np.zeros((1, 1), dtype=np.uint8), [], id="one pixel"),
        pytest.param(np.zeros((0, 5), dtype=np.uint8), [], id="no pixel"),
        pytest.param(noisy(np.full((720, 1280), 128, dtype=np.uint8), 80), [], id="garbage"),
    ],
)
def test_a_frame_is_read_in_the_child(decoder: Decoder, frame: Gray, expected: list[str], effort: Effort) -> None:
    assert sorted(texts(decoder.decode(frame, effort))) == expected
    assert decoder.restarts == 0


def test_a_frame_larger_than_the_slot_is_made_smaller_and_its_codes_are_not(decoder: Decoder) -> None:
    frame = on_canvas(qr_picture(CARD, module=24), height=5000, width=7000)
    assert frame.size > SLOT_BYTES
    answer = decoder.decode(frame, Effort.QUICK)
    assert texts(answer) == [CARD]
    assert isinstance(answer, Decoded)
    middle = 40 + qr_picture(CARD, module=24).shape[0] / 2
    assert answer.codes[0].centre_x == pytest.approx(middle, abs=24)
    assert answer.codes[0].side == pytest.approx(21 * 24, abs=24)


@pytest.mark.parametrize(
    ("reader", "limit_s", "reason"),
    [
        pytest.param("stalls", 0.5, StallReason.TIMEOUT, id="it hangs"),
        pytest.param("dies", PATIENT_S, StallReason.DIED, id="kill -9 with the frame in its hands"),
        pytest.param("raises", PATIENT_S, StallReason.DIED, id="an error in a library"),
        pytest.param("grows", PATIENT_S, StallReason.DIED, id="more memory than it may have"),
        pytest.param("babbles", PATIENT_S, StallReason.GARBLED, id="an answer out of bounds"),
    ],
)
def test_a_child_at_fault_is_replaced_and_the_next_frame_is_read(
    reader: str, limit_s: float, reason: StallReason
) -> None:
    with with_reader(reader, limit_s) as decoder:
        for lost in (1, 2):
            assert decoder.decode(FAULTY, Effort.FULL) == DecoderStalled(reason=reason)
            assert decoder.restarts == lost
            assert texts(decoder.decode(HONEST, Effort.FULL)) == ["read"]


def test_a_child_killed_between_two_frames_is_replaced_before_the_next() -> None:
    with Decoder(decode_limit_s=PATIENT_S) as decoder:
        first = decoder.process_id
        assert first is not None
        assert texts(decoder.decode(qr_picture(CARD), Effort.QUICK)) == [CARD]
        os.kill(first, signal.SIGKILL)
        wait_for_end(first)
        assert texts(decoder.decode(qr_picture(CARD), Effort.QUICK)) == [CARD]
        assert decoder.restarts == 1
        assert decoder.process_id != first


def test_a_child_killed_while_it_starts_is_not_started_again_at_once() -> None:
    with Decoder() as decoder:
        first = decoder.process_id
        assert first is not None
        os.kill(first, signal.SIGKILL)
        answers = [decoder.decode(HONEST, Effort.QUICK) for _ in range(50)]
        assert answers == [DecoderStalled(reason=StallReason.NOT_STARTED)] * 50
        assert decoder.restarts == 1


def test_a_child_that_cannot_start_costs_one_process_a_second_and_not_a_core() -> None:
    with with_reader("there_is_none_of_this_name") as decoder:
        answers = [decoder.decode(HONEST, Effort.QUICK) for _ in range(50)]
        assert answers == [DecoderStalled(reason=StallReason.NOT_STARTED)] * 50
        assert decoder.restarts == 1


def test_the_child_has_nothing_it_does_not_need() -> None:
    with Decoder(reader="tests.support.readers:tells", wanted="DS1:", decode_limit_s=PATIENT_S) as decoder:
        told = dict.fromkeys(texts(decoder.decode(HONEST, Effort.FULL)))
    assert list(told) == [
        "effort full",
        "wanted DS1:",
        "may write False",
        "environment OPENBLAS_NUM_THREADS PYTHONPATH",
        "no new privileges 1",
        "core True",
        # three standard streams, the socket, and the sealed slot, which the mapping holds on to
        "descriptors /dev/null /dev/null /dev/null /memfd socket",
        "libraries True",
    ]


def test_the_slot_cannot_be_shortened_or_written_through_its_descriptor() -> None:
    slot = _Slot()
    try:
        with pytest.raises(PermissionError):
            os.ftruncate(slot.descriptor, 0)
        with pytest.raises(PermissionError):
            os.write(slot.descriptor, b"x")
    finally:
        slot.close()


PARENT = """
from edge.vision.decoder import Decoder, Effort
import numpy, signal
decoder = Decoder()
decoder.start()
decoder.decode(numpy.zeros((40, 40), numpy.uint8), Effort.QUICK)
print(decoder.process_id, flush=True)
signal.pause()
"""


def test_the_child_dies_with_its_parent() -> None:
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        watch = os.pidfd_open(child)
        try:
            parent.kill()
            poll = select.poll()
            poll.register(watch, select.POLLIN)
            assert poll.poll(10_000), "the child outlived its parent"
        finally:
            os.close(watch)


def test_closing_leaves_no_process_and_may_be_done_twice() -> None:
    decoder = Decoder()
    decoder.start()
    child = decoder.process_id
    assert child is not None
    decoder.close()
    decoder.close()
    assert decoder.process_id is None
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
