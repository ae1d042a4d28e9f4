"""What `doorstep-edge status` prints for an agent that runs, one that does not, and one that is silent or odd."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from edge.channel.messages import HeardDone, PartnerTold, StatusAsked, StatusTold
from edge.cli import status
from edge.core.certificate import RenewalState

TOLD = StatusTold(
    device="kiosk1",
    store="rome-1",
    epoch=3,
    online=False,
    clock_trust="held",
    business_day="2026-11-20",
    policy_version=7,
    claims_today=12,
    claims_total=340,
    visits_waiting=2,
    outbox_waiting=5,
    oldest_waiting_s=61,
    rejected=1,
    allotment_left=880,
    roster=41,
    camera_live=True,
    decoder_restarts=4,
    screen="idle",
    faces="on",
    templates=12,
    group="00112233aabbccdd",
    no_match_today=3,
    partners=(PartnerTold(store="porto", group="ffeeddccbbaa9988"),),
    shares_waiting=2,
    hub="kiosk2",
    coupons_today=4,
)


ENDS = "2027-02-18T11:00:00+00:00"


def certified(state: RenewalState, reason: str | None = None, *, ends: str | None = ENDS) -> StatusTold:
    return msgspec.structs.replace(TOLD, certificate_ends=ends, renewal=state, renewal_reason=reason)


def run(path: Path, *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of `status` with these words; the folder given is where the agent listens."""
    app = typer.Typer()
    app.command("status")(status.command(lambda home: home or path))
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.stdout, result.stderr


@contextmanager
def agent(path: Path, answer: bytes) -> Iterator[list[bytes]]:
    """An agent that answers one question with these bytes; what it was asked is in the list afterwards."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                length = int.from_bytes(connection.recv(4), "big")
                asked.append(connection.recv(length))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join()


def said(message: msgspec.Struct) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4, "big") + body


def test_as_json_it_has_the_names_others_rely_on(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with agent(path, said(TOLD)) as asked:
        code, out, err = run(path, "--json")
    assert asked == [msgspec.msgpack.encode(StatusAsked())]
    assert (code, err) == (0, "")
    fields = json.loads(msgspec.json.encode(TOLD))
    assert json.loads(out) == {"running": True} | {field: fields[field] for field in TOLD.__struct_fields__}


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (TOLD, "line    down, 5 waiting, oldest 61 s"),
        (msgspec.structs.replace(TOLD, online=True, oldest_waiting_s=None), "line    up, 5 waiting"),
        (TOLD, "device  kiosk1 (epoch 3, store rome-1)"),
        (msgspec.structs.replace(TOLD, store=None), "device  kiosk1 (epoch 3, store unknown)"),
        (TOLD, "clock   held, business day 2026-11-20"),
        (msgspec.structs.replace(TOLD, business_day=None), "clock   held, business day unknown"),
        (TOLD, "claims  12 today, 340 kept, 1 rejected"),
        (msgspec.structs.replace(TOLD, camera_live=False), "camera  lost, 4 decoder restarts"),
        (TOLD, "faces   on, 12 templates, 3 strangers today"),
        (TOLD, "group   00112233aabbccdd"),
        (msgspec.structs.replace(TOLD, faces="no models", group=None), "group   none"),
        (TOLD, "TLS     unknown: link has not said"),
        (certified(RenewalState.CURRENT), f"TLS     certificate until {ENDS}"),
        (certified(RenewalState.DUE), f"TLS     certificate until {ENDS}, renewal due"),
        (
            certified(RenewalState.RENEWED),
            f"TLS     certificate until {ENDS}, renewed, not connected yet",
        ),
        (
            certified(RenewalState.FAILED, "the cloud does not answer"),
            f"TLS     certificate until {ENDS}, renewal failed: the cloud does not answer",
        ),
        (
            certified(RenewalState.FAILED, "the certificate cannot be read", ends=None),
            "TLS     certificate cannot be read, renewal failed: the certificate cannot be read",
        ),
    ],
)
def test_for_people_it_is_a_table(tmp_path: Path, told: StatusTold, line: str) -> None:
    path = tmp_path / "agent.sock"
    with agent(path, said(told)):
        code, out, _ = run(path)
    assert code == 0
    assert line in out.splitlines()


def test_an_agent_that_does_not_run_is_said_to_and_is_exit_code_one(tmp_path: Path) -> None:
    nowhere = tmp_path / "agent.sock"
    assert run(nowhere, "--json")[:2] == (1, '{"running":false}\n')
    code, out, err = run(nowhere)
    assert (code, out, err) == (1, "", "the agent is not running\n")


@pytest.mark.parametrize("answer", [b"", b"\0\0\0\1\xc1", said(HeardDone(number=1)), said(TOLD)[:-1]])
def test_an_agent_that_says_something_else_is_none(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "agent.sock"
    with agent(path, answer):
        assert run(path, "--json")[0] == 1
