"""What all tests share."""

from __future__ import annotations

import gc
import inspect
import os
import signal
from collections.abc import Generator, Iterator

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """
    Have programs that tests start hear signals that we were told to ignore.

    A shell does so with Ctrl-C for what it runs in the background, and nohup(1) with
    SIGHUP, with which ssh ends its ProxyCommand.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # What has a handler here has none in a program that is started.
        signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object:
    """
    Call plain test functions as pytest itself does.

    pytest-twisted calls them from within the running reactor. After the first
    one trial's TestCases, which run the reactor themselves, find it taken.
    """
    if inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """
    Collect garbage between tests only.

    A Deferred that somebody cancelled and nobody waits for complains when it is
    collected, and trial blames the test that happens to run then.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run away from the source, where trial's ``mktemp`` would leave directories behind."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("work"))
    yield
    os.chdir(before)
