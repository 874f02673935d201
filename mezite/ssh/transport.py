"""
The transport layer of SSH on a Twisted transport, for either side.

:class:`PacketTransport` completes Conch's transport: packets are sealed and
opened by :mod:`mezite.ssh.packets`, the order of a key exchange is kept by
:mod:`mezite.ssh.kexorder`, packets that arrive or leave together share one
write, and a transport that cannot take more pauses the service above. Conch
does the arithmetic of the key exchange.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from twisted.conch.ssh.transport import (
    MSG_DISCONNECT,
    MSG_KEXINIT,
    MSG_NEWKEYS,
    MSG_UNIMPLEMENTED,
    SSHTransportBase,
)
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.ssh.ciphers import Suite
from mezite.ssh.error import (
    BY_APPLICATION,
    KEY_EXCHANGE_FAILED,
    ConnectionEnded,
    PeerDisconnected,
    SshProtocolError,
)
from mezite.ssh.fields import FieldReader, printable, string, uint32
from mezite.ssh.kexinit import Offer, agree, kexinit
from mezite.ssh.kexorder import KeyExchangeOrder, Phase, Step
from mezite.ssh.keylife import DEFAULT_LIMITS, KeyLife
from mezite.ssh.packets import IOpener, ISealer, PacketReader, PacketWriter

# The one message of RFC 4254 of which there is much.
MSG_CHANNEL_DATA: Final = 94
VERSION: Final = b"SSH-2.0-Mezite"
# Packets that leave together are joined up to this; above 128 KiB malloc maps anew each time.
BATCH: Final = 96 * 1024
# Answers to requests that a peer may leave unread before we stop reading from it; OpenSSH
# asks for one answer at a time.
UNREAD_ANSWERS: Final = 256 * 1024
# Messages that may wait for the end of a key exchange: the answers again.
HELD: Final = UNREAD_ANSWERS
# A goodbye that cannot be written by then is cut off.
CLOSE_SECONDS: Final = 5.0
# What the arithmetic of a key exchange raises over values that cannot be right.
_UNREADABLE: Final = (struct.error, ValueError, IndexError)


class NextKeys:
    """The keys that a key exchange agreed on, once Conch has derived them."""

    def __init__(self, outgoing: Suite, incoming: Suite) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self.sealer: ISealer | None = None
        self.opener: IOpener | None = None

    def setKeys(
        self,
        out_iv: bytes,
        out_key: bytes,
        in_iv: bytes,
        in_key: bytes,
        out_mac: bytes,
        in_mac: bytes,
    ) -> None:
        self.sealer = self._outgoing.sealer(out_key, out_iv, out_mac)
        self.opener = self._incoming.opener(in_key, in_iv, in_mac)


@implementer(IPushProducer)
class PacketTransport(SSHTransportBase):
    """
    Either side of an SSH connection.

    A service above may have ``transport_writable()``, called when there is
    room after there was none; it asks :attr:`takes_data` before it writes bulk.
    """

    _log = Logger()
    ourVersionString = VERSION
    # The name by which the peer offers the strict key exchange, and our own.
    their_strict_marker: bytes
    our_strict_marker: bytes
    # The one message of a key exchange that the peer sends, whichever was chosen.
    their_half: int
    _clock: IReactorTime
    # A TCP, TLS or mux transport: ITransport, IConsumer and IPushProducer.
    transport: Any
    nextEncryptions: Any
    key_limits = DEFAULT_LIMITS
    # Conch's name: a wrong guess at the key exchange follows and is passed over.
    ignoreNextPacket: int = 0

    def connectionMade(self) -> None:
        self._closing: IDelayedCall | None = None
        self._reader = PacketReader()
        self._writer = PacketWriter()
        self._order = KeyExchangeOrder()
        self._keys: NextKeys | None = None
        self._batch: list[bytes | memoryview] = []
        self._batched = 0
        self._depth = 0
        self._held: list[tuple[int, bytes]] = []
        self._held_bytes = 0
        self._is_paused = False
        self._unread_answers = 0
        self._stopped_reading = False
        self._key_life = KeyLife(self._clock, self.key_limits, self._exchange_too_late)
        self.disconnecting = False
        self.end: Exception = ConnectionEnded("the SSH connection ended")
        self.transport.registerProducer(self, True)
        self.transport.write(self.ourVersionString + b"\r\n")
        self.sendKexInit()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.disconnecting = True
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        self._key_life.stop()
        self._batch.clear()
        self._held.clear()
        service, self.service = self.service, None
        if service is not None:
            service.serviceStopped()
        if hasattr(self, "avatar"):
            self.logoutFunction()

    # What arrives.

    def dataReceived(self, data: bytes) -> None:
        if self.disconnecting:
            return
        with self.batched():
            try:
                self._reader.receive(data)
                self._read_packets()
            except SshProtocolError as error:
                self._log.warn("SSH peer broke the protocol: {error}", error=error)
                self.end = error
                self.disconnect(error.code, str(error))
            except Exception:
                self._log.failure("SSH connection dropped")
                self.disconnect(BY_APPLICATION, "internal error")

    def _read_packets(self) -> None:
        if not self.gotVersion:
            version = self._reader.next_version(lines_before=self.isClient)
            if version is None:
                return
            self.otherVersionString = version
            self.gotVersion = True
        while not self.disconnecting:
            payload = self._reader.next_view()
            if payload is None:
                return
            self._order.read(payload[0])
            self._key_life.used(len(payload))
            # What there is much of stays a view, until its consumer gets it.
            body = payload[1:] if payload[0] == MSG_CHANNEL_DATA else bytes(payload[1:])
            self.dispatchMessage(payload[0], body)
            self._renew_keys(heard=True)

    def dispatchMessage(self, messageNum: int, payload: bytes | memoryview) -> None:
        if messageNum >= 50:
            if self.service is None:
                self.sendUnimplemented()
            else:
                self.service.packetReceived(messageNum, payload)
            return
        if messageNum >= 30:
            self._order.take(Step.READ_METHOD)
            if self.ignoreNextPacket:
                self.ignoreNextPacket = 0
                return
            if messageNum != self.their_half:
                raise SshProtocolError("this key exchange was not chosen", KEY_EXCHANGE_FAILED)
        try:
            super().dispatchMessage(messageNum, payload)
        except SshProtocolError:
            raise
        except _UNREADABLE as error:
            raise SshProtocolError(f"message {messageNum} cannot be read") from error

    def sendUnimplemented(self) -> None:
        self.sendPacket(MSG_UNIMPLEMENTED, uint32((self._reader.sequence - 1) % (1 << 32)))

    def ssh_DISCONNECT(self, packet: bytes) -> None:
        reader = FieldReader(packet)
        code = reader.uint32()
        self.end = PeerDisconnected(printable(reader.string()), code)
        self._close()

    def ssh_UNIMPLEMENTED(self, packet: bytes) -> None:
        """We send nothing that a peer must know."""

    def ssh_DEBUG(self, packet: bytes) -> None:
        """What the peer says to its developers is not for ours."""

    def ssh_EXT_INFO(self, packet: bytes) -> None:
        """What else the peer can do (RFC 8308) changes nothing that we do."""

    # What leaves.

    @property
    def takes_data(self) -> bool:
        """Whether bulk may be sent now; control messages always may."""
        return not (self._is_paused or self._order.holds_data or self.disconnecting)

    @contextmanager
    def batched(self) -> Iterator[None]:
        """Packets sent inside leave in as few writes as can be."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._flush()

    def sendPacket(self, messageType: int, payload: bytes) -> None:
        self.send_parts(messageType, payload)

    def send_parts(self, messageType: int, *payload: bytes | memoryview) -> None:
        """Send a message whose payload is these, one behind the other."""
        if self.disconnecting:
            return
        if self._order.holds_data and (messageType >= 50 or 5 <= messageType <= 19):
            self._hold(messageType, b"".join(payload))
            return
        packet = self._writer.seal_parts(messageType.to_bytes(1, "big"), *payload)
        self._batch += packet
        length = sum(map(len, packet))
        self._batched += length
        if self._is_paused:
            self._unread_answers += length
            if self._unread_answers > UNREAD_ANSWERS and not self._stopped_reading:
                self._stopped_reading = True
                self.transport.pauseProducing()
        if messageType == MSG_NEWKEYS:
            self._new_keys_sent()
        elif messageType >= 50:
            self._key_life.used(length)
            self._renew_keys(heard=False)
        if self._depth == 0 or self._batched >= BATCH:
            self._flush()

    def _hold(self, message: int, payload: bytes) -> None:
        self._held.append((message, payload))
        self._held_bytes += len(payload) + 16
        if self._held_bytes > HELD:
            self._exchange_too_late()

    def _flush(self) -> None:
        if self._batch:
            data = b"".join(self._batch)
            self._batch.clear()
            self._batched = 0
            self.transport.write(data)

    def pauseProducing(self) -> None:
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False
        self._unread_answers = 0
        if self._stopped_reading:
            self._stopped_reading = False
            self.transport.resumeProducing()
        self._tell_writable()

    def stopProducing(self) -> None:
        """The transport is gone; ``connectionLost`` says so too."""

    def _tell_writable(self) -> None:
        writable = getattr(self.service, "transport_writable", None)
        if writable is not None and self.takes_data:
            with self.batched():
                writable()

    # The end.

    def disconnect(self, code: int, sentence: str) -> None:
        """Say why, and close once that is written."""
        self.sendDisconnect(code, sentence.encode("utf-8"))

    def sendDisconnect(self, reason: int, desc: bytes) -> None:
        if self.disconnecting:
            return
        text = desc if isinstance(desc, bytes) else str(desc).encode()
        self.sendPacket(MSG_DISCONNECT, uint32(reason) + string(text) + string(b"en"))
        self._close()

    def _close(self) -> None:
        self._flush()
        self.disconnecting = True
        self._key_life.stop()
        # Twisted's TLS waits for its producer before it closes.
        self.transport.unregisterProducer()
        if self._stopped_reading:
            self.transport.resumeProducing()
        self._closing = self._clock.callLater(CLOSE_SECONDS, self.transport.abortConnection)
        self.transport.loseConnection()

    # The key exchange.

    def sendKexInit(self) -> None:
        """Begin an exchange of keys, or answer the peer who did."""
        if self._order.phase is Phase.SETTLED:
            self._key_life.exchange_begun()
        self._order.take(Step.SEND_KEXINIT)
        exchanges = [*self.supportedKeyExchanges]
        exchanges.append(self._EXT_INFO_C if self.isClient else self._EXT_INFO_S)
        exchanges.append(self.our_strict_marker)
        self.ourKexInitPayload = kexinit(exchanges, self.supportedPublicKeys)
        self.sendPacket(MSG_KEXINIT, self.ourKexInitPayload[1:])

    def _renew_keys(self, *, heard: bool) -> None:
        is_free = self._order.phase is Phase.SETTLED and not self.disconnecting
        if is_free and self._key_life.is_over(heard=heard):
            self.sendKexInit()

    def _exchange_too_late(self) -> None:
        error = SshProtocolError("a key exchange does not come to its end", KEY_EXCHANGE_FAILED)
        self._log.warn("SSH peer broke the protocol: {error}", error=error)
        self.end = error
        self.disconnect(error.code, str(error))

    def ssh_KEXINIT(self, packet: bytes) -> Offer:
        if self._order.phase is Phase.SETTLED:
            self._key_life.exchange_begun()
        self._order.take(Step.READ_KEXINIT)
        self.otherKexInitPayload = bytes([MSG_KEXINIT]) + packet
        offer = Offer.read(packet)
        if self.their_strict_marker in offer.exchanges and self._order.is_first:
            self._order.peer_offers_strict()
        agreed = agree(
            offer,
            self.supportedKeyExchanges,
            self.supportedPublicKeys,
            we_are_client=bool(self.isClient),
            is_strict=self._order.is_strict,
        )
        self.kexAlg = agreed.exchange
        self.keyAlg = agreed.host_key
        suites = (agreed.to_server, agreed.to_client)
        self.nextEncryptions = NextKeys(*(suites if self.isClient else suites[::-1]))
        self._peerSupportsExtensions = (
            self._EXT_INFO_S if self.isClient else self._EXT_INFO_C
        ) in offer.exchanges
        if self._order.phase is Phase.THEIRS_READ:
            self.sendKexInit()
        return offer

    def _new_keys_sent(self) -> None:
        self._order.take(Step.SEND_NEWKEYS)
        self._keys = self.nextEncryptions
        sealer = self.nextEncryptions.sealer
        assert sealer is not None
        self._writer.switch(sealer, restart=self._order.is_strict)

    def ssh_NEWKEYS(self, packet: bytes) -> None:
        FieldReader(packet).end()
        self._order.take(Step.READ_NEWKEYS)
        assert self._keys is not None
        assert self._keys.opener is not None
        self._reader.switch(self._keys.opener, restart=self._order.is_strict)
        self._keys = None
        self._key_life.exchange_done()

    def _keySetup(self, sharedSecret: bytes, exchangeHash: bytes) -> None:
        super()._keySetup(sharedSecret, exchangeHash)
        held, self._held = self._held, []
        self._held_bytes = 0
        self.after_keys()
        for message, payload in held:
            self.sendPacket(message, payload)
        self._tell_writable()

    def after_keys(self) -> None:
        """Called when the first message under new keys may be sent, before any other."""

    def isEncrypted(self, direction: str = "out") -> bool:
        return not self._order.is_first

    isVerified = isEncrypted
