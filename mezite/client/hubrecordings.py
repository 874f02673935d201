"""
The hub's recordings, as far as the person may see them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from attrs import frozen

from mezite.client.recordings import Piece, RecordingReader, RecordingState
from mezite.error import BadInput, NotFound
from mezite.rpc.proto import auth_pb2 as pb

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from mezite.rpc.client import AuthClient

# A state of a later hub is none that goes on.
_STATES: Final = {
    pb.RECORDING_STATE_LIVE: RecordingState.LIVE,
    pb.RECORDING_STATE_COMPLETE: RecordingState.COMPLETE,
}
_WATCHED: Final = (pb.RECORDING_KIND_SHELL, pb.RECORDING_KIND_COMMAND)
# Ids in a sentence.
_NAMED: Final = 5


@frozen
class HubRecording:
    """The bytes of one recording at the hub."""

    client: AuthClient
    recording: str

    async def read(self, offset: int) -> Piece:
        answer = await self.client.read_recording(self.recording, offset)
        state = _STATES.get(answer.state, RecordingState.INTERRUPTED)
        return Piece(answer.data, state, answer.encrypted)


def reader_of(
    client: AuthClient, recording: str, identity: X25519PrivateKey | None = None
) -> RecordingReader:
    """:param identity: the key that opens it, if it is encrypted."""
    return RecordingReader(recording, HubRecording(client, recording), identity)


async def find_recording(client: AuthClient, text: str) -> pb.Recording:
    """
    The recording of this id, or the only one of the session of this id.

    :raises NotFound:
    :raises BadInput: if the session has several.
    """
    if "." in text:
        return await client.get_recording(text)
    found = await _of_session(client, text)
    if len(found) != 1:
        names = ", ".join(each.id for each in found[:_NAMED])
        raise BadInput(f"session {text!r} has {len(found)} recordings: name one, as in {names}")
    return found[0]


async def find_live(client: AuthClient, text: str) -> pb.Recording:
    """
    What can be watched of this session, or this recording: the latest shell or command.

    :raises NotFound: if nothing of it goes on.
    """
    found = [await client.get_recording(text)] if "." in text else await _of_session(client, text)
    live = [each for each in found if each.state == pb.RECORDING_STATE_LIVE]
    if not live:
        raise NotFound(f"{text!r} is over: msh play {found[0].id} shows what was recorded of it")
    return max(live, key=lambda each: (each.kind in _WATCHED, _number(each)))


async def _of_session(client: AuthClient, session: str) -> list[pb.Recording]:
    found = await client.list_recordings(pb.ListRecordingsRequest(session_id=session))
    if not found:
        raise NotFound(f"nothing was recorded of a session {session[:80]!r}, or it is not yours")
    return sorted(found, key=_number)


def _number(recording: pb.Recording) -> int:
    return int(recording.id.rpartition(".")[2])


async def live_recordings(client: AuthClient) -> dict[str, list[str]]:
    """The recordings that go on, by their sessions."""
    wanted = pb.ListRecordingsRequest(states=[pb.RECORDING_STATE_LIVE])
    return by_session(await client.list_recordings(wanted))


def by_session(recordings: Iterable[pb.Recording]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in recordings:
        found.setdefault(each.session_id, []).append(each.id)
    return found
