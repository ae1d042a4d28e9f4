"""On a Raspberry Pi capture runs under the system Python: numpy, the standard library and picamera2."""

import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[3]

PROGRAM = textwrap.dedent("""
    import sys

    class SystemPython:
        \"\"\"Finds nothing that a distribution's Python would not have.\"\"\"

        def find_spec(self, name, path=None, target=None):
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names or top in ("numpy", "edge", "shared") or top.startswith("_sysconfigdata"):
                return None
            raise ImportError(f"{name} is not on the system Python")

    sys.meta_path.insert(0, SystemPython())
    import edge.camera.capture
    import edge.channel.frames
    from edge.camera.address import open_camera
    from edge.camera.options import CameraClock, CameraOptions
    from edge.errors import CameraUnavailable

    camera = open_camera("picamera2:", CameraOptions(), CameraClock(wall_s=lambda: 0.0))
    try:
        camera.open()
    except CameraUnavailable as fault:
        print(fault.reason)
    """)


def test_capture_needs_nothing_of_our_environment() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, timeout=60, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "python3-picamera2" in done.stdout
