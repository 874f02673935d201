"""
Every algorithm of ours that OpenSSH's client knows too, in combination.

Each combination is a connection of stock ``ssh`` that sends 5 MB to ``cat``,
gets them back, and exchanges keys anew after each megabyte. By default each
cipher and MAC meets each key exchange, and each key exchange each kind of host
key; with ``MEZITE_MATRIX=full`` (``tox -e matrix``) all meet all.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import unittest
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import ClassVar

from attrs import frozen
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mezite.ssh import algorithms
from tests.end_to_end.test_node_sshd import LOGIN, NodeSshd

SENT = os.urandom(5 * 1024 * 1024)
# As many at once as there are processors on the smallest machine the tests run on.
AT_ONCE = 2


@frozen
class Combination:
    cipher: str
    mac: str | None
    key_exchange: str
    host_key: str

    def options(self) -> list[str]:
        chosen = {
            "Ciphers": self.cipher,
            "KexAlgorithms": self.key_exchange,
            "HostKeyAlgorithms": self.host_key,
            "RekeyLimit": "1M",
        }
        if self.mac is not None:
            chosen["MACs"] = self.mac
        return ["-v", *(f"-o{name}={value}" for name, value in chosen.items())]


def known_to_ssh(kind: str) -> set[str]:
    """What the client here knows, by ``ssh -Q``."""
    done = subprocess.run(["ssh", "-Q", kind], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def suites() -> list[tuple[str, str | None]]:
    ciphers, macs = known_to_ssh("cipher"), known_to_ssh("mac")
    found: list[tuple[str, str | None]] = []
    for cipher in (name.decode() for name in algorithms.CIPHERS):
        if cipher not in ciphers:
            continue
        if cipher.encode() in algorithms.AEAD_CIPHERS:
            found.append((cipher, None))
        else:
            found += [(cipher, mac) for mac in map(bytes.decode, algorithms.MACS) if mac in macs]
    return found


def key_exchanges() -> list[str]:
    known = known_to_ssh("kex")
    return [name for name in map(bytes.decode, algorithms.KEY_EXCHANGES) if name in known]


def host_keys() -> list[str]:
    known = known_to_ssh("HostKeyAlgorithms")
    plain = [name.decode() for name in algorithms.SIGNATURES]
    certified = [name + algorithms.CERTIFICATE.decode() for name in plain]
    return [name for name in certified + plain if name in known]


def all_with_all() -> Iterator[Combination]:
    for (cipher, mac), exchange, key in product(suites(), key_exchanges(), host_keys()):
        yield Combination(cipher, mac, exchange, key)


def each_pair_with_exchanges() -> Iterator[Combination]:
    """Every suite and every host key with every key exchange."""
    ciphers, keys = suites(), host_keys()
    for shift, exchange in enumerate(key_exchanges()):
        for number in range(max(len(ciphers), len(keys))):
            cipher, mac = ciphers[(number + 5 * shift) % len(ciphers)]
            yield Combination(cipher, mac, exchange, keys[number % len(keys)])


class MatrixTests(SynchronousTestCase):
    node: ClassVar[NodeSshd]

    @classmethod
    def setUpClass(cls) -> None:
        if shutil.which("ssh") is None:
            raise SkipTest("OpenSSH's client is not here")
        cls.node = NodeSshd(LOGIN, "every-host-key")

    @classmethod
    def tearDownClass(cls) -> None:
        said = cls.node.stop()
        assert "Traceback" not in said, said

    def carry(self, combination: Combination) -> str | None:
        """What went wrong with this combination, if anything."""
        done = self.node.run("cat", *combination.options(), input=SENT)
        said = done.stderr.decode().replace("\r\n", "\n")
        cipher = f"cipher: {combination.cipher} MAC: {combination.mac or '<implicit>'}"
        expected = {
            "the exit code": done.returncode == 0,
            "the data": done.stdout == SENT,
            "both ciphers": said.count(cipher) >= 2,
            "the key exchange": f"kex: algorithm: {combination.key_exchange}\n" in said,
            "the host key": f"host key algorithm: {combination.host_key}\n" in said,
            "new keys": len(re.findall("SSH2_MSG_NEWKEYS received", said)) >= 4,
        }
        wrong = [what for what, is_right in expected.items() if not is_right]
        return f"{combination}: {wrong}\n{said[-2000:]}" if wrong else None

    def carry_all(self, combinations: Callable[[], Iterator[Combination]]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            results = list(threads.map(self.carry, combinations()))
        self.assertEqual([result for result in results if result], [])
        self.assertGreater(len(results), 0)

    def test_pairs(self) -> None:
        """Each cipher and MAC, and each host key, with each key exchange."""
        self.carry_all(each_pair_with_exchanges)

    def test_pairs_are_all(self) -> None:
        """No algorithm that both know is left out of the short list."""
        short, whole = list(each_pair_with_exchanges()), list(all_with_all())
        for pair in (
            lambda one: (one.cipher, one.mac, one.key_exchange),
            lambda one: (one.host_key, one.key_exchange),
        ):
            self.assertEqual(set(map(pair, short)), set(map(pair, whole)))

    @unittest.skipUnless(os.environ.get("MEZITE_MATRIX") == "full", "MEZITE_MATRIX=full runs it")
    def test_product(self) -> None:
        """Each with each."""
        self.carry_all(all_with_all)
