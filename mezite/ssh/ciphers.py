"""
From a negotiated name and derived keys to what seals and opens packets.
"""

from __future__ import annotations

from attrs import evolve, frozen

from mezite.ssh import aesctr, aesgcm, algorithms
from mezite.ssh.aesctr import CtrOpener, CtrSealer
from mezite.ssh.aesgcm import GcmOpener, GcmSealer
from mezite.ssh.chachapoly import ChaChaPolyOpener, ChaChaPolySealer
from mezite.ssh.packets import IOpener, ISealer


@frozen
class Suite:
    """The names chosen for one direction; ``mac`` means nothing beside an AEAD cipher."""

    cipher: bytes
    mac: bytes

    def sealer(self, key: bytes, iv: bytes, mac_key: bytes) -> ISealer:
        """For sending; each value may be longer than needed (RFC 4253, section 7.2)."""
        if self.cipher == algorithms.CHACHA20_POLY1305:
            return ChaChaPolySealer(key)
        if self.cipher in algorithms.AEAD_CIPHERS:
            return GcmSealer(key[: aesgcm.KEY_LENGTHS[self.cipher]], iv)
        return CtrSealer(key[: aesctr.KEY_LENGTHS[self.cipher]], iv, self._mac(mac_key))

    def opener(self, key: bytes, iv: bytes, mac_key: bytes) -> IOpener:
        """For receiving."""
        if self.cipher == algorithms.CHACHA20_POLY1305:
            return ChaChaPolyOpener(key)
        if self.cipher in algorithms.AEAD_CIPHERS:
            return GcmOpener(key[: aesgcm.KEY_LENGTHS[self.cipher]], iv)
        return CtrOpener(key[: aesctr.KEY_LENGTHS[self.cipher]], iv, self._mac(mac_key))

    def _mac(self, key: bytes) -> aesctr.Mac:
        mac = aesctr.MACS[self.mac]
        return evolve(mac, key=key[: mac.length])
