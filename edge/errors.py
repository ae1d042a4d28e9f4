"""What should not happen on the device, as one small tree. Refusals and faults of a credential are values, not these.

EdgeFault
├── CameraFault
│   ├── CameraUnavailable   the source could not be opened
│   ├── CameraLost          no frame came in time, or the source said it is gone
│   ├── EndOfStream         a finite source is over
│   └── UnknownAddress      no backend answers to this address
├── ChannelBroken           the peer on a Unix socket is gone or speaks nonsense
├── StorageFault
│   ├── StorageFull         the disk has no room for another commit
│   └── StorageDamaged      the database does not hold what it should
├── ModelUnusable           the weights of a network are missing, not the ones we know, or answer garbage
├── ProvisioningFailed      the cloud did not accept this device
└── SettingsWrong           a setting is missing or cannot be used
"""


class EdgeFault(Exception):
    """Anything below; a process's top logs it and ends."""


class CameraFault(EdgeFault):
    """Something about a camera."""


class CameraUnavailable(CameraFault):
    """The source could not be opened."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"{address}: {reason}")
        self.address = address
        self.reason = reason


class CameraLost(CameraFault):
    """No frame came in time, or the source said it is gone."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"{address}: {reason}")
        self.address = address
        self.reason = reason


class EndOfStream(CameraFault):
    """A finite source is over."""


class UnknownAddress(CameraFault):
    """No backend answers to this address."""

    def __init__(self, address: str, known: tuple[str, ...]) -> None:
        super().__init__(f"unknown camera address {address!r}; known are {', '.join(known)}")
        self.address = address
        self.known = known


class ChannelBroken(EdgeFault):
    """The peer on a Unix socket is gone or speaks nonsense."""


class StorageFault(EdgeFault):
    """Something about the device's database."""


class StorageFull(StorageFault):
    """The disk has no room for another commit; nothing was changed."""


class StorageDamaged(StorageFault):
    """The database does not hold what it should."""


class ModelUnusable(EdgeFault):
    """The weights of a network are missing, are not the ones we know, or answer garbage."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


class ProvisioningFailed(EdgeFault):
    """The cloud did not accept this device, or is not the one it should be."""


class SettingsWrong(EdgeFault):
    """A setting is missing or cannot be used."""
