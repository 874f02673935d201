"""Tests of the table of states."""

from __future__ import annotations

import itertools

from twisted.trial.unittest import SynchronousTestCase

from mezite.mux.error import LocalMuxError, RemoteMuxError
from mezite.mux.limits import INITIAL_WINDOW
from mezite.mux.stream import TRANSITIONS, Input, State, Stream
from mezite.mux.window import ReceiveWindow


def stream_in(state: State) -> Stream:
    stream = Stream(1, ReceiveWindow(INITIAL_WINDOW))
    stream.state = state
    return stream


class TransitionTests(SynchronousTestCase):
    def test_every_pair(self) -> None:
        """Every input in every state moves as the table says, or raises and stays."""
        for state, by in itertools.product(State, Input):
            stream = stream_in(state)
            if (state, by) in TRANSITIONS:
                stream.move(by)
                self.assertIs(stream.state, TRANSITIONS[state, by])
            else:
                kind = RemoteMuxError if by.name.startswith("RECV_") else LocalMuxError
                self.assertRaises(kind, stream.move, by)
                self.assertIs(stream.state, state)

    def test_every_state_is_reached(self) -> None:
        """From idle, every state can be reached, and from every state an end."""
        reached = {State.IDLE}
        while True:
            more = {after for (before, _), after in TRANSITIONS.items() if before in reached}
            if more <= reached:
                break
            reached |= more
        self.assertEqual(reached, set(State))
        ending = {State.CLOSED, State.RESET}
        for _ in State:
            ending |= {before for (before, _), after in TRANSITIONS.items() if after in ending}
        self.assertEqual(ending, set(State))

    def test_nothing_after_the_end(self) -> None:
        """A finished direction carries nothing more."""
        for state in (State.REMOTE_CLOSED, State.CLOSING, State.CLOSED, State.RESET):
            for by in (Input.RECV_DATA, Input.RECV_FIN, Input.RECV_SYN):
                self.assertRaises(RemoteMuxError, stream_in(state).move, by)
        for state in (State.FINISHING, State.LOCAL_CLOSED, State.CLOSING, State.CLOSED):
            for by in (Input.SEND_DATA, Input.FINISH):
                self.assertRaises(LocalMuxError, stream_in(state).move, by)

    def test_nothing_before_acceptance(self) -> None:
        """A stream that was offered is accepted or refused before anything else."""
        for by in (Input.SEND_DATA, Input.FINISH, Input.SEND_FIN):
            self.assertRaises(LocalMuxError, stream_in(State.SYN_RECEIVED).move, by)
