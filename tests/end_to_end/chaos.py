"""What breaks at random in tests of chaos, and who remembers what was there before."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import define, field

_LOOK_SECONDS = 0.005
_PIECE = 65536


def chosen_seed() -> int:
    """The seed to repeat (MEZITE_SEED), or another one; it is printed."""
    given = os.environ.get("MEZITE_SEED")
    seed = int(given) if given else random.SystemRandom().randrange(2**32)
    print(f"MEZITE_SEED={seed} repeats this")
    return seed


class BreakableLine:
    """A port that leads to another one of this machine, until the line is cut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self._loop = asyncio.new_event_loop()
        listening = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = self._loop.run_until_complete(listening)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._is_cut:
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(far_writer)
            try:
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            finally:
                self._writers.discard(far_writer)
                _reset(far_writer)
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            _reset(writer)

    def cut(self) -> None:
        """Reset what goes through, and what comes until it is mended."""
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._reset_all)

    def mend(self) -> None:
        self._is_cut = False

    def _reset_all(self) -> None:
        for writer in tuple(self._writers):
            _reset(writer)

    def close(self) -> None:
        self.cut()

        async def finish() -> None:
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(finish(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_PIECE):
            writer.write(data)
            await writer.drain()
    # Half a connection is nothing that tunnels have.
    _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    known = writer.get_extra_info("socket")
    with suppress(OSError):
        known.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@define(eq=False)
class SmallDisk:
    """A disk of its own that can be filled up; what fills it is no recording."""

    path: Path

    @classmethod
    @contextmanager
    def mounted(cls, path: Path, size: str) -> Iterator[SmallDisk]:
        """A tmpfs there; for root only."""
        path.mkdir(parents=True, exist_ok=True)
        options = f"size={size},mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)
        try:
            yield cls(path)
        finally:
            subprocess.run(["umount", "-l", path], check=True)

    def fill(self) -> None:
        """Leave not a byte, whatever else writes meanwhile."""
        with (self.path / "filling").open("ab", buffering=0) as file, suppress(OSError):
            while True:
                with suppress(OSError):
                    while file.write(bytes(1 << 20)):
                        pass
                file.write(bytes(4096))

    def free(self) -> None:
        (self.path / "filling").unlink(missing_ok=True)


class SpoolObserver(threading.Thread):
    """
    Opens every file of a spool as soon as it is there, and keeps it open.

    So what was written to it is still there once the program that wrote it has
    removed it.
    """

    def __init__(self, *places: Path) -> None:
        super().__init__(daemon=True)
        self._places = places
        self._files: dict[str, int] = {}
        self._is_over = threading.Event()

    def run(self) -> None:
        while not self._is_over.wait(_LOOK_SECONDS):
            for place in self._places:
                self._look(place)

    def _look(self, place: Path) -> None:
        with suppress(OSError):
            for session in os.scandir(place):
                if session.is_dir():
                    self._look_into(session)

    def _look_into(self, session: os.DirEntry[str]) -> None:
        with suppress(OSError):
            for file in os.scandir(session.path):
                name = f"{session.name}.{file.name.removesuffix('.chunks')}"
                if file.name.endswith(".chunks") and name not in self._files:
                    with suppress(FileNotFoundError):
                        self._files[name] = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)

    def written(self) -> dict[str, bytes]:
        """All that was written, by the ids of recordings."""
        return {
            name: os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            for name, descriptor in tuple(self._files.items())
        }

    def forget(self) -> None:
        """Begin anew; the disk gets its room back."""
        for name in tuple(self._files):
            os.close(self._files.pop(name))

    def stop(self) -> None:
        self._is_over.set()
        self.join(10)
        self.forget()

    def __enter__(self) -> SpoolObserver:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@define(eq=False)
class Schedule:
    """Things that happen at moments of a round, in their order."""

    _things: list[tuple[float, str, Callable[[], None]]] = field(factory=list)

    def add(self, moment: float, name: str, thing: Callable[[], None]) -> None:
        self._things.append((moment, name, thing))

    def run(self) -> Sequence[str]:
        """Do all of it; when each was really done, in seconds."""
        began = time.monotonic()
        done = []
        for moment, name, thing in sorted(self._things, key=lambda each: each[0]):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            done.append(f"{name} at {time.monotonic() - began:.2f}")
            thing()
        return done
