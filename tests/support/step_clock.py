"""A camera's clocks that move when told to, or when somebody sleeps on them."""

from edge.camera.options import NS, CameraClock


class StepClock:
    """Starts at 100 s of uptime and a fixed wall time; `options` is what a camera takes."""

    def __init__(self, wall_s: float = 1_800_000_000.0) -> None:
        self.now_ns = 100 * NS
        self._wall_offset_s = wall_s - 100
        self.slept_s: list[float] = []

    @property
    def for_camera(self) -> CameraClock:
        return CameraClock(wall_s=self.wall_s, monotonic_ns=self.monotonic_ns, sleep=self.sleep)

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_s(self) -> float:
        return self.now_ns / NS + self._wall_offset_s

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept_s.append(seconds)
        self.step(seconds)

    def step(self, seconds: float) -> None:
        self.now_ns += round(seconds * NS)
