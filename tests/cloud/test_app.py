"""The whole API as it is served: its description, its pages, its limits; and the real process over HTTPS."""

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from cloud import VERSION
from cloud.app import Surroundings, create_app
from cloud.kit.auth import Scope
from cloud.kit.database import open_engine
from cloud.kit.docs import as_3_0
from cloud.kit.keyring import Keyring, create_keyring
from cloud.kit.metrics import create_metrics
from cloud.kit.services import Services
from shared.brokers import BrokerAddress, BrokerPlace
from tests.cloud.devices.conftest import counting_random
from tests.cloud.service import NOW, Client, bearer, standing_clock
from tests.support.mosquitto import free_port

ROOT = Path(__file__).parents[2]
HUNDRED_MEGABYTES = 100 * 1024 * 1024
START_S = 60
BROKER = BrokerPlace(first=BrokerAddress(host="localhost", port=8883))


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """The cloud's keys."""
    return create_keyring(tmp_path_factory.mktemp("cloud") / "keys", ["localhost"], NOW)


@pytest.fixture
def client(engine: Engine, keyring: Keyring) -> Client:
    """A client of the whole service, without a broker."""
    services = Services(engine=engine, keyring=keyring, clock=standing_clock, random=counting_random())
    surroundings = Surroundings(broker=BROKER, on_devices_changed=lambda: None, is_broker_up=lambda: None)
    return Client(create_app(services, create_metrics(), surroundings))


def test_the_api_describes_itself_in_3_1(client: Client) -> None:
    document = client.get("/openapi.json").json()
    assert (document["openapi"][:3], document["info"]["version"]) == ("3.1", VERSION)
    for path in ("/v1/stores", "/v1/members", "/v1/campaigns", "/v1/devices", "/v1/provisioning/claims", "/healthz"):
        assert path in document["paths"]
    operations = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(operations) == len(set(operations))


def test_every_write_under_a_token_names_its_problems(client: Client) -> None:
    document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "security" in operation and method != "get":
                assert "422" in operation["responses"], (method, path)


def test_the_version_is_the_products() -> None:
    assert f'\nversion = "{VERSION}"\n' in (ROOT / "pyproject.toml").read_text()


# -- documentation -----------------------------------------------------------------------------------------------


class Loaded(HTMLParser):
    """What a page loads: every src and href."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if name in ("src", "href") and value is not None]


def test_the_documentation_loads_nothing_from_outside(client: Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert re.search(r"https?:|//[a-z]", page.text.replace("// ", "")) is None, "no other host is named"
    loaded = Loaded()
    loaded.feed(page.text)
    assert len(loaded.addresses) == 3
    for address in loaded.addresses:
        assert address.startswith("/docs/assets/")
        assert client.get(address).status_code == 200
    assert "'self'" in page.headers["content-security-policy"]
    assert "http" not in page.headers["content-security-policy"]


def test_what_the_page_reads_is_the_same_api_in_the_older_words(client: Client) -> None:
    new, old = client.get("/openapi.json").json(), client.get("/docs/openapi.json").json()
    assert old["openapi"] == "3.0.3"
    assert set(old["paths"]) == set(new["paths"])
    assert '"type": "null"' not in json.dumps(old)
    assert '"const"' not in json.dumps(old)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"nullable": True, "type": "string"}),
        (
            {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            {"nullable": True, "anyOf": [{"type": "string"}, {"type": "integer"}]},
        ),
        ({"const": "x"}, {"enum": ["x"]}),
        ({"items": [{"const": 1}], "title": "t"}, {"items": [{"enum": [1]}], "title": "t"}),
    ],
)
def test_the_older_words(said: Mapping[str, object], meant: Mapping[str, object]) -> None:
    assert as_3_0(dict(said)) == meant


# -- limits and health -------------------------------------------------------------------------------------------


def test_a_body_of_a_hundred_megabytes(client: Client, engine: Engine) -> None:
    """Refused by what it declares, and refused by what it sends when it declares nothing; little of it is read."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < HUNDRED_MEGABYTES:
            sent += 65536
            yield b"x" * 65536

    headers = bearer(engine, Scope.ADMIN)
    declared = client.post("/v1/tenants", content=b"x" * HUNDRED_MEGABYTES, headers=headers)
    streamed = client.post("/v1/tenants", content=endless(), headers=headers)
    for answer in (declared, streamed):
        assert answer.status_code == 413
        assert answer.json()["type"] == "urn:doorstep:problem:body-too-large"
    assert client.get("/healthz").status_code == 200


def test_health(client: Client, engine: Engine, keyring: Keyring) -> None:
    assert client.get("/healthz").json() == {"database": True, "broker": "none"}
    services = Services(engine=engine, keyring=keyring, clock=standing_clock, random=counting_random())
    ups = iter((True, False))
    surroundings = Surroundings(broker=BROKER, on_devices_changed=lambda: None, is_broker_up=lambda: next(ups))
    other = Client(create_app(services, create_metrics(), surroundings))
    assert [other.get("/healthz").json()["broker"] for _ in range(2)] == ["up", "down"]


def test_health_without_a_database(keyring: Keyring, tmp_path: Path) -> None:
    lost = open_engine(f"sqlite:///{tmp_path / 'gone' / 'none.db'}")
    services = Services(engine=lost, keyring=keyring, clock=standing_clock, random=counting_random())
    surroundings = Surroundings(broker=BROKER, on_devices_changed=lambda: None, is_broker_up=lambda: None)
    answer = Client(create_app(services, create_metrics(), surroundings)).get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {"database": False, "broker": "none"})


def test_measures_are_for_who_may_read_them(client: Client, engine: Engine) -> None:
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers=bearer(engine, Scope.ADMIN, number=1)).status_code == 403
    client.get("/healthz")
    text = client.get("/metrics", headers=bearer(engine, Scope.METRICS, number=2)).text
    assert 'doorstep_http_requests_total{method="GET",route="/healthz",status="200"} 1.0' in text


def test_what_is_not_there_is_a_problem(client: Client) -> None:
    answer = client.get("/v2/nothing")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


# -- the process -------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An installation of its own."""
    run(tmp_path / "home", "init", "--name", "cloud.test")
    return tmp_path / "home"


def environment(home: Path) -> dict[str, str]:
    """The variables of a process of that installation."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("DOORSTEP_")}
    return others | {"DOORSTEP_CLOUD_HOME": str(home), "PYTHONPATH": str(ROOT)}


def run(home: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A command of `doorstep-cloud` that ends by itself."""
    command = [sys.executable, "-m", "cloud", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(home), check=check)


@pytest.fixture
def served(home: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """The service as a process, and a client that trusts its authority alone."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "cloud", "serve", "--port", str(port)],
        env=environment(home),
        stderr=subprocess.PIPE,
        text=True,
    )
    trust = ssl.create_default_context(cafile=str(home / "keys" / "ca.pem"))
    with httpx.Client(base_url=f"https://localhost:{port}", verify=trust) as client:
        try:
            _wait_until_healthy(process, client)
            yield process, client
        finally:
            process.kill()
            process.communicate()


def _wait_until_healthy(process: subprocess.Popen[str], client: httpx.Client) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.get("/healthz").raise_for_status()
        except httpx.ConnectError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the service did not start")


@pytest.mark.slow
def test_the_service_over_https(home: Path, served: tuple[subprocess.Popen[str], httpx.Client]) -> None:
    process, client = served
    assert client.get("/healthz").json() == {"database": True, "broker": "none"}
    assert client.get("/v1/provisioning/ca").text == (home / "keys" / "ca.pem").read_text()
    assert client.get("/join").status_code == 200
    assert "server" not in client.get("/healthz").headers
    token = run(home, "admin", "token", "--name", "first").stdout.strip()
    headers = {"Authorization": f"Bearer {token}"}
    assert client.post("/v1/tenants", json={"id": "nord", "name": "Nord"}, headers=headers).status_code == 201
    assert run(home, "verify").stdout == "the ledger is sound\n"
    client.close()
    lines = _stop(process, signal.SIGTERM)
    assert token not in lines
    assert [line for line in lines.splitlines() if json.loads(line)["level"] != "info"] == []


def _stop(process: subprocess.Popen[str], number: int) -> str:
    """What the process logged, ended in order."""
    process.send_signal(number)
    _, lines = process.communicate(timeout=START_S)
    assert process.returncode == 0
    return lines


@pytest.mark.slow
def test_without_an_installation_there_is_one_clear_line(tmp_path: Path) -> None:
    done = run(tmp_path / "home", "serve", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "doorstep-cloud init" in done.stderr
