"""
The ssh-connection service: many channels, none of which starves another.

:class:`FlowConnection` reads its messages strictly, opens channels at once or
when they are ready, and gives every channel that has something to send its
turn while the transport has room. Queues belong to the channels.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from twisted.conch.error import ConchError
from twisted.conch.ssh import connection as conch
from twisted.conch.ssh.connection import SSHConnection
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.ssh.channel import FlowChannel
from mezite.ssh.error import (
    OPEN_CONNECT_FAILED,
    OPEN_RESOURCE_SHORTAGE,
    OPEN_UNKNOWN_TYPE,
    ChannelRefused,
    MalformedMessage,
    SshProtocolError,
)
from mezite.ssh.fields import FieldReader, printable, string, uint32

# A session each, or a forwarded port each: a browser over one -L opens dozens.
CHANNELS: Final = 256
# One turn of a channel: a keystroke waits behind two packets of each other channel at most.
TURN: Final = 64 * 1024
# Below this a peer would make us spend more on packets than on data.
_LEAST_PACKET: Final = 256
_ALIVE: Final = frozenset({b"keepalive@openssh.com"})


class FlowConnection(SSHConnection):
    """
    Channels over one :class:`~mezite.ssh.transport.PacketTransport`.

    A server overrides :meth:`make_channel`; a client calls :meth:`openChannel`.
    """

    _log = Logger()
    transport: Any
    channel_limit = CHANNELS

    def __init__(self) -> None:
        super().__init__()
        self._ready: deque[FlowChannel] = deque()
        self._opening: dict[int, Deferred[Any]] = {}
        self._is_sending = False

    def make_channel(self, kind: bytes) -> FlowChannel:
        """
        A channel of the kind that the peer wants.

        :raises ChannelRefused: if it may not have one.
        """
        raise ChannelRefused("there is no such channel here", OPEN_UNKNOWN_TYPE)

    def got_global_request(self, name: bytes, data: bytes) -> bytes | None:
        """What to answer to a global request; None refuses it."""
        return b"" if name in _ALIVE else None

    def serviceStarted(self) -> None:
        """There is nothing that an avatar must know."""

    def serviceStopped(self) -> None:
        given_up, self._opening = self._opening, {}
        for local, opening in given_up.items():
            del self.channels[local]
            opening.cancel()
        self._ready.clear()
        super().serviceStopped()

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        # Conch logs what it does not know, with the packet.
        if messageNum in self.protocolMessages:
            super().packetReceived(messageNum, packet)
        else:
            self.transport.sendUnimplemented()

    # Turns.

    def wants_to_send(self, channel: FlowChannel) -> None:
        """The channel may have something to send that the peer would take."""
        if channel.can_send and channel not in self._ready:
            self._ready.append(channel)
            self.transport_writable()

    def transport_writable(self) -> None:
        if self._is_sending:
            return
        self._is_sending = True
        try:
            with self.transport.batched():
                while self._ready and self.transport.takes_data:
                    channel = self._ready.popleft()
                    channel.send_some(TURN)
                    if channel.can_send and channel not in self._ready:
                        self._ready.append(channel)
        finally:
            self._is_sending = False

    def sendData(self, channel: Any, data: bytes | memoryview) -> None:
        remote = self.channelsToRemoteChannel[channel]
        head = uint32(remote) + uint32(len(data))
        self.transport.send_parts(conch.MSG_CHANNEL_DATA, head, data)

    def sendExtendedData(self, channel: Any, dataType: int, data: bytes | memoryview) -> None:
        remote = self.channelsToRemoteChannel[channel]
        head = uint32(remote) + uint32(dataType) + uint32(len(data))
        self.transport.send_parts(conch.MSG_CHANNEL_EXTENDED_DATA, head, data)

    def sendClose(self, channel: Any) -> None:
        if channel.localClosed or channel not in self.channelsToRemoteChannel:
            return
        remote = self.channelsToRemoteChannel[channel]
        self.transport.sendPacket(conch.MSG_CHANNEL_CLOSE, uint32(remote))
        channel.localClosed = True
        if channel.remoteClosed:
            self.channelClosed(channel)

    def channelClosed(self, channel: Any) -> None:
        if channel in self.channelsToRemoteChannel:
            channel.localClosed = channel.remoteClosed = True
            channel.stop_producer()
            super().channelClosed(channel)

    # Channels that the peer opens.

    def ssh_CHANNEL_OPEN(self, packet: bytes) -> None:
        reader = FieldReader(packet)
        kind, remote = reader.string(), reader.uint32()
        window, max_packet = reader.uint32(), reader.uint32()
        if max_packet < _LEAST_PACKET:
            raise SshProtocolError("a channel's packets may not be that small")
        try:
            if len(self.channels) >= self.channel_limit:
                raise ChannelRefused("too many channels are open", OPEN_RESOURCE_SHORTAGE)
            channel = self.make_channel(kind)
            channel.conn = self
            channel.remoteWindowLeft = window
            channel.remoteMaxPacket = max_packet
            opening = channel.open_requested(reader.rest())
        except ChannelRefused as error:
            self._refuse(remote, error)
            return
        local = self.localChannelID
        self.localChannelID += 1
        channel.id = local
        self.channels[local] = channel
        if opening is None:
            self._confirm(channel, remote)
        else:
            self._opening[local] = opening
            opening.addCallbacks(
                lambda _: self._opened(channel, remote),
                lambda failure: self._not_opened(channel, remote, failure),
            )

    def _opened(self, channel: FlowChannel, remote: int) -> None:
        # Gone from here: the connection ended meanwhile.
        if self._opening.pop(channel.id, None) is None and channel.id not in self.channels:
            channel.closed()
        else:
            self._confirm(channel, remote)

    def _not_opened(self, channel: FlowChannel, remote: int, failure: Failure) -> None:
        self._opening.pop(channel.id, None)
        if self.channels.pop(channel.id, None) is None:
            return
        error = failure.value
        if not isinstance(error, ChannelRefused):
            self._log.failure("a channel could not be opened", failure=failure)
            error = ChannelRefused("internal error", OPEN_CONNECT_FAILED)
        self._refuse(remote, error)

    def _refuse(self, remote: int, error: ChannelRefused) -> None:
        self.transport.sendPacket(
            conch.MSG_CHANNEL_OPEN_FAILURE,
            uint32(remote) + uint32(error.code) + string(str(error).encode()) + string(b"en"),
        )

    def _confirm(self, channel: FlowChannel, remote: int) -> None:
        local = channel.id
        self.channelsToRemoteChannel[channel] = remote
        self.localToRemoteChannel[local] = remote
        self.transport.sendPacket(
            conch.MSG_CHANNEL_OPEN_CONFIRMATION,
            uint32(remote)
            + uint32(local)
            + uint32(channel.localWindowSize)
            + uint32(channel.localMaxPacket),
        )
        channel.channelOpen(b"")

    # Channels that we open.

    def ssh_CHANNEL_OPEN_CONFIRMATION(self, packet: bytes) -> None:
        reader = FieldReader(packet)
        local, remote = reader.uint32(), reader.uint32()
        window, max_packet = reader.uint32(), reader.uint32()
        channel = self.channels.get(local)
        if channel is None or local in self.localToRemoteChannel or local in self._opening:
            raise SshProtocolError("a channel that nobody asked for was confirmed")
        if max_packet < _LEAST_PACKET:
            raise SshProtocolError("a channel's packets may not be that small")
        channel.conn = self
        self.localToRemoteChannel[local] = remote
        self.channelsToRemoteChannel[channel] = remote
        channel.remoteWindowLeft = window
        channel.remoteMaxPacket = max_packet
        channel.channelOpen(reader.rest())
        self.wants_to_send(channel)  # what was written before it was open

    def ssh_CHANNEL_OPEN_FAILURE(self, packet: bytes) -> None:
        reader = FieldReader(packet)
        local, code, sentence = reader.uint32(), reader.uint32(), printable(reader.string())
        channel = self.channels.get(local)
        if channel is None or local in self.localToRemoteChannel or local in self._opening:
            raise SshProtocolError("a channel that nobody asked for was refused")
        del self.channels[local]
        channel.conn = self
        channel.openFailed(ChannelRefused(sentence, code))

    def openChannel(self, channel: Any, extra: bytes = b"") -> None:
        local = self.localChannelID
        self.localChannelID += 1
        channel.id = local
        channel.conn = self
        self.channels[local] = channel
        self.transport.sendPacket(
            conch.MSG_CHANNEL_OPEN,
            string(channel.name)
            + uint32(local)
            + uint32(channel.localWindowSize)
            + uint32(channel.localMaxPacket)
            + extra,
        )

    # What arrives on open channels.

    def _channel(self, reader: FieldReader) -> Any:
        local = reader.uint32()
        if local not in self.localToRemoteChannel:
            raise SshProtocolError("there is no such channel")
        return self.channels[local]

    def ssh_CHANNEL_WINDOW_ADJUST(self, packet: bytes) -> None:
        reader = FieldReader(packet)
        self._channel(reader).addWindowBytes(reader.uint32())

    def ssh_CHANNEL_DATA(self, packet: bytes | memoryview) -> None:
        reader = FieldReader(bytes(packet[:8]))
        channel = self._channel(reader)
        length, data = reader.uint32(), bytes(packet[8:])
        if len(data) != length:
            raise MalformedMessage("a message is not as long as its fields")
        if not channel.localClosed:
            channel.data_arrived(0, data)

    def ssh_CHANNEL_EXTENDED_DATA(self, packet: bytes) -> None:
        reader = FieldReader(packet)
        channel = self._channel(reader)
        kind, data = reader.uint32(), reader.string()
        if kind == 0:
            raise SshProtocolError("extended data is of no kind")
        if not channel.localClosed:
            channel.data_arrived(kind, data)

    def ssh_CHANNEL_EOF(self, packet: bytes) -> None:
        channel = self._channel(FieldReader(packet))
        if not channel.localClosed:
            channel.eof_arrived()

    def ssh_CHANNEL_CLOSE(self, packet: bytes) -> None:
        channel = self._channel(FieldReader(packet))
        if channel.remoteClosed:
            raise SshProtocolError("a channel was closed twice")
        if not channel.localClosed:
            channel.close_arrived()
        channel.remoteClosed = True
        if channel.localClosed:
            self.channelClosed(channel)

    # Requests. They are answered in the order they came, which is the channel's to see to.

    def ssh_CHANNEL_REQUEST(self, packet: bytes) -> None:
        reader = FieldReader(packet)
        channel = self._channel(reader)
        name, wants_reply = reader.string(), reader.boolean()
        if channel.localClosed:
            return
        channel.asked(name, reader.rest(), wants_reply=wants_reply)

    def ssh_CHANNEL_SUCCESS(self, packet: bytes) -> None:
        self._answered(packet).callback(None)

    def ssh_CHANNEL_FAILURE(self, packet: bytes) -> None:
        self._answered(packet).errback(ConchError("channel request failed"))

    def _answered(self, packet: bytes) -> Deferred[Any]:
        channel = self._channel(FieldReader(packet))
        waiting = self.deferreds.get(channel.id)
        if not waiting:
            raise SshProtocolError("an answer came that nobody waits for")
        first: Deferred[Any] = waiting.pop(0)
        return first

    def ssh_GLOBAL_REQUEST(self, packet: bytes) -> None:
        reader = FieldReader(packet)
        name, wants_reply = reader.string(), reader.boolean()
        answer = self.got_global_request(name, reader.rest())
        if wants_reply:
            if answer is None:
                self.transport.sendPacket(conch.MSG_REQUEST_FAILURE, b"")
            else:
                self.transport.sendPacket(conch.MSG_REQUEST_SUCCESS, answer)

    def ssh_REQUEST_SUCCESS(self, packet: bytes) -> None:
        self._global_answered().callback(packet)

    def ssh_REQUEST_FAILURE(self, packet: bytes) -> None:
        self._global_answered().errback(ConchError("global request failed"))

    def _global_answered(self) -> Deferred[Any]:
        if not self.deferreds["global"]:
            raise SshProtocolError("an answer came that nobody waits for")
        first: Deferred[Any] = self.deferreds["global"].pop(0)
        return first
