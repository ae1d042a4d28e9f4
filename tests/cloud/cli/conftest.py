"""The registry's fixtures, for commands that work on devices."""

from tests.cloud.devices.conftest import keyring, registry

__all__ = ["keyring", "registry"]
