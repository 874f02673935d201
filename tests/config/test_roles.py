"""Tests of role documents in YAML."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mezite.config.document import FILE_SIZE
from mezite.config.error import ConfigError
from mezite.config.roles import parse_role_text, read_role, role_text
from mezite.identity.rolesdoc import Recording

DEVELOPER = """\
kind: role
version: v1
metadata: {name: developer, description: "..."}
spec:
  options: {max_session_ttl: 12h, port_forwarding: true, file_copy: true, require_session_mfa: off}
  allow:
    node_labels: {env: [staging, dev]}
    logins: [ubuntu, "{{user.name}}"]
    request_roles: [ssh-production]
    review_roles: [ssh-production]
  deny:
    node_labels: {sensitivity: restricted}
    logins: [root]
"""


class RoleFileTests(SynchronousTestCase):
    def refused(self, old: str, new: str) -> str:
        error = self.assertRaises(
            ConfigError, parse_role_text, DEVELOPER.replace(old, new), Path("role.yaml")
        )
        return str(error)

    def test_round_trip(self) -> None:
        """A role that was read is written so that it is read again."""
        role = parse_role_text(DEVELOPER)
        self.assertEqual(role.name.text, "developer")
        self.assertEqual(role.options.max_session_ttl, 12 * 3600)
        self.assertEqual(parse_role_text(role_text(role)), role)

    def test_words_that_yaml_knows(self) -> None:
        """Numbers and truths of YAML are the texts that were written."""
        text = DEVELOPER.replace("[staging, dev]", "[yes, 1.10, null]")
        error = self.assertRaises(ConfigError, parse_role_text, text)
        self.assertIn("a text is expected here", str(error))
        role = parse_role_text(DEVELOPER.replace("[staging, dev]", "[yes, 1.10, 0x1F]"))
        written = [str(term) for term in role.allow.node_labels["env"]]
        self.assertEqual(written, ["yes", "1.10", "0x1F"])
        self.assertEqual(parse_role_text(role_text(role)), role)

    def test_recording(self) -> None:
        """Recording is off, at best, or strict; ``required`` is an older word for that."""
        for word, recording in (
            ("strict", Recording.STRICT),
            ("required", Recording.STRICT),
            ("best_effort", Recording.BEST_EFFORT),
            ("off", Recording.OFF),
        ):
            text = DEVELOPER.replace("port_forwarding: true", f"record_session: {word}")
            self.assertIs(parse_role_text(text).options.record_session, recording)
        self.assertIsNone(parse_role_text(DEVELOPER).options.record_session)

    def test_complaints(self) -> None:
        """Each complaint names file, line and key, and what is accepted."""
        for old, new, *expected in (
            ("ubuntu", '"*"', "role.yaml:8: spec.allow.logins: ", "names or templates"),
            ("12h", "3 days", "role.yaml:5: spec.options.max_session_ttl: ", "8h, 30m"),
            ("[root]", "[root, ^x]", "role.yaml:13: spec.deny.logins: ", "ends with $"),
            ("kind: role", "kind: rule", "role.yaml:1: kind: 'role' is expected"),
            ("  deny:", "  denied:", "role.yaml:11: spec.denied: ", "options, allow and deny"),
            ("name: developer, ", "", "role.yaml:3: metadata: the key name is missing"),
            ('"{{user.name}}"', "{{user.name}}", "role.yaml:8: a text is expected here"),
            ("[root]", "[root]\n  deny: {}", "role.yaml:14: 'deny' stands here and in line 11"),
            ("[root]", "*root", "role.yaml:13: aliases"),
        ):
            sentence = self.refused(old, new)
            for words in expected:
                self.assertIn(words, sentence)

    def test_empty(self) -> None:
        """An empty document lacks everything."""
        self.assertIn(
            "the key kind is missing", str(self.assertRaises(ConfigError, parse_role_text, ""))
        )

    def test_long(self) -> None:
        """A document has the bounds of a file."""
        self.assertRaises(ConfigError, parse_role_text, "#" * (FILE_SIZE + 1))

    def test_file(self) -> None:
        """A role is read from a file; one that is not there is said to be so."""
        path = Path(self.mktemp())
        self.assertIn(str(path), str(self.assertRaises(ConfigError, read_role, path)))
        path.write_text(DEVELOPER)
        self.assertEqual(read_role(path), parse_role_text(DEVELOPER))
