"""Tests of who a session is, when the agent is root and the person is not."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mezite.cli.local import LocalCluster, local_cluster
from tests.end_to_end.conftest import PASSWORD, USER
from tests.end_to_end.screen import screen_with

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else"),
    pytest.mark.skipif(shutil.which("useradd") is None, reason="useradd makes the account"),
]

# Of the agent, and never of a session.
SECRET = "mezite-agents-own"


@pytest.fixture(scope="module")
def account() -> Iterator[pwd.struct_passwd]:
    """An account of this machine, with a second group, for as long as these tests run."""
    name = f"mz{secrets.token_hex(4)}"
    group = f"{name}g"
    subprocess.run(["groupadd", group], check=True)
    try:
        subprocess.run(["useradd", "-m", "-s", "/bin/bash", "-G", group, name], check=True)
        yield pwd.getpwnam(name)
    finally:
        subprocess.run(["userdel", "-r", "-f", name], capture_output=True, check=False)
        subprocess.run(["groupdel", group], capture_output=True, check=False)


@pytest.fixture(scope="module")
def node(
    tmp_path_factory: pytest.TempPathFactory, account: pwd.struct_passwd
) -> Iterator[LocalCluster]:
    """A cluster with one node, whose agent has more than a session should get."""
    environment = {"LD_MEZITE": SECRET, "SUDO_USER": SECRET, "PYTHONPATH": f"/{SECRET}"}
    directory = tmp_path_factory.mktemp("privileges")
    with local_cluster(directory, environment=environment) as cluster:
        cluster.start_hub()
        cluster.add_user(USER, PASSWORD, f"--logins={account.pw_name}")
        cluster.log_in(USER, PASSWORD)
        cluster.start_agent("db1")
        cluster.wait_online("db1")
        yield cluster


def run(node: LocalCluster, account: pwd.struct_passwd, command: str) -> str:
    """What a command of the person writes on the node."""
    return node.succeed("msh", "ssh", f"{account.pw_name}@db1", command).decode()


def sftp(node: LocalCluster, account: pwd.struct_passwd, *commands: str) -> tuple[int, str]:
    """What stock sftp says to these commands."""
    config = node.directory / "ssh_config"
    config.write_bytes(node.succeed("msh", "config"))
    done = subprocess.run(
        ["sftp", "-F", str(config), "-b", "-", f"{account.pw_name}@db1"],
        input="\n".join([*commands, ""]),
        env=dict(node.variables()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


class IdentityTests:
    """Whom the kernel takes a session for."""

    def test_ids(self, node: LocalCluster, account: pwd.struct_passwd) -> None:
        """Real, effective, saved and file system ids are the person's; groups are all of theirs."""
        groups = sorted(os.getgrouplist(account.pw_name, account.pw_gid))
        assert len(groups) == 2
        status = _status(run(node, account, "cat /proc/self/status"))
        assert status["Uid"].split() == [str(account.pw_uid)] * 4
        assert status["Gid"].split() == [str(account.pw_gid)] * 4
        assert sorted(int(each) for each in status["Groups"].split()) == groups

    def test_no_capabilities(self, node: LocalCluster, account: pwd.struct_passwd) -> None:
        """No capability is left, nor one that a program could get back by inheriting."""
        status = _status(run(node, account, "cat /proc/self/status"))
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[kind], 16) == 0, kind

    def test_cannot_return(self, node: LocalCluster, account: pwd.struct_passwd) -> None:
        """There is no way back to root."""
        program = "import os; os.setresuid(0, 0, 0)"
        done = node.run("msh", "ssh", f"{account.pw_name}@db1", f"python3 -c '{program}'")
        assert done.returncode != 0
        assert b"PermissionError" in done.stderr

    def test_signals(self, node: LocalCluster, account: pwd.struct_passwd) -> None:
        """No signal is ignored or blocked that the agent ignored or blocked."""
        status = _status(run(node, account, "cat /proc/self/status"))
        # 32 and 33 are the C library's own, which no program may set (signal(7)).
        own = 1 << 31 | 1 << 32
        assert int(status["SigBlk"], 16) & ~own == 0
        assert int(status["SigIgn"], 16) & ~own == 0

    def test_session(self, node: LocalCluster, account: pwd.struct_passwd) -> None:
        """A session has a process session and group of its own, and no terminal unasked."""
        pid, group, session, terminal = run(
            node, account, "read -r p n s pp g sid tty rest </proc/self/stat; echo $$ $g $sid $tty"
        ).split()
        assert pid == group == session
        assert terminal == "0"


class SurroundingsTests:
    """What a session finds around itself."""

    def test_environment(self, node: LocalCluster, account: pwd.struct_passwd) -> None:
        """The environment is made from nothing: all that is in it is known here."""
        lines = run(node, account, "tr '\\0' '\\n' </proc/$$/environ").splitlines()
        variables = dict(line.partition("=")[::2] for line in lines)
        assert SECRET not in str(variables)
        assert (variables["USER"], variables["LOGNAME"]) == (account.pw_name,) * 2
        assert (variables["HOME"], variables["SHELL"]) == (account.pw_dir, "/bin/bash")
        assert "sbin" not in variables["PATH"]
        known = {"HOME", "LOGNAME", "MAIL", "PATH", "SHELL", "USER", "SSH_CLIENT", "SSH_CONNECTION"}
        assert {name for name in variables if not name.startswith(("LC_", "LANG"))} == known

    def test_directory(self, node: LocalCluster, account: pwd.struct_passwd) -> None:
        """It begins at home, and makes files as login shells do."""
        assert run(node, account, "pwd; umask").split() == [account.pw_dir, "0022"]

    def test_descriptors(self, node: LocalCluster, account: pwd.struct_passwd) -> None:
        """Nothing is open but the three: not the tunnel, nor a key, nor the lock."""
        seen = run(
            node, account, "for n in {0..255}; do [ -e /proc/$$/fd/$n ] && echo $n; done; true"
        )
        assert seen.split() == ["0", "1", "2"]

    def test_agents_files(self, node: LocalCluster, account: pwd.struct_passwd) -> None:
        """The agent's keys are for nobody else, nor are the hub's."""
        for directory in (node.directory / "db1", node.hub_data):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
            for path in directory.iterdir():
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


class TerminalTests:
    """The terminal of a session."""

    def test_owner(self, node: LocalCluster, account: pwd.struct_passwd) -> None:
        """It is the person's own, controls their session, and is nobody else's to read."""
        command = [node.executable("msh"), "ssh", f"{account.pw_name}@db1"]
        with screen_with(command, node.variables()) as screen:
            screen.type("exec env PS1='read''y> ' sh\n")
            screen.wait_for("ready> ")
            screen.type("stat -c 'own''er=%U group=%G mode=%a' $(tty)\n")
            screen.wait_for(f"owner={account.pw_name} group=tty mode=620")
            # /dev/tty opens for those only whom a terminal controls.
            screen.type("id -un >/dev/tty; ls /proc/$$/fd | tr '\\n' ,; echo en''d\n")
            screen.wait_for(account.pw_name)
            screen.wait_for("end")
            screen.type("exit 7\n")
            assert screen.ends() == 7


@pytest.mark.skipif(shutil.which("sftp") is None, reason="there is no sftp")
class SftpTests:
    """Files, as the person."""

    def test_writes_as_the_person(
        self, node: LocalCluster, account: pwd.struct_passwd, tmp_path: Path
    ) -> None:
        """What is put there belongs to the person and their group."""
        source = tmp_path / "note"
        source.write_text("hello")
        status, said = sftp(node, account, f"put {source} note")
        assert status == 0, said
        there = Path(account.pw_dir, "note").stat()
        assert (there.st_uid, there.st_gid) == (account.pw_uid, account.pw_gid)

    def test_refused_what_is_roots(
        self, node: LocalCluster, account: pwd.struct_passwd, tmp_path: Path
    ) -> None:
        """Root's files cannot be read, written, or led to by a link."""
        Path(account.pw_dir, "link").symlink_to("/etc/shadow")
        for command in (
            f"get /etc/shadow {tmp_path}/shadow",
            f"get link {tmp_path}/shadow",
            f"get {node.directory}/db1/ssh_host_key {tmp_path}/key",
            f"put {__file__} /etc/mezite-was-here",
            "chown 0 link",
        ):
            status, said = sftp(node, account, command)
            assert status != 0, command
            assert "ermission denied" in said or "not found" in said, said
        assert not Path("/etc/mezite-was-here").exists()

    def test_process(self, node: LocalCluster, account: pwd.struct_passwd) -> None:
        """The server itself has nothing of root any more: it says so through /proc."""
        target = Path(node.directory, "status")
        status, said = sftp(node, account, f"get /proc/self/status {target}")
        assert status == 0, said
        seen = _status(target.read_text())
        assert seen["Uid"].split() == [str(account.pw_uid)] * 4
        assert seen["Gid"].split() == [str(account.pw_gid)] * 4
        assert len(seen["Groups"].split()) == 2
        assert all(int(seen[kind], 16) == 0 for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"))
        assert seen["NoNewPrivs"] == "1"


def _status(text: str) -> dict[str, str]:
    return {
        name: value.strip()
        for name, _, value in (line.partition(":") for line in text.splitlines())
    }
