"""
The limit of open files.
"""

from __future__ import annotations

import resource

from twisted.trial.unittest import SynchronousTestCase

from mezite.hub import openfiles


class OpenFilesTests(SynchronousTestCase):
    def limits(self, soft: int, hard: int) -> None:
        """Let the system say that these are the limits, and take whatever is set."""
        self.set: list[tuple[int, int]] = []
        self.patch(resource, "getrlimit", lambda _: (soft, hard))
        self.patch(resource, "setrlimit", lambda _, limits: self.set.append(limits))

    def test_raised(self) -> None:
        """The hub asks for all that it may have."""
        self.limits(1024, 65536)
        self.assertEqual(openfiles.raise_limit(), 65536)
        self.assertEqual(self.set, [(65536, 65536)])

    def test_high_enough(self) -> None:
        """Where it has all already, nothing is asked."""
        self.limits(65536, 65536)
        self.assertEqual(openfiles.raise_limit(), 65536)
        self.assertEqual(self.set, [])

    def test_no_end(self) -> None:
        """A system that knows no limit is asked for many."""
        self.limits(1024, resource.RLIM_INFINITY)
        self.assertEqual(openfiles.raise_limit(), 1 << 20)
        self.assertEqual(self.set, [(1 << 20, resource.RLIM_INFINITY)])

    def test_refused(self) -> None:
        """A system that promises more than it gives leaves things as they are."""
        self.limits(1024, 65536)

        def refuse(*_: object) -> None:
            raise ValueError("not allowed to raise maximum limit")

        self.patch(resource, "setrlimit", refuse)
        self.assertEqual(openfiles.raise_limit(), 1024)
