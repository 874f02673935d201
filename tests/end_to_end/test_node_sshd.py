from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import pwd
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from twisted.trial.unittest import SkipTest, SynchronousTestCase

SECONDS = 60
BULK = 100 * 1024 * 1024
IS_ROOT = os.getuid() == 0
LOGIN = pwd.getpwuid(os.getuid()).pw_name


class NodeSshd:
    """A node's SSH server in a process of its own, and what a client needs for it."""

    def __init__(self, logins: str, *words: str) -> None:
        # The server's accounts must be able to come to the directory, and no others' keys are in.
        self.directory = Path(tempfile.mkdtemp(prefix="mz"))
        self.log = (self.directory / "log").open("wb")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.end_to_end.node_sshd"),
                *(str(self.directory), logins, *words),
            ],
            stdout=subprocess.PIPE,
            stderr=self.log,
            cwd=Path(__file__).parents[2],
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def options(self) -> list[str]:
        settings = {
            "HostKeyAlias": "db1",
            "UserKnownHostsFile": self.directory / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "IdentityFile": self.directory / "id",
            "CertificateFile": self.directory / "id-cert.pub",
            "BatchMode": "yes",
        }
        return ["-F", "none", *(f"-o{name}={value}" for name, value in settings.items())]

    def ssh(self, *arguments: str, login: str = LOGIN) -> list[str]:
        # Of two options with one name, ssh takes the first.
        options = [word for word in arguments if word.startswith("-")]
        rest = arguments[len(options) :]
        return ["ssh", *options, *self.options(), f"-p{self.port}", f"-l{login}", *rest]

    def run(self, command: str, *options: str, **rest: Any) -> subprocess.CompletedProcess[bytes]:
        login = rest.pop("login", LOGIN)
        rest.setdefault("stdin", subprocess.DEVNULL) if "input" not in rest else None
        return subprocess.run(
            self.ssh(*options, "127.0.0.1", command, login=login),
            capture_output=True,
            timeout=SECONDS,
            check=False,
            **rest,
        )

    def memory(self) -> int:
        """Resident KiB of the server."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1])

    def stop(self) -> str:
        self.process.terminate()
        self.process.wait(SECONDS)
        self.log.close()
        said = (self.directory / "log").read_text()
        shutil.rmtree(self.directory)
        return said


class NodeSshdTestCase(SynchronousTestCase):
    node: ClassVar[NodeSshd]
    logins = f"{LOGIN},daemon,ghost,nobody"

    @classmethod
    def setUpClass(cls) -> None:
        if shutil.which("ssh") is None:
            raise SkipTest("OpenSSH's client is not here")
        cls.node = NodeSshd(cls.logins)

    @classmethod
    def tearDownClass(cls) -> None:
        said = cls.node.stop()
        assert "Traceback" not in said, said


class ExecTests(NodeSshdTestCase):
    """Commands run by a stock client on a node."""

    def test_output(self) -> None:
        """Standard output and standard error stay apart."""
        done = self.node.run("echo out; echo err >&2")
        self.assertEqual((done.stdout, done.stderr, done.returncode), (b"out\n", b"err\n", 0))

    def test_exit_code(self) -> None:
        """The exit code is the command's."""
        self.assertEqual(self.node.run("exit 7").returncode, 7)

    def test_killed(self) -> None:
        """A command that a signal ended has no exit code."""
        self.assertEqual(self.node.run("kill -TERM $$").returncode, 255)

    def test_environment(self) -> None:
        """The environment is the account's, not the agent's, with what may be sent."""
        done = self.node.run(
            "env",
            "-oSendEnv=LC_NAME",
            "-oSendEnv=LD_MEZITE",
            env={**os.environ, "LC_NAME": "C.UTF-8", "LD_MEZITE": "evil"},
        )
        got = dict(line.split("=", 1) for line in done.stdout.decode().splitlines() if "=" in line)
        account = pwd.getpwuid(os.getuid())
        self.assertEqual(got["HOME"], account.pw_dir)
        self.assertEqual(got["LOGNAME"], LOGIN)
        self.assertEqual(got["SSH_CONNECTION"], "192.0.2.7 4711 127.0.0.1 22")
        self.assertEqual(got["LC_NAME"], "C.UTF-8")
        self.assertNotIn("LD_MEZITE", got)
        self.assertNotIn("SSH_TTY", got)

    def test_forced_command(self) -> None:
        """A certificate with a command runs that one and no other, nor copies files."""
        certificate = f"-oCertificateFile={self.node.directory}/forced-cert.pub"
        done = self.node.run("id; ls", certificate)
        self.assertEqual(done.stdout, b"forced id; ls\n")
        done = self.node.run("sftp", certificate, "-s")
        self.assertIn(b"subsystem request failed", done.stderr)
        certificate = f"-oCertificateFile={self.node.directory}/files-cert.pub"
        # SSH_FXP_INIT, and the version that comes back.
        done = self.node.run("id", certificate, input=b"\0\0\0\5\1\0\0\0\3")
        self.assertEqual(done.stdout[4:9], b"\2\0\0\0\3")

    def test_bulk_out(self) -> None:
        """100 MiB of standard output arrive whole."""
        path = self.node.directory / "bulk"
        path.write_bytes(os.urandom(BULK))
        done = self.node.run(f"cat {path}")
        self.assertEqual(
            hashlib.sha256(done.stdout).digest(), hashlib.sha256(path.read_bytes()).digest()
        )

    def test_bulk_in_and_out(self) -> None:
        """100 MiB of binary standard input come back as they went."""
        sent = os.urandom(BULK)
        done = self.node.run("cat", input=sent)
        self.assertEqual(hashlib.sha256(done.stdout).digest(), hashlib.sha256(sent).digest())

    def test_no_old_algorithms(self) -> None:
        """What is broken is not offered."""
        for option in (
            "-oKexAlgorithms=diffie-hellman-group14-sha1",
            "-oCiphers=aes128-cbc",
            "-oMACs=hmac-sha1 -oCiphers=aes128-ctr",
            "-oMACs=hmac-sha2-256 -oCiphers=aes128-ctr",
            "-oKexAlgorithms=ecdh-sha2-nistp256",
        ):
            self.assertIn(b"no matching", self.node.run("true", *option.split()).stderr)

    def test_plain_host_key(self) -> None:
        """A client that knows no certificates is shown the plain key."""
        done = self.node.run(
            "true",
            "-oHostKeyAlgorithms=ssh-ed25519",
            "-oStrictHostKeyChecking=no",
            "-oUserKnownHostsFile=/dev/null",
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_fifty_at_once(self) -> None:
        """Fifty people at once each get their own answer."""
        with ThreadPoolExecutor(50) as threads:
            done = list(threads.map(lambda n: self.node.run(f"echo {n}"), range(50)))
        self.assertEqual([one.stdout for one in done], [b"%d\n" % n for n in range(50)])

    def test_hang_up(self) -> None:
        """When the client goes away, what it began is hung up."""
        mark = self.node.directory / "pid"
        client = subprocess.Popen(
            self.node.ssh("127.0.0.1", f"sh -c 'echo $$ > {mark}; sleep 300 & wait'"),
            stdin=subprocess.DEVNULL,
        )
        _wait_for(lambda: mark.exists() and mark.read_text().strip())
        client.kill()
        client.wait()
        _wait_for(lambda: not Path(f"/proc/{int(mark.read_text())}").exists())

    def test_stopped_reader(self) -> None:
        """A client that stops reading costs the node no memory."""
        self.node.run("true")
        before = self.node.memory()
        client = subprocess.Popen(
            self.node.ssh("127.0.0.1", "head -c 1G /dev/zero"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        time.sleep(2)
        grown = self.node.memory() - before
        client.kill()
        client.communicate()
        self.assertLess(grown, 16 * 1024)

    def test_stopped_process(self) -> None:
        """A process that does not read its input costs the node one window."""
        before = self.node.memory()
        with subprocess.Popen(
            self.node.ssh("127.0.0.1", "sleep 300"), stdin=subprocess.PIPE
        ) as client:
            assert client.stdin is not None
            os.set_blocking(client.stdin.fileno(), False)
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline:
                try:
                    os.write(client.stdin.fileno(), bytes(65536))
                except BlockingIOError:
                    time.sleep(0.01)
            grown = self.node.memory() - before
            client.kill()
        self.assertLess(grown, 16 * 1024)


class RefusalTests(NodeSshdTestCase):
    """People who may not come in, and what they are told."""

    def test_by_the_hub(self) -> None:
        """The hub's reason is shown."""
        done = self.node.run("true", login="daemon")
        self.assertEqual(done.returncode, 255)
        self.assertIn(b"ada may not log in as daemon on db1", done.stderr)

    def test_no_such_account(self) -> None:
        """An account that is not there is said to be not there."""
        self.assertIn(b"no account ghost", self.node.run("true", login="ghost").stderr)

    def test_another_login(self) -> None:
        """A login that the certificate does not list is refused with a sentence."""
        done = self.node.run("true", login="bin")
        self.assertEqual(done.returncode, 255)
        self.assertIn(b"bin", done.stderr)

    def test_not_for_logins(self) -> None:
        """Nobody logs in to an account that is not for people."""
        sentence = b"does not allow logins" if IS_ROOT else b"can serve only that"
        self.assertIn(sentence, self.node.run("true", login="nobody").stderr)


class TerminalTests(NodeSshdTestCase):
    """Sessions with a terminal."""

    def test_size_and_modes(self) -> None:
        """The terminal has the client's size, name and modes, also after a resize."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        attributes = termios.tcgetattr(theirs)
        attributes[6][termios.VINTR] = b"\x07"
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        client = subprocess.Popen(
            self.node.ssh(
                "-tt",
                "127.0.0.1",
                "stty -a; echo term=$TERM; echo tty=$SSH_TTY; tty; read x; stty size; exit 3",
            ),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0) and None,
        )
        os.close(theirs)
        before = _read_until(ours, b"/dev/pts/", 2)
        self.assertIn(b"rows 33; columns 101", before)
        self.assertIn(b"intr = ^G", before)
        self.assertIn(b"-echo ", before)
        self.assertIn(b"term=xterm-256color", before)
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 120, 0, 0))
        time.sleep(0.5)
        os.write(ours, b"go\r")
        self.assertIn(b"44 120", _read_until(ours, b"44 120"))
        self.assertEqual(client.wait(SECONDS), 3)
        os.close(ours)

    def test_interrupt(self) -> None:
        """^C in a terminal interrupts what runs in it."""
        with subprocess.Popen(
            self.node.ssh("-tt", "127.0.0.1", "echo ready; sleep 300; echo interrupted"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdout.readline()
            time.sleep(0.2)
            client.stdin.write(b"\x03")
            client.stdin.flush()
            self.assertNotEqual(client.wait(SECONDS), 0)

    def test_paste(self) -> None:
        """A large paste into a terminal arrives whole."""
        sent = os.urandom(1_000_000)
        client = subprocess.Popen(
            self.node.ssh(
                "-tt", "-enone", "127.0.0.1", "stty raw -echo; echo go; head -c 1000000 | sha256sum"
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert client.stdin is not None
        assert client.stdout is not None
        self.assertEqual(client.stdout.readline().strip(), b"go")
        client.stdin.write(sent)
        client.stdin.flush()
        self.assertEqual(client.stdout.readline()[:64].decode(), hashlib.sha256(sent).hexdigest())
        client.stdin.close()
        client.stdout.close()
        client.wait(SECONDS)

    def test_login_shell(self) -> None:
        """Without a command the account's shell runs, as a login shell."""
        done = subprocess.run(
            self.node.ssh("127.0.0.1"),
            input=b"echo $0; exit 5\n",
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        shell = os.path.basename(pwd.getpwuid(os.getuid()).pw_shell)
        self.assertIn(f"-{shell}".encode(), done.stdout)
        self.assertEqual(done.returncode, 5)


class ForwardTests(NodeSshdTestCase):
    """Connections opened from the node."""

    def setUp(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.listener.settimeout(SECONDS)

    def _echo_after_end(self) -> None:
        peer, _ = self.listener.accept()
        with peer:
            heard = b""
            while data := peer.recv(65536):
                heard += data
            peer.sendall(hashlib.sha256(heard).digest())

    def test_half_close(self) -> None:
        """An end of data goes through, and the answer still comes back (-W)."""
        thread = threading.Thread(target=self._echo_after_end)
        thread.start()
        sent = os.urandom(10_000_000)
        done = subprocess.run(
            self.node.ssh(f"-W127.0.0.1:{self.listener.getsockname()[1]}", "127.0.0.1"),
            input=sent,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        thread.join()
        self.assertEqual(done.stdout, hashlib.sha256(sent).digest(), done.stderr)

    def test_local_port(self) -> None:
        """A local port leads to the node's network (-L)."""
        free = socket.create_server(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        target = self.listener.getsockname()[1]
        with subprocess.Popen(
            self.node.ssh("-N", f"-L127.0.0.1:{port}:127.0.0.1:{target}", "127.0.0.1")
        ) as client:
            thread = threading.Thread(target=self._echo_after_end)
            thread.start()
            _wait_for(lambda: _connects(port))
            thread.join()
            thread = threading.Thread(target=self._echo_after_end)
            thread.start()
            with socket.create_connection(("127.0.0.1", port)) as caller:
                caller.sendall(b"hello")
                caller.shutdown(socket.SHUT_WR)
                self.assertEqual(caller.recv(32), hashlib.sha256(b"hello").digest())
            thread.join()
            client.terminate()

    def test_nothing_there(self) -> None:
        """A destination where nobody listens is refused with a sentence."""
        port = self.listener.getsockname()[1]
        self.listener.close()
        done = subprocess.run(
            self.node.ssh(f"-W127.0.0.1:{port}", "127.0.0.1"),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
        self.assertIn(b"cannot be reached from the node", done.stderr)


class CopyTests(NodeSshdTestCase):
    """Files copied with stock tools."""

    def test_scp(self) -> None:
        """100 MiB go there and come back, by either protocol of scp."""
        here = self.node.directory / "here"
        here.write_bytes(os.urandom(BULK))
        for protocol in ("-O", "-s"):
            there, back = self.node.directory / "there", self.node.directory / "back"
            for source, target in ((here, f"r:{there}"), (f"r:{there}", back)):
                words = [
                    str(word).replace("r:", f"{LOGIN}@127.0.0.1:") for word in (source, target)
                ]
                subprocess.run(
                    ["scp", "-q", protocol, *self.node.options(), f"-P{self.node.port}", *words],
                    timeout=SECONDS,
                    check=True,
                )
            self.assertEqual(back.read_bytes(), here.read_bytes())
            back.unlink()
            there.unlink()

    def test_rsync(self) -> None:
        """A tree is copied by rsync, and copied again where it differs."""
        if shutil.which("rsync") is None:
            raise SkipTest("rsync is not here")
        here, there = self.node.directory / "tree", self.node.directory / "copy"
        here.mkdir()
        for number in range(50):
            (here / str(number)).write_bytes(os.urandom(number * 10_000))
        for content in (b"first", b"second"):
            (here / "changed").write_bytes(content)
            subprocess.run(
                [
                    *("rsync", "-a", "--delete", "-e"),
                    " ".join(["ssh", *self.node.options(), f"-p{self.node.port}"]),
                    f"{here}/",
                    f"{LOGIN}@127.0.0.1:{there}/",
                ],
                timeout=SECONDS,
                check=True,
            )
            for path in here.iterdir():
                self.assertEqual((there / path.name).read_bytes(), path.read_bytes())

    def test_git(self) -> None:
        """A repository is cloned, and pushed to."""
        if shutil.which("git") is None:
            raise SkipTest("git is not here")
        origin, clone = self.node.directory / "origin.git", self.node.directory / "clone"
        environment = {
            **os.environ,
            "GIT_SSH_COMMAND": " ".join(["ssh", *self.node.options(), f"-p{self.node.port}"]),
        }
        identity = ("-c", "user.name=ada", "-c", "user.email=ada@example.com")
        for command in (
            ("init", "-q", "--bare", str(origin)),
            ("clone", "-q", f"{LOGIN}@127.0.0.1:{origin}", str(clone)),
            ("-C", str(clone), *identity, "commit", "-q", "--allow-empty", "-m", "first"),
            ("-C", str(clone), "push", "-q", "origin", "HEAD:main"),
        ):
            subprocess.run(
                ["git", *command], env=environment, timeout=SECONDS, check=True, capture_output=True
            )
        said = subprocess.run(
            ["git", "-C", str(origin), "log", "--format=%s", "main"],
            capture_output=True,
            check=True,
        )
        self.assertEqual(said.stdout, b"first\n")


class SharedConnectionTests(NodeSshdTestCase):
    """Many sessions over one connection of a stock client."""

    def test_control_master(self) -> None:
        """They run at once, and end with the connection."""
        control = f"-S{self.node.directory}/control"
        subprocess.run(self.node.ssh("-MNf", control, "127.0.0.1"), timeout=SECONDS, check=True)
        self.addCleanup(
            subprocess.run,
            self.node.ssh(control, "-Oexit", "127.0.0.1"),
            capture_output=True,
            timeout=SECONDS,
        )
        with ThreadPoolExecutor(30) as threads:
            done = list(
                threads.map(lambda n: self.node.run(f"sleep 0.5; echo {n}", control), range(30))
            )
        self.assertEqual([one.stdout for one in done], [b"%d\n" % n for n in range(30)])


class OtherAccountTests(SynchronousTestCase):
    """What a session of another account is, when the agent is root."""

    account = "mzt-eve"

    def setUp(self) -> None:
        if not IS_ROOT or shutil.which("useradd") is None:
            raise SkipTest("only root can make another account")
        subprocess.run(
            ["useradd", "-m", "-s", "/bin/bash", "-G", "audio,games", self.account], check=True
        )
        self.addCleanup(
            subprocess.run, ["userdel", "-r", self.account], check=True, capture_output=True
        )
        self.node = NodeSshd(self.account)
        self.addCleanup(self.node.stop)

    def test_becomes(self) -> None:
        """The child has the account's ids, groups, home, and nothing of root's."""
        entry = pwd.getpwnam(self.account)
        done = self.node.run(
            "id -u; id -g; id -Gn | tr ' ' '\\n' | sort | tr '\\n' ' '; echo; pwd;"
            " grep -E '^(Uid|Gid|CapEff)' /proc/self/status; ls /proc/self/fd | tr '\\n' ' '",
            login=self.account,
        )
        lines = done.stdout.decode().splitlines()
        self.assertEqual(lines[0], str(entry.pw_uid))
        self.assertEqual(lines[1], str(entry.pw_gid))
        self.assertEqual(lines[2].split(), ["audio", "games", self.account])
        self.assertEqual(lines[3], entry.pw_dir)
        self.assertEqual(lines[4].split()[1:], [str(entry.pw_uid)] * 4)
        self.assertEqual(lines[5].split()[1:], [str(entry.pw_gid)] * 4)
        self.assertEqual(lines[6].split()[1], "0000000000000000")
        # The three, and the directory that ls reads.
        self.assertEqual(lines[7].split(), ["0", "1", "2", "3"])

    def test_terminal(self) -> None:
        """The terminal belongs to the account, and can be opened by it."""
        done = self.node.run(
            "stat -c '%U %G %a' $(tty); echo works > /dev/tty", "-tt", login=self.account
        )
        self.assertEqual(done.stdout.split(), [self.account.encode(), b"tty", b"620", b"works"])

    def test_files(self) -> None:
        """Copied files belong to the account, and root's stay out of reach."""
        target = f"{self.account}@127.0.0.1:copied"
        done = subprocess.run(
            ["scp", "-q", "-s", *self.node.options(), f"-P{self.node.port}", __file__, target],
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        copied = Path(f"~{self.account}/copied").expanduser()
        self.assertEqual(copied.owner(), self.account)


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _wait_for(holds: Any) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "it did not happen within 10 s"
        time.sleep(0.02)


def _read_until(fd: int, mark: bytes, times: int = 1) -> bytes:
    heard = b""
    deadline = time.monotonic() + 20
    while heard.count(mark) < times or not heard.endswith(b"\n"):
        assert time.monotonic() < deadline, heard
        if select.select([fd], [], [], 0.5)[0]:
            heard += os.read(fd, 65536)
    return heard
