"""
The bounds of a gRPC connection.

Each number says what it stops; ``docs/protocols/grpc.rst`` lists them.
"""

from __future__ import annotations

from attrs import evolve, frozen


@frozen
class GrpcLimits:
    """What one connection may cost."""

    # The largest message of the service is a page of nodes that the hub sends:
    # 100 nodes with 64 labels each stay below 2.1 MB. No request comes near 1 MiB.
    request_bytes: int = 1024 * 1024
    # What stock gRPC clients accept unless told otherwise.
    response_bytes: int = 4 * 1024 * 1024
    # Unfinished requests of one connection together, so that a hundred streams
    # cannot hold a hundred times request_bytes.
    pending_request_bytes: int = 4 * 1024 * 1024
    # Answers of one connection that the peer's windows have not let through.
    pending_response_bytes: int = 16 * 1024 * 1024
    # RFC 9113, section 6.5.2 recommends at least 100.
    streams: int = 100
    # Decoded, counted as RFC 9113, section 6.5.2 does. A bearer token and the
    # names of a call take under 1 KiB; stock gRPC clients accept 8 KiB.
    header_list_bytes: int = 8 * 1024
    # A request's headers in HPACK, over all CONTINUATION frames. Decoding can
    # only grow them, so more than this could not pass header_list_bytes.
    header_block_bytes: int = 8 * 1024
    # The frames that a peer may send in a burst and for good, before it is
    # told to calm down: see mezite.rpc.screening.
    frame_burst: float = 2000
    frames_per_second: float = 100
    # From the first byte of a connection to its SETTINGS.
    greeting_seconds: float = 10
    # From a request's headers to its last byte.
    request_seconds: float = 15
    # For a call whose client named no deadline, or a later one.
    call_seconds: float = 60
    # From the response's first byte until the client's windows took all of it.
    response_seconds: float = 30
    # How long the transport may refuse more bytes.
    stalled_seconds: float = 30
    # A connection without calls. Users' programs call and go; agents call
    # every few seconds.
    idle_seconds: float = 600

    def for_strangers(self) -> GrpcLimits:
        """
        The same for callers without a certificate.

        What they ask for is a login, a node's certificates, or with an API token a
        role, which has 64 KiB at most.
        """
        return evolve(
            self,
            request_bytes=min(self.request_bytes, 256 * 1024),
            pending_request_bytes=min(self.pending_request_bytes, 512 * 1024),
        )
