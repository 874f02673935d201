"""Recordings that the hub encrypts, opened by who has the key."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from mezite.cli.local import local_cluster
from tests.end_to_end.conftest import LOGIN, PASSWORD, USER
from tests.end_to_end.slow import slow

# Half a minute, and then the next sweep.
PATIENCE = 150


@slow
class SealedTests:
    """Keys from openssl, a hub that has one half, a person who has both."""

    def test_opened(self, tmp_path: Path) -> None:
        """Only with the key it is played, searched and exported; from its file, too."""
        key, public = tmp_path / "auditor.pem", tmp_path / "auditor.pub"
        subprocess.run(["openssl", "genpkey", "-algorithm", "X25519", "-out", key], check=True)
        subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
        opened = f"--identity={key}"
        with local_cluster(tmp_path) as cluster:
            cluster.environment["MEZITE_RECORDINGS_ENCRYPT_TO"] = str(public)
            cluster.start_hub()
            cluster.start_agent("db1")
            cluster.add_user(USER, PASSWORD, f"--logins={LOGIN}")
            cluster.log_in(USER, PASSWORD)
            cluster.wait_online("db1")
            cluster.succeed("msh", "ssh", f"{LOGIN}@db1", "echo a secret; seq 20000")
            deadline = time.monotonic() + PATIENCE
            while not [r for r in cluster.admin("recordings", "ls") if r["encrypted"]]:
                assert time.monotonic() < deadline
                time.sleep(1)
            [row] = cluster.admin("recordings", "ls")
            recording = row["id"]
            assert [*(cluster.hub_data / "recordings").glob(f"*/{recording}.mze")]

            said = b"a secret\n" + b"".join(b"%d\n" % number for number in range(1, 20001))
            assert cluster.succeed("msh", "play", recording, opened, "--format=text") == said
            refused = cluster.run("msh", "play", recording, "--format=text")
            assert refused.returncode == 2
            assert b"--identity" in refused.stderr
            found = cluster.succeed("msh", "recordings", "grep", "secret", opened)
            assert found == f"{recording}:0:00:a secret\n".encode()
            file = tmp_path / f"{recording}.mze"
            export = ("msh", "recordings", "export", recording)
            cluster.succeed(*export, "--format=chunks", f"--to={file}")
            assert b"secret" not in file.read_bytes()
            assert cluster.succeed("msh", "play", str(file), opened, "--format=text") == said
            cast = cluster.succeed(*export, "--to=-", opened)
            assert b"a secret" in cast
            subprocess.run(["openssl", "genpkey", "-algorithm", "X25519", "-out", key], check=True)
            other = cluster.run("msh", "play", recording, opened, "--format=text")
            assert b"other keys than this one" in other.stderr
