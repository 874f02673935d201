"""Tests of ``msh login`` on a terminal, and without one."""

from __future__ import annotations

import json
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mezite.cli.local import LocalCluster
from tests.end_to_end.screen import Screen, screen_with


@pytest.fixture
def stranger(empty_cluster: LocalCluster, tmp_path: Path) -> LocalCluster:
    """The same hub, seen from a machine that was never logged in there."""
    return LocalCluster(
        empty_cluster.directory,
        port=empty_cluster.port,
        environment={"MSH_HOME": str(tmp_path / "home")},
    )


@pytest.fixture
def user(stranger: LocalCluster) -> Iterator[tuple[str, str]]:
    """A fresh user with a one-time password."""
    (created,) = stranger.admin(
        "users", "create", "newcomer", "--logins=root", "--one-time-password"
    )
    yield "newcomer", str(created["one_time_password"])
    stranger.admin("users", "rm", "newcomer")


def echoes(screen: Screen) -> bool:
    return bool(termios.tcgetattr(screen.terminal)[3] & termios.ECHO)


def status(cluster: LocalCluster) -> dict[str, Any]:
    rows: list[dict[str, Any]] = json.loads(cluster.succeed("msh", "status", "--format=json"))
    return rows[0]


class TerminalLoginTests:
    """Somebody at a terminal."""

    def test_first_login(self, stranger: LocalCluster, user: tuple[str, str]) -> None:
        """The fingerprint is shown and confirmed, a new password chosen, and nothing echoed."""
        (hub,) = stranger.admin("status")
        name, password = user
        command = [stranger.executable("msh"), "login", f"--proxy={stranger.address}"]
        with screen_with([*command, f"--user={name}"], stranger.variables()) as screen:
            screen.wait_for(hub["ca_pin"])
            screen.wait_for("[y/N]")
            screen.type("y\n")
            screen.wait_for("Password for newcomer: ")
            assert not echoes(screen)
            screen.type(f"{password}\n")
            for prompt in ("New password: ", "The same again: "):
                screen.wait_for(prompt)
                screen.type("a password of my own\n")
            screen.wait_for("newcomer is logged in")
            assert screen.ends() == 0
            assert b"my own" not in screen.transcript
            assert password.encode() not in screen.transcript
        assert status(stranger)["user"] == name
        done = stranger.run("msh", "login", "--password-stdin", given="a password of my own\n")
        assert done.returncode == 0, done.stderr

    def test_not_confirmed(self, stranger: LocalCluster) -> None:
        """Who does not confirm the fingerprint is not asked for a password."""
        command = [stranger.executable("msh"), "login", f"--proxy={stranger.address}"]
        with screen_with([*command, "--user=ada"], stranger.variables()) as screen:
            screen.wait_for("[y/N]")
            screen.type("\n")
            screen.wait_for("was not confirmed")
            assert screen.ends() == 1
            assert b"Password" not in screen.transcript

    def test_interrupted(self, stranger: LocalCluster) -> None:
        """Ctrl-C at the password's prompt ends it, and the terminal echoes again."""
        (hub,) = stranger.admin("status")
        command = [
            stranger.executable("msh"),
            *("login", f"--proxy={stranger.address}", "--user=ada", f"--ca-pin={hub['ca_pin']}"),
        ]
        with screen_with(command, stranger.variables()) as screen:
            screen.wait_for("Password for ada: ")
            screen.interrupt()
            assert screen.ends() == 130
            assert echoes(screen)
            assert b"Traceback" not in screen.transcript


class ScriptedLoginTests:
    """A script, without any terminal."""

    def test_unknown_hub(self, stranger: LocalCluster) -> None:
        """A hub that is not known is refused, and the sentence names the options."""
        options = [f"--proxy={stranger.address}", "--user=ada", "--password-stdin"]
        done = stranger.run("msh", "login", *options, given="x\n")
        assert done.returncode == 2
        assert b"--ca-pin" in done.stderr
        assert b"--ca-file" in done.stderr
        assert done.stderr.count(b"\n") == 1

    def test_wrong_pin(self, stranger: LocalCluster) -> None:
        """A hub with another authority gets no password."""
        options = [f"--proxy={stranger.address}", "--user=ada", "--password-stdin"]
        done = stranger.run("msh", "login", *options, f"--ca-pin=sha256:{'0' * 64}", given="x\n")
        assert done.returncode == 4
        assert done.stderr.count(b"\n") == 1

    def test_one_time_password(self, stranger: LocalCluster, user: tuple[str, str]) -> None:
        """The second line of standard input is the new password, and must be there."""
        (hub,) = stranger.admin("status")
        name, password = user
        options = [f"--proxy={stranger.address}", f"--user={name}", f"--ca-pin={hub['ca_pin']}"]
        done = stranger.run("msh", "login", *options, "--password-stdin", given=f"{password}\n")
        assert done.returncode == 2
        assert b"second line" in done.stderr
        given = f"{password}\nsomething of my own\n"
        done = stranger.run("msh", "login", *options, "--password-stdin", given=given)
        assert done.returncode == 0, done.stderr

    def test_nothing_there(self, stranger: LocalCluster) -> None:
        """A hub that is not there is one sentence and a status of its own."""
        done = stranger.run("msh", "login", "--proxy=127.0.0.1:1", "--user=ada")
        assert done.returncode == 7
        assert done.stderr.count(b"\n") == 1

    def test_identity_files(self, stranger: LocalCluster, user: tuple[str, str]) -> None:
        """--out writes a key whose certificate ssh-keygen reads."""
        (hub,) = stranger.admin("status")
        name, password = user
        out = stranger.directory / "identity"
        stranger.succeed(
            *("msh", "login", f"--proxy={stranger.address}", f"--user={name}", "--ttl=30m"),
            *("--password-stdin", f"--ca-pin={hub['ca_pin']}", f"--out={out}"),
            given=f"{password}\nsomething of my own\n",
        )
        assert out.stat().st_mode & 0o777 == 0o600
        read = subprocess.run(
            ["ssh-keygen", "-L", "-f", f"{out}-cert.pub"], capture_output=True, check=True
        )
        assert b"newcomer" in read.stdout
        assert 1700 < status(stranger)["time_left"] <= 1800
