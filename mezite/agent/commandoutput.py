"""
What a short command prints.

The command runs as the agent does, without a shell, without a terminal and
with nothing to read; how long it may take and how much of its output counts
has a bound.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from mezite.agent.childprocess import ChildProcess, Ended, Launch
from mezite.agent.descriptors import DescriptorEnd
from mezite.agent.error import CommandFailed
from mezite.error import TimedOut
from mezite.tasks import within

# From the start of the program to its end; what takes longer is not a label.
SECONDS: Final = 10.0
# A label's value has 255 characters; four octets each, and some room for spaces.
OUTPUT_LIMIT: Final = 4096
_VALUE_LENGTH: Final = 255
_ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}


async def output_of(reactor: Any, command: Sequence[str]) -> str:
    """
    The first line that a command prints, fit to be a label's value.

    :raises CommandFailed: it could not be begun, took too long, or ended with
        another status than 0.
    """
    output = bytearray()
    ended: Deferred[Ended] = Deferred()
    source, sink = os.pipe2(os.O_CLOEXEC)
    reader = DescriptorEnd(
        reactor,
        source,
        # What is more is read all the same, so that the command can end.
        on_data=lambda data: output.extend(data[: OUTPUT_LIMIT - len(output)]),
        on_end=lambda: None,
    )
    try:
        nothing = [os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC) for _ in range(2)]
        launch = Launch(command[0], command, _ENVIRONMENT, "/")
        descriptors = [nothing[0], sink, nothing[1]]
        child = await ChildProcess.begin(reactor, launch, descriptors, terminal=False)
        child.when_ended(ended.callback)
        try:
            status = await within(reactor, SECONDS, ended, doing="the command")
        finally:
            child.signal_group(signal.SIGKILL)
        # What came together with the news of its end; others may hold the pipe open.
        reader.doRead()
    except (OSError, TimedOut) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CommandFailed(reason) from None
    finally:
        reader.close()
    if status.signal is not None:
        raise CommandFailed(f"it was ended by signal {status.signal}")
    if status.code != 0:
        raise CommandFailed(f"it ended with status {status.code}")
    return label_value(bytes(output))


def label_value(output: bytes) -> str:
    """The first line of this output, without what a label's value must not have."""
    text = output.decode("utf-8", "replace").strip()
    line = " ".join(text.splitlines()[0].split()) if text else ""
    return "".join(char for char in line if char.isprintable())[:_VALUE_LENGTH]
