"""
Tests that the generated code is what the proto files say.

To generate it anew, run from the root of the repository::

    python -m grpc_tools.protoc -I. --python_out=. --mypy_out=. mezite/rpc/proto/*.proto
"""

from __future__ import annotations

import importlib.util
import itertools
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from unittest import skipUnless

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from twisted.trial.unittest import SynchronousTestCase

import mezite
from mezite.rpc.proto import auth_pb2, tunnel_pb2

ROOT = Path(mezite.__file__).resolve().parent.parent
PROTO = "mezite/rpc/proto"
HAS_PROTOC = importlib.util.find_spec("grpc_tools") is not None
MYPY_PLUGIN = Path(sysconfig.get_path("scripts")) / "protoc-gen-mypy"


def run_protoc(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I.", *arguments],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )


class GeneratedCodeTests(SynchronousTestCase):
    @skipUnless(HAS_PROTOC, "grpcio-tools is not installed")
    def test_descriptors(self) -> None:
        """The checked-in modules describe the same messages as the proto files."""
        out = Path(self.mktemp()).absolute()
        files = [f"{PROTO}/auth.proto", f"{PROTO}/tunnel.proto"]
        run_protoc(f"--descriptor_set_out={out}", *files)
        described = FileDescriptorSet.FromString(out.read_bytes())
        generated: list[FileDescriptor] = [auth_pb2.DESCRIPTOR, tunnel_pb2.DESCRIPTOR]
        for wanted, module in zip(described.file, generated, strict=True):
            found = FileDescriptorProto()
            module.CopyToProto(found)
            self.assertEqual(without_json_names(found), without_json_names(wanted))

    @skipUnless(HAS_PROTOC and MYPY_PLUGIN.exists(), "mypy-protobuf is not installed")
    def test_stubs(self) -> None:
        """The checked-in stubs carry the words of the proto files."""
        out = Path(self.mktemp()).absolute()
        out.mkdir()
        for name in ("auth", "tunnel"):
            run_protoc(
                f"--plugin=protoc-gen-mypy={MYPY_PLUGIN}",
                f"--mypy_out={out}",
                f"{PROTO}/{name}.proto",
            )
            made = (out / PROTO / f"{name}_pb2.pyi").read_text()
            self.assertEqual(made, (ROOT / PROTO / f"{name}_pb2.pyi").read_text())


def without_json_names(file: FileDescriptorProto) -> FileDescriptorProto:
    """The same file; protoc adds a JSON name to each field, which modules leave out."""
    for message in file.message_type:
        for part in (message, *message.nested_type):
            for field in part.field:
                field.ClearField("json_name")
    return file


class CommentTests(SynchronousTestCase):
    def test_comments(self) -> None:
        """Every method, and every message that is not one method's own, says what it is."""
        text = (ROOT / PROTO / "auth.proto").read_text()
        methods = set(re.findall(r"rpc (\w+)\(", text))
        lines = [line.strip() for line in text.split("\n")]
        for above, line in itertools.pairwise(lines):
            kind, name, *_ = *line.split(), "", ""
            is_own = name.removesuffix("Request").removesuffix("Response") in methods
            if kind == "rpc" or (kind in ("message", "enum") and not is_own):
                self.assertTrue(above.startswith("//"), line)
