"""Tests of what a role document may say."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.error import BadRole, BadTraits
from mezite.identity.roles import AccessRules, LabelSelector, UserRights
from mezite.identity.rolesdoc import (
    Allow,
    Options,
    Recording,
    Role,
    parse_role,
    role_document,
)
from mezite.identity.terms import parse_term
from mezite.identity.traits import check_traits, parse_traits
from mezite.names import LoginName, RoleName, UserName


def document(**spec: Any) -> dict[str, Any]:
    return {"kind": "role", "version": "v1", "metadata": {"name": "dev"}, "spec": spec}


class DocumentTests(SynchronousTestCase):
    def refused(self, tree: object, *where: str | int) -> str:
        error = self.assertRaises(BadRole, parse_role, tree)
        self.assertEqual(error.where, where)
        return str(error)

    def test_least(self) -> None:
        """A name is enough, and gives nothing."""
        self.assertEqual(parse_role(document()), Role(RoleName("dev")))
        self.assertEqual(parse_role(document(options=None, allow=None)), Role(RoleName("dev")))

    def test_missing(self) -> None:
        """What must be there is asked for."""
        self.assertIn("the key kind is missing", self.refused({}))
        self.assertIn("a mapping with kind", self.refused("role"))
        tree = document()
        del tree["metadata"]
        self.assertIn("the key name is missing", self.refused(tree, "metadata"))
        self.refused(document() | {"version": "v2"}, "version")
        self.refused(document() | {"kind": "user"}, "kind")

    def test_unknown_keys(self) -> None:
        """A key that is not known is refused: a mistyped deny must not be dropped."""
        for tree, where in (
            (document() | {"extra": "x"}, ("extra",)),
            (document(denny={}), ("spec", "denny")),
            (document(deny={"login": "root"}), ("spec", "deny", "login")),
            (document(deny={"request": "x"}), ("spec", "deny", "request")),
            (document(options={"port_forwards": True}), ("spec", "options", "port_forwards")),
        ):
            self.assertIn("this key is not known; here are", self.refused(tree, *where))

    def test_bad_values(self) -> None:
        """Each value that cannot be is refused at its place."""
        for key, value in (
            ("max_session_ttl", "25h"),
            ("max_session_ttl", "59s"),
            ("max_session_ttl", ""),
            ("max_session_ttl", "1 day"),
            ("max_session_ttl", 12),
            ("port_forwarding", "maybe"),
            ("port_forwarding", None),
            ("record_session", "always"),
            ("require_session_mfa", []),
            ("max_sessions", 0),
            ("max_sessions", "-1"),
            ("max_sessions", "1e3"),
            ("max_sessions", "9" * 5000),
            ("max_sessions", True),
            ("max_sessions", None),
            ("idle_timeout", "4s"),
            ("idle_timeout", "25h"),
            ("disconnect_expired", "perhaps"),
            ("pin_source_address", 1),
            ("source_addresses", []),
        ):
            self.refused(document(options={key: value}), "spec", "options", key)
        for value in ("10.0.0.1/8", "", None, 10, ["10.0.0.0/8"]):
            tree = document(options={"source_addresses": [value]})
            self.refused(tree, "spec", "options", "source_addresses", 0)
        for value in ("x" * 257, "a\nb", 5):
            tree = document() | {"metadata": {"name": "dev", "description": value}}
            self.refused(tree, "metadata", "description")

    def test_bad_logins(self) -> None:
        """Allowed logins are names and templates; denied ones may be patterns, too."""
        for login in ("*", "^root$", "-x", "", "a b", "{{user}}", "{{user.name}}{{user.name}}"):
            self.refused(document(allow={"logins": [login]}), "spec", "allow", "logins", 0)
        for login in ("-x", "", "^root", "root*", "^(?=x)$", 5, None, {}):
            self.refused(document(deny={"logins": ["ok", login]}), "spec", "deny", "logins", 1)
        parse_role(document(deny={"logins": ["*", "^ro+t$", "smb$", "{{user.name}}"]}))

    def test_bad_labels(self) -> None:
        """Labels have keys that a node's can have, and at least one value."""
        for key, value in (
            ("env", []),
            ("env", None),
            ("env", "a*"),
            ("env", ""),
            ("en v", "x"),
            ("", "x"),
            ("*", "x"),
            ("*", ["*", "x"]),
        ):
            error = self.assertRaises(
                BadRole, parse_role, document(deny={"node_labels": {key: value}})
            )
            self.assertEqual(error.where[:4], ("spec", "deny", "node_labels", key))
        self.refused(document(allow={"node_labels": ["env"]}), "spec", "allow", "node_labels")

    def test_bounds(self) -> None:
        """Lists and mappings have an end."""
        many = [f"a{number}" for number in range(65)]
        self.refused(document(allow={"logins": many}), "spec", "allow", "logins")
        self.refused(
            document(allow={"node_labels": dict.fromkeys(many, "x")}),
            *("spec", "allow", "node_labels"),
        )
        self.refused(
            document(allow={"node_labels": {"a": many}}), *("spec", "allow", "node_labels", "a")
        )
        self.refused(document(allow={"logins": ["x" * 256]}), "spec", "allow", "logins", 0)

    def test_role_names(self) -> None:
        """Roles that can be asked for are names of roles, or patterns of such."""
        for side in ("allow", "deny"):
            for key in ("request_roles", "review_roles"):
                for text in ("A", "a b", "^a", "a*", "{{user}}"):
                    tree = document(**{side: {key: [text]}})
                    self.refused(tree, "spec", side, key, 0)
                tree = document(**{side: {key: ["ops", "*", "^ssh-.*$", "{{user.name}}"]}})
                self.assertEqual(len(role_document(parse_role(tree))["spec"][side][key]), 4)
        self.refused(document() | {"metadata": {"name": "a b"}}, "metadata", "name")

    def test_recordings(self) -> None:
        """Recordings are told apart by labels and users; nothing else stands there."""
        for side in ("allow", "deny"):
            where = ("spec", side, "review_recordings")
            for text in ("a b", "^a", "a*", "{{user}}", "x" * 300):
                tree = document(**{side: {"review_recordings": {"users": [text]}}})
                self.refused(tree, *where, "users", 0)
            for value in (["*"], "ada", {"logins": ["root"]}, {"node_labels": ["env"]}):
                tree = document(**{side: {"review_recordings": value}})
                error = self.assertRaises(BadRole, parse_role, tree)
                self.assertEqual(error.where[:3], where)
            rule = {"node_labels": {"env": ["prod"]}, "users": ["ada", "*", "^b.*$"]}
            tree = document(**{side: {"review_recordings": rule}})
            self.assertEqual(
                role_document(parse_role(tree))["spec"][side]["review_recordings"], rule
            )


class TraitTests(SynchronousTestCase):
    def test_parse(self) -> None:
        """Several texts of one name are several values, and none are no trait."""
        traits = parse_traits(["team=b", "team=a", "team=b", "cc=1=2"])
        self.assertEqual(traits, {"cc": ("1=2",), "team": ("b", "a")})
        self.assertEqual(check_traits({"team": []}), {})

    def test_refused(self) -> None:
        """Names and values that cannot be, or are too many, are refused."""
        for pairs in (["team"], ["=x"], ["te am=x"], ["team="], ["team=\n"], ["logins=root"]):
            self.assertRaises(BadTraits, parse_traits, pairs)
        self.assertRaises(BadTraits, parse_traits, [f"t{number}=x" for number in range(33)])
        self.assertRaises(BadTraits, parse_traits, [f"t={number}" for number in range(65)])
        self.assertRaises(BadTraits, parse_traits, ["t=" + "x" * 256])
        long = [f"t={number:0255}" for number in range(32)]
        parse_traits(long)
        self.assertRaises(BadTraits, parse_traits, [*long, f"u={0:0255}"])


class MergedTests(SynchronousTestCase):
    def rules(self, *roles: Role) -> AccessRules:
        return AccessRules.of(
            UserRights(UserName("ada"), frozenset(), LabelSelector(), roles=roles)
        )

    def test_permissions_of_openers(self) -> None:
        """A role that opens no node permits nothing, and still restricts."""
        allow = Allow({"*": (parse_term("*"),)}, (parse_term("root"),))
        closed = Options(port_forwarding=False, file_copy=False)
        opener = Role(RoleName("a"), options=closed, allow=allow)
        other = Role(RoleName("b"), options=Options(max_session_ttl=60.0))
        merged = self.rules(opener, other).options
        self.assertEqual(
            merged,
            Options(
                max_session_ttl=60.0,
                port_forwarding=False,
                file_copy=False,
                record_session=Recording.STRICT,
            ),
        )

    def test_logins(self) -> None:
        """A certificate names what a role opens on some node, and no role denies."""
        everywhere = {"*": (parse_term("*"),)}
        opener = Role(
            RoleName("a"), allow=Allow(everywhere, (parse_term("root"), parse_term("ada")))
        )
        nowhere = Role(RoleName("b"), allow=Allow({}, (parse_term("postgres"),)))
        team = {"team": (parse_term("{{user.traits.team}}"),)}
        lacking = Role(RoleName("c"), allow=Allow(team, (parse_term("mysql"),)))
        self.assertEqual(
            self.rules(opener, nowhere, lacking).logins, {LoginName("root"), LoginName("ada")}
        )
