"""`doorstep-cloud demo`: a whole shop on this machine, from nothing to members at two doors. What `make run` calls.

`demo cut` and `demo join`, from another terminal, take the broker away and bring it back: the kiosks go on granting,
and everything settles once each.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import signal
import subprocess
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated

import typer

from cloud.cli.faces import Portraits, knowing, learning, read_request
from cloud.cli.shop import (
    Broker,
    Catalogue,
    Children,
    CloudService,
    Ports,
    ShopFailed,
    fill_catalogue,
    need_free_ports,
    provision_kiosk,
)

if TYPE_CHECKING:
    import httpx

    from cloud.cli.people import Act, FacePerson, People, Person

KIOSKS = 2
KNOWN_MAX = 40
LOOK_EVERY_S = 0.5
SAY_EVERY_S = 4.0  # asking a kiosk starts a command, and a demonstration should leave the cores to the shop
NEW_SCENE_EVERY_S = 20.0  # two people each: what an address may let join for ever
SCENE_WITH_FACES_S = 75.0
NEW_PEOPLE = 2
FIRST_PEOPLE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoTools:
    """What the demonstration needs of the world: its folder, the environment of its children, randomness."""

    home: Path
    environment: Callable[[Path], Mapping[str, str]]
    random: Callable[[int], bytes]


def demo_commands(tools: DemoTools) -> typer.Typer:
    """The command group."""
    group = typer.Typer(help="A whole shop on this machine.", invoke_without_command=True)

    @group.callback()
    def demo(
        context: typer.Context,
        host: Annotated[
            str, typer.Option(help="Where cloud and broker listen; a phone needs the LAN address.")
        ] = "127.0.0.1",
        port: Annotated[int, typer.Option(help="The cloud's HTTPS port.")] = 8443,
        broker_port: Annotated[int, typer.Option(help="The broker's port.")] = 8883,
        screen_port: Annotated[int, typer.Option(help="The first kiosk's screen; the second has the next.")] = 8401,
        camera: Annotated[
            str | None,
            typer.Option(help="A camera address for the first kiosk: v4l2:0, file:/a/video.mp4, dir:/a/folder …"),
        ] = None,
        portraits: Annotated[
            Path | None,
            typer.Option(help="A folder of portraits, one sub-folder a person: some of them are recognised by face."),
        ] = None,
        keep: Annotated[bool, typer.Option(help="Go on with the members and balances of the last time.")] = True,
    ) -> None:
        """Start broker, cloud and two kiosks of one store, and keep them running until Ctrl-C."""
        if context.invoked_subcommand is not None:
            return
        screens = tuple(screen_port + number for number in range(KIOSKS))
        ports = Ports(host=host, cloud=port, broker=broker_port, screens=screens)
        with _alone(tools.home):
            if not keep:
                _forget(tools.home)
            _Demo(tools, ports, camera, portraits).run()

    @group.command()
    def cut() -> None:
        """Take the broker away from the running demonstration."""
        _request(tools.home, "cut")
        typer.echo("the line is being cut: watch both screens")

    @group.command()
    def join() -> None:
        """Bring the broker back."""
        _request(tools.home, "join")
        typer.echo("the line is being joined: within a minute the kiosks find it and everything settles")

    return group


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """The folder is ours for as long as the context lasts. Raises: ShopFailed when somebody else has it."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        if not _may_lock(lock.fileno()):
            raise ShopFailed(f"a demonstration is running in {home} already")
        yield


def _may_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _forget(home: Path) -> None:
    """Nothing of the last time is left but the lock."""
    for entry in home.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()


def _request(home: Path, word: str) -> None:
    """The running demonstration will do it within a second. Raises: ShopFailed when none is running."""
    if not _is_running(home):
        raise ShopFailed("no demonstration is running")
    (home / "line").write_text(word)


def _is_running(home: Path) -> bool:
    if not (home / "lock").exists():
        return False
    with (home / "lock").open() as lock:
        return not _may_lock(lock.fileno())


@dataclass(slots=True)
class GroupState:
    """How far the two kiosks are with knowing the same faces.

    `maker` has the group's secret first, and held `before` templates when it was found.
    """

    maker: int | None = None
    before: int = 0
    has_learnt: bool = False
    has_admitted: bool = False

    @property
    def is_done(self) -> bool:
        """Both kiosks know everybody."""
        return self.has_learnt and self.has_admitted


class _Demo:
    """One run of the demonstration."""

    def __init__(self, tools: DemoTools, ports: Ports, camera: str | None, portraits: Path | None) -> None:
        self._tools = tools
        self._ports = ports
        self._home = tools.home
        self._children = Children(logs=tools.home, environment=tools.environment(tools.home / "cloud"))
        self._cloud = CloudService(self._children, tools.home / "cloud", ports)
        # A rendered face is a picture: asking it to prove that it is none would only turn everybody away.
        self._catalogue = Catalogue() if portraits is None else Catalogue(liveness="none")
        self._portraits = None if portraits is None else Portraits(folder=portraits.absolute())
        self._faces: tuple[FacePerson, ...] = ()
        self._group = GroupState()
        self._camera = camera or _attached_camera()
        self._stop = threading.Event()
        self._random = Random()  # noqa: S311 - who comes to the door, not a secret
        self._known: list[Person] = []

    def run(self) -> None:
        """Returns after Ctrl-C, when nothing of it runs any more. Raises: ShopFailed."""
        import httpx

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self._stop.set())
        need_free_ports(self._ports.host, (self._ports.cloud, self._ports.broker))
        need_free_ports("127.0.0.1", self._ports.screens)
        (self._home / "line").unlink(missing_ok=True)
        try:
            self._play()
        except httpx.HTTPError as refused:
            raise ShopFailed(f"the cloud did not do what it was asked: {refused}") from refused
        finally:
            self._children.stop_all()
            typer.echo("stopped")

    def _play(self) -> None:
        began_s = time.monotonic()
        self._cloud.start()
        with self._cloud.open_api(as_admin=True) as api, self._cloud.open_api(as_admin=False) as public:
            fill_catalogue(api, self._catalogue)
            people = self._people(public)
            if self._portraits is not None:
                chosen = self._portraits.choose(self._random)
                self._faces = tuple(people.next_with_face(first, second) for first, second in chosen)
            for kiosk in range(KIOSKS):
                self._start_kiosk(kiosk, api, people)
            self._print_addresses(time.monotonic() - began_s)
            self._watch(api, people)

    def _people(self, public: httpx.Client) -> People:
        from cloud.cli.people import People

        return People(public, self._catalogue.store, self._catalogue.programme, self._tools.random)

    # --- the kiosks -------------------------------------------------------------------------------------------------

    def _home_of(self, kiosk: int) -> Path:
        return self._home / f"kiosk-{kiosk + 1}"

    def _start_kiosk(self, kiosk: int, api: httpx.Client, people: People) -> None:
        home = self._home_of(kiosk)
        if (home / "identity.toml").exists():
            self._check_address(home)
        else:
            provision_kiosk(self._children, api, home=home, cloud=self._cloud.address, store=self._catalogue.store)
        self._write_scene(kiosk, people, FIRST_PEOPLE)
        self._write_settings(kiosk)
        self._children.start(f"kiosk-{kiosk + 1}", ["doorstep-edge", "run", "all", "--home", str(home)])

    def _check_address(self, home: Path) -> None:
        """Raises: ShopFailed when the kiosk of the last time would look for its broker somewhere else."""
        identity = tomllib.loads((home / "identity.toml").read_text())
        if (identity["broker_host"], identity["broker_port"]) != (self._ports.host, self._ports.broker):
            raise ShopFailed(
                f"the kiosks of the last time know the broker as {identity['broker_host']} port"
                f" {identity['broker_port']}: use that again, or begin anew with --no-keep"
            )

    def _write_settings(self, kiosk: int) -> None:
        home = self._home_of(kiosk)
        camera = self._camera if self._camera is not None and kiosk == 0 else f"synthetic:{home / 'scene.json'}"
        lines = (
            f"camera = {json.dumps(camera)}",
            f"screen_port = {self._ports.screens[kiosk]}",
            f"privacy_address = {json.dumps(self._join_address)}",
        )
        (home / "settings.toml").write_text("\n".join(lines) + "\n")

    def _write_scene(self, kiosk: int, people: People, fresh: int) -> None:
        from cloud.cli.people import Play, write_scene

        joined = [people.next() for _ in range(fresh)]
        folder = None if self._portraits is None else self._portraits.folder
        play = Play(fresh=joined, known=self._known, faces=self._faces_at(kiosk), portraits=folder)
        write_scene(self._home_of(kiosk) / "scene.json", play, self._random)
        self._known = [*self._known, *joined][-KNOWN_MAX:]

    def _faces_at(self, kiosk: int) -> list[Act]:
        """At the door whose kiosk made the group faces are learnt, then known; at the other once it is of the group."""
        if self._portraits is None or self._group.maker is None:
            return []
        if kiosk == self._group.maker and not self._group.has_learnt:
            return learning(self._faces)
        is_of_it = kiosk == self._group.maker or self._group.has_admitted
        return knowing(self._faces) if is_of_it else []

    def _tend_group(self, people: People) -> None:
        """What staff would do: once one kiosk has learnt the faces, the other's request is held to its camera."""
        state, told = self._group, [self._status(kiosk) for kiosk in range(KIOSKS)]
        if state.maker is None:
            self._find_maker(told, people)
        elif not state.has_learnt:
            state.has_learnt = told[state.maker].get("templates") == state.before + len(self._faces)
            if state.has_learnt and not state.has_admitted:
                self._let_in(state.maker)
        elif not state.has_admitted:
            state.has_admitted = all(one.get("group") is not None for one in told)
        if state.is_done:
            typer.echo(f"{time.strftime('%H:%M:%S')}  both kiosks know the same faces now")
            for kiosk in range(KIOSKS):
                self._renew_scene(kiosk, people)

    def _find_maker(self, told: list[Mapping[str, object]], people: People) -> None:
        """Whose door faces are learnt at: the kiosk that holds the group's secret; after the last time both do."""
        state, holders = self._group, [n for n, one in enumerate(told) if one.get("group") is not None]
        if not holders:
            return
        state.maker, state.has_admitted = holders[0], len(holders) == KIOSKS
        state.before = int(str(told[state.maker]["templates"]))
        self._renew_scene(state.maker, people)

    def _let_in(self, maker: int) -> None:
        from cloud.cli.people import hold_up

        ours, theirs = self._home_of(maker), self._home_of(1 - maker)
        self._children.ask(["doorstep-edge", "group", "join", "--home", str(theirs)])
        request = read_request(self._ports.screens[1 - maker])
        self._children.ask(["doorstep-edge", "group", "admit", "--home", str(ours)])
        hold_up(ours / "scene.json", request)
        typer.echo(f"{time.strftime('%H:%M:%S')}  one kiosk's request to join is held to the other's camera")

    def _renew_scene(self, kiosk: int, people: People) -> None:
        """New people come to the door; while the cloud takes none, those of before go on coming."""
        import httpx

        with contextlib.suppress(httpx.HTTPError):
            self._write_scene(kiosk, people, NEW_PEOPLE)

    @property
    def _join_address(self) -> str:
        return f"{self._cloud.address}/join?programme={self._catalogue.programme}&store={self._catalogue.store}"

    def _print_addresses(self, seconds: float) -> None:
        screens = [f"  kiosk {n + 1} screen   http://127.0.0.1:{port}/" for n, port in enumerate(self._ports.screens)]
        camera = "a rendered door" if self._camera is None else self._camera
        lines = (
            f"Doorstep is running after {seconds:.1f} s. Members come to the doors by themselves (camera: {camera}).",
            "",
            *screens,
            f"  member page      {self._join_address}",
            f"  API docs         {self._cloud.address}/docs",
            f"  cloud's CA       {self._cloud.authority}   (a browser warns until it trusts it)",
            f"  admin token      {self._cloud.token_file}",
            f"  logs             {self._home}/*.log",
            "",
            "  cut the line     make cut     then watch both kiosks keep granting",
            "  join it again    make join    then watch everything settle, once each",
            "",
            "Ctrl-C stops everything.",
            "",
        )
        typer.echo("\n".join(lines))

    # --- while it runs ----------------------------------------------------------------------------------------------

    def _watch(self, api: httpx.Client, people: People) -> None:
        said, say_due_s, scene_due_s, turn = "", 0.0, time.monotonic() + self._scene_s, 0
        while not self._stop.wait(LOOK_EVERY_S):
            self._obey(self._cloud.broker)
            ended = self._children.ended()
            if ended is not None:
                raise ShopFailed(f"{ended} ended; {self._home / ended}.log says why")
            if time.monotonic() >= scene_due_s:
                self._renew_scene(turn % KIOSKS, people)
                turn, scene_due_s = turn + 1, time.monotonic() + self._scene_s
            if time.monotonic() < say_due_s:
                continue
            if self._portraits is not None and not self._group.is_done:
                self._tend_group(people)
            line, say_due_s = self._line(api), time.monotonic() + SAY_EVERY_S
            if line != said:
                typer.echo(f"{time.strftime('%H:%M:%S')}  {line}")
                said = line

    def _obey(self, broker: Broker) -> None:
        request = self._home / "line"
        if not request.exists():
            return
        word = request.read_text().strip()
        request.unlink()
        if word == "cut" and broker.is_up:
            broker.cut()
        elif word == "join" and not broker.is_up:
            broker.join()

    def _line(self, api: httpx.Client) -> str:
        kiosks = [self._kiosk_line(kiosk) for kiosk in range(KIOSKS)]
        line = "line up  " if self._cloud.broker.is_up else "line DOWN"
        return f"{line} | {' | '.join(kiosks)} | ledger: {self._ledger_line(api)}"

    @property
    def _scene_s(self) -> float:
        """How long a scene plays before another takes its place; faces take their time."""
        return NEW_SCENE_EVERY_S if self._portraits is None else SCENE_WITH_FACES_S

    def _kiosk_line(self, kiosk: int) -> str:
        told = self._status(kiosk)
        if not told:
            return f"kiosk {kiosk + 1}: starting"
        faces = f", {told['templates']} faces" if self._portraits is not None else ""
        return f"kiosk {kiosk + 1}: {told['claims_total']} claims, {told['outbox_waiting']} waiting{faces}"

    def _status(self, kiosk: int) -> Mapping[str, object]:
        """What a kiosk says of itself; nothing while it starts."""
        command = ["doorstep-edge", "status", "--json", "--home", str(self._home_of(kiosk))]
        asked = subprocess.run(command, capture_output=True, env=dict(self._children.environment), check=False)
        told: dict[str, object] = json.loads(asked.stdout) if asked.returncode == 0 else {}
        return told

    def _ledger_line(self, api: httpx.Client) -> str:
        import httpx

        address = f"/v1/campaigns/{self._catalogue.campaign}"
        try:
            asked = api.get(address, params={"tenant": self._catalogue.tenant}).raise_for_status()
        except httpx.HTTPError:
            return "no answer"
        return f"{asked.json()['granted']} points with members"


def _attached_camera() -> str | None:
    """The first camera Linux knows of, or None."""
    return "v4l2:0" if Path("/dev/video0").exists() else None
