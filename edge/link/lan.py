"""The store's own network: one question and one answer a connection, between the `link` processes of its kiosks.

Both ends prove who they are with the certificates that the device CA gave them for the broker, over TLS 1.3. That CA
certifies kiosks as clients only, and a kiosk whose clock was never set must be able to ask for the time; so whose
certificate it is, is judged here (`certified_device`) after the handshake, which proves that its key is there, and
before a byte is read or said: signed by the CA, a client's, of a kiosk that the agent named. Its dates are not looked
at. Who was revoked is not among the kiosks that the agent names.

A stranger in the shop's network costs a handshake: connections, their time and the size of what they may say are
bounded, and nothing is kept open.
"""

import asyncio
import itertools
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.channel.messages import PeerAnswered, PeerAsked, PeersAsked, PeersHeard, PeersTold, PeerWord
from edge.core.lan import LAN_BYTES_MAX, LanAnswer, LanQuestion, RightTold, decode_answer, decode_question
from edge.link.credentials import Pair
from shared.ids import DeviceId, parse_device

CONNECTIONS_MAX = 16  # at once; a store has few doors, and each asks for one member at a time
ASKS_MAX = 64  # at once: one member, and every other kiosk of the largest store asked whether it is there
LISTEN_AGAIN_S = 30.0
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which Python does not name

log = logging.getLogger(__name__)

Tell = Callable[[PeerAsked | PeersHeard], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LanOptions:
    """What proves who we are, and where we listen; without `port` we ask and are not asked.

    `answer_s` is the longest that a member waits for one kiosk (a handshake takes some 20 ms on a Pi), `serve_s` what a
    connection may take from beginning to end.
    """

    ca: Path
    certificate: Path
    key: Path
    host: str = "0.0.0.0"  # noqa: S104 - the store's network; everybody else fails the handshake
    port: int | None = None
    answer_s: float = 0.8
    serve_s: float = 2.0


class Refused(Exception):
    """The other end is not whom it must be, or says what nobody says."""


class LanStation:
    """This kiosk among those of its store. `tell` reaches the agent, which decides everything.

    `pair` gives the certificate and key of the moment, where they are renewed; without it the options' serve.
    """

    def __init__(
        self, options: LanOptions, device: DeviceId, tell: Tell, pair: Callable[[], Pair] | None = None
    ) -> None:
        self._options = options
        self._pair = pair or (lambda: Pair(certificate=options.certificate, key=options.key))
        self._device = device
        self._tell = tell
        self._addresses: dict[DeviceId, str | None] = {}
        self._numbers = itertools.count(1)
        self._awaited: dict[int, asyncio.Future[LanAnswer | None]] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[None]] = set()

    def know(self, told: PeersTold) -> None:
        """These kiosks and no others may speak with this one."""
        named = ((parse_device(peer.device), peer.address) for peer in told.peers)
        self._addresses = {device: address for device, address in named if device is not None}

    # --- asking ---------------------------------------------------------------------------------------------------

    def ask(self, asked: PeersAsked) -> None:
        """Asks, and tells the agent what was answered; it hears nothing when too much is asked already."""
        if len(self._asking) >= ASKS_MAX:
            log.warning("too many questions to kiosks at once")
            return
        task = asyncio.create_task(self._ask(asked))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, asked: PeersAsked) -> None:
        words: list[PeerWord] = []
        for name in asked.peers:
            answer = await self._ask_one(DeviceId(name), asked.question)
            if answer is None:
                break
            words.append(PeerWord(device=name, answer=answer))
            if isinstance(answer, RightTold) and answer.holder != self._device:
                break
        self._tell(PeersHeard(number=asked.number, words=tuple(words)))

    async def _ask_one(self, device: DeviceId, question: LanQuestion) -> LanAnswer | None:
        """What the kiosk answers, None when it does not in time."""
        address = self._addresses.get(device)
        if address is None:
            return None
        host, _, port = address.rpartition(":")
        try:
            async with asyncio.timeout(self._options.answer_s):
                context = _open_context(self._options, self._pair(), ssl.PROTOCOL_TLS_CLIENT)
                reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
                try:
                    if _who(writer, self._options.ca) != device:
                        raise Refused(f"{address} is not {device}")
                    _send(writer, question)
                    return decode_answer(await _receive(reader))
                finally:
                    writer.transport.abort()
        except (OSError, EOFError, ValueError, Refused) as failure:  # TimeoutError is an OSError
            log.debug("a kiosk did not answer", extra={"peer": device, "reason": str(failure)})
            return None

    # --- being asked ----------------------------------------------------------------------------------------------

    def answer(self, answered: PeerAnswered) -> None:
        """The agent's answer to what came under that number."""
        waiting = self._awaited.get(answered.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answered.answer)

    async def serve(self, listener: socket.socket | None = None) -> NoReturn:
        """Never returns; cancelled, it closes every connection. `listener` is a listening socket made elsewhere."""
        try:
            while True:
                if self._options.port is None and listener is None:
                    await asyncio.Event().wait()
                try:
                    with listener or _listen(self._options) as door:
                        await self._accept_all(door)
                except OSError as failure:
                    log.error("cannot listen in the store's network", extra={"reason": failure.strerror})
                await asyncio.sleep(LISTEN_AGAIN_S)
        finally:
            for task in (*self._asking, *self._serving):
                task.cancel()

    async def _accept_all(self, door: socket.socket) -> NoReturn:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(door)
            if len(self._serving) >= CONNECTIONS_MAX:
                connection.close()
                continue
            task = asyncio.create_task(self._serve_one(connection))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve_one(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(self._options.serve_s):
                await self._converse(connection)
        except (OSError, EOFError, ValueError, Refused) as failure:
            log.debug("a connection in the store's network failed", extra={"reason": str(failure)})

    async def _converse(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=LAN_BYTES_MAX)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            context = _open_context(self._options, self._pair(), ssl.PROTOCOL_TLS_SERVER)
        except OSError:
            connection.close()
            raise
        # The handshake ends before the connection's time does: asyncio cleans up after its own limit alone.
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, connection, ssl=context, ssl_handshake_timeout=self._options.serve_s / 2
        )
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            device = _who(writer, self._options.ca)
            if device is None or device not in self._addresses:
                raise Refused("not a kiosk of this store")
            question = decode_question(await _receive(reader))
            if question is None:
                raise Refused("not a question")
            answer = await self._answer_of_agent(device, question)
            if answer is not None:
                _send(writer, answer)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        finally:
            transport.abort()

    async def _answer_of_agent(self, device: DeviceId, question: LanQuestion) -> LanAnswer | None:
        number = next(self._numbers)
        waiting: asyncio.Future[LanAnswer | None] = asyncio.get_running_loop().create_future()
        self._awaited[number] = waiting
        try:
            self._tell(PeerAsked(number=number, device=device, question=question))
            return await waiting
        finally:
            del self._awaited[number]


def certified_device(der: bytes, ca: x509.Certificate) -> DeviceId | None:
    """The device that the certificate names when the CA signed it for a client, else None."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        certificate.verify_directly_issued_by(ca)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return None
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage or is_authority or len(names) != 1:
        return None
    return parse_device(str(names[0].value))


def _who(writer: asyncio.StreamWriter, ca: Path) -> DeviceId | None:
    """Whose key is at the other end."""
    secured = writer.get_extra_info("ssl_object")
    assert isinstance(secured, ssl.SSLObject)
    der = secured.getpeercert(binary_form=True)
    return None if der is None else certified_device(der, x509.load_pem_x509_certificate(ca.read_bytes()))


def _open_context(options: LanOptions, pair: Pair, role: int) -> ssl.SSLContext:
    """TLS 1.3 with our certificate. A server has OpenSSL check the client's as well, but for its dates.

    Made for each connection, so that a renewed certificate counts at once: 0.4 ms.
    """
    context = ssl.SSLContext(role)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(pair.certificate, pair.key)
    if role == ssl.PROTOCOL_TLS_SERVER:
        context.load_verify_locations(options.ca)
        context.verify_flags |= NO_CHECK_TIME
        context.verify_mode = ssl.CERT_REQUIRED
        context.num_tickets = 0  # one question a connection: nobody resumes
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # OpenSSL wants a server's certificate; `_who` judges instead
    return context


def _listen(options: LanOptions) -> socket.socket:
    assert options.port is not None
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    door = socket.create_server((options.host, options.port), family=family, backlog=CONNECTIONS_MAX)
    door.setblocking(False)
    return door


def _send(writer: asyncio.StreamWriter, message: LanQuestion | LanAnswer) -> None:
    body = msgspec.msgpack.encode(message)
    assert len(body) <= LAN_BYTES_MAX
    writer.write(len(body).to_bytes(2, "big") + body)


async def _receive(reader: asyncio.StreamReader) -> bytes:
    """One message. Raises: EOFError, OSError, Refused when it is too long."""
    length = int.from_bytes(await reader.readexactly(2), "big")
    if length > LAN_BYTES_MAX:
        raise Refused(f"a message of {length} bytes")
    return await reader.readexactly(length)
