"""Length-prefixed msgpack messages over asyncio streams, for the processes that speak to `agent`."""

import asyncio
from typing import Generic, TypeVar

import msgspec

from edge.channel.messages import MESSAGE_BYTES_MAX, FromAgent, ToAgent
from edge.errors import ChannelBroken
from shared.decoding import UNREADABLE

Incoming = TypeVar("Incoming")
CLOSE_S = 1.0  # a peer that reads empties its buffer within milliseconds


class Channel(Generic[Incoming]):
    """One end of a connection: `send` is immediate and buffered, `receive` waits.

    The buffer towards a reader that stopped reading is bounded; beyond it the connection is closed, because a
    message that waits for ever is worse than a peer that reconnects and is told the present state.
    """

    BUFFER_BYTES_MAX = 4 * MESSAGE_BYTES_MAX

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, decoder: msgspec.msgpack.Decoder[Incoming]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = decoder
        self._encoder = msgspec.msgpack.Encoder()

    def send(self, message: msgspec.Struct) -> None:
        """Queues the message for the peer; silently nothing when the connection is closing."""
        if self._writer.is_closing():
            return
        body = self._encoder.encode(message)
        self._writer.write(len(body).to_bytes(4, "big") + body)
        if self._writer.transport.get_write_buffer_size() > self.BUFFER_BYTES_MAX:
            self._writer.transport.abort()

    async def flush(self) -> None:
        """Lets what was queued go out. Raises: ChannelBroken when the peer is gone."""
        if self._writer.is_closing() or self._reader.at_eof():
            raise ChannelBroken("peer is gone")
        try:
            await self._writer.drain()
        except ConnectionError as gone:
            raise ChannelBroken("peer is gone") from gone

    async def receive(self) -> Incoming:
        """The next message. Raises: ChannelBroken when the peer is gone or speaks nonsense."""
        try:
            length = int.from_bytes(await self._reader.readexactly(4), "big")
            if length > MESSAGE_BYTES_MAX:
                raise ChannelBroken(f"message of {length} bytes")
            return self._decoder.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError) as gone:
            raise ChannelBroken("peer is gone") from gone
        except UNREADABLE as nonsense:
            raise ChannelBroken("not one of our messages") from nonsense

    def abort(self) -> None:
        """Ends the connection at once; whoever waits in `receive` hears that the peer is gone."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Closes after what was queued is written, or at once when the peer does not read it in time."""
        self._writer.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._writer.wait_closed()
        except TimeoutError:
            self._writer.transport.abort()
        except ConnectionError:
            return


def agent_side(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Channel[ToAgent]:
    """The agent's end of a connection."""
    decoder: msgspec.msgpack.Decoder[ToAgent] = msgspec.msgpack.Decoder(ToAgent)
    return Channel(reader, writer, decoder)


async def connect_to_agent(path: str, hello: msgspec.Struct) -> Channel[FromAgent]:
    """A connection to the agent's socket, the hello already sent. Raises: ChannelBroken when nobody listens."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError as absent:
        raise ChannelBroken("the agent does not answer") from absent
    decoder: msgspec.msgpack.Decoder[FromAgent] = msgspec.msgpack.Decoder(FromAgent)
    channel: Channel[FromAgent] = Channel(reader, writer, decoder)
    channel.send(hello)
    return channel
