"""Tells the service manager that a process is ready and alive: datagrams to the address it gave (sd_notify(3))."""

import socket


class ServiceManager:
    """The service manager behind a notify address; without an address every call does nothing."""

    def __init__(self, address: str | None) -> None:
        self._address = "\0" + address[1:] if address is not None and address.startswith("@") else address

    def ready(self) -> None:
        """The process serves from now on."""
        self._tell(b"READY=1")

    def alive(self) -> None:
        """The main loop came round and found its parts well."""
        self._tell(b"WATCHDOG=1")

    def _tell(self, text: bytes) -> None:
        if self._address is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
            try:
                line.sendto(text, self._address)
            except OSError:
                return  # a manager that went away cannot be told so
