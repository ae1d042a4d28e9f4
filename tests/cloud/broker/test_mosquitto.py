"""The text of the broker's configuration and access list, and how they are written."""

from pathlib import Path

import pytest

from cloud.broker.mosquitto import BrokerFiles, render_acl, render_configuration, write_atomically
from shared.ids import DeviceId

ACL = """\
user cloud
topic read doorstep/v1/+/up/+
topic write doorstep/v1/+/down/+

user k1
topic write doorstep/v1/k1/up/+
topic read doorstep/v1/k1/down/+

user k2
topic write doorstep/v1/k2/up/+
topic read doorstep/v1/k2/down/+
"""


def make_files(*, revocations: Path | None = None, log: Path | None = None) -> BrokerFiles:
    home = Path("/srv/broker")
    return BrokerFiles(
        configuration=home / "mosquitto.conf",
        access_list=home / "acl",
        authority=home / "ca.pem",
        certificate=home / "server.pem",
        key=home / "server.key",
        storage=home / "storage",
        revocations=revocations,
        log=log,
    )


def render(files: BrokerFiles) -> list[str]:
    return render_configuration(files, host="10.0.0.1", port=8883, user="doorstep").splitlines()


def test_each_device_has_its_own_lines_whatever_the_order() -> None:
    assert render_acl([DeviceId("k2"), DeviceId("k1"), DeviceId("k2")]) == ACL


def test_more_workers_have_more_names() -> None:
    assert [line for line in render_acl([], workers=("cloud-2", "cloud-1")).splitlines() if "user" in line] == [
        "user cloud-1",
        "user cloud-2",
    ]


def test_a_device_with_a_workers_name_is_refused() -> None:
    with pytest.raises(ValueError, match="'cloud' names a worker"):
        render_acl([DeviceId("cloud")])


@pytest.mark.parametrize(
    "line",
    [
        "user doorstep",
        "listener 8883 10.0.0.1",
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "allow_anonymous false",
        "tls_version tlsv1.2",
        "acl_file /srv/broker/acl",
        "persistence_location /srv/broker/storage/",
        "max_queued_messages 1000000",
        "max_queued_bytes 67108864",
        "retain_available false",
    ],
)
def test_the_configuration_says(line: str) -> None:
    assert line in render(make_files())


def test_revocations_and_log_file_are_optional() -> None:
    without = render(make_files())
    assert "log_dest stderr" in without
    assert not [line for line in without if line.startswith("crlfile")]
    with_both = render(make_files(revocations=Path("/srv/crl.pem"), log=Path("/srv/log")))
    assert {"crlfile /srv/crl.pem", "log_dest file /srv/log"} <= set(with_both)


def test_a_file_is_replaced_whole_and_strangers_cannot_read_it(tmp_path: Path) -> None:
    path = tmp_path / "acl"
    write_atomically(path, "old\n")
    write_atomically(path, "new\n")
    assert path.read_text() == "new\n"
    assert path.stat().st_mode & 0o007 == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["acl"]


def test_a_write_that_fails_leaves_the_old_text(tmp_path: Path) -> None:
    path = tmp_path / "acl"
    write_atomically(path, "old\n")
    (tmp_path / ".acl.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(path, "new\n")
    assert path.read_text() == "old\n"
