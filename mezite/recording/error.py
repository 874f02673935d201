"""
What can go wrong with a recording.
"""

from __future__ import annotations

from mezite.error import BadInput, LocalError, RemoteError, Unavailable


class LocalRecordingError(LocalError):
    """A call that the state of an upload does not allow, or an event that cannot be written."""


class BadRecording(BadInput):
    """Bytes that are no recording, or a damaged one."""


class BadChunk(BadInput):
    """Bytes that are no chunk, or not the next one of this recording."""


class RemoteUploadError(RemoteError):
    """The peer broke the protocol of uploads, or one of its limits."""


class RecordingFailed(Unavailable):
    """A session cannot be recorded, or no longer; the sentence says why."""
