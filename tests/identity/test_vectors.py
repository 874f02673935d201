"""The vectors of docs/protocols/identity.rst, read as every implementation should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

import tests
from mezite.identity.authority import pin_of
from mezite.identity.error import BadCertificate, CertificateRefused
from mezite.identity.roles import LabelSelector, UserRights, decide
from mezite.identity.sshcert import blob_of, check_host, check_user
from mezite.identity.sshkeys import blob_of_key, load_public_line
from mezite.identity.tokens import hash_token, token_id
from mezite.identity.x509 import HubIdentity, NodeIdentity, UserIdentity, identity_of
from mezite.names import LoginName, UserName
from tests.identity.test_x509 import CLIENT, SERVER, signed


def load(name: str) -> Any:
    directory = Path(str(tests.__file__)).parent / "vectors"
    return json.loads((directory / name).read_text())


class SshVectorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.vectors = load("identity-ssh.json")
        self.trusted = {
            kind: [blob_of_key(load_public_line(self.vectors[f"{kind}_ca"]))]
            for kind in ("user", "host")
        }

    def answer(self, vector: dict[str, Any]) -> dict[str, Any]:
        blob, now = blob_of(vector["certificate"]), vector["now"]
        trusted = self.trusted[vector["kind"]]
        if vector["kind"] == "host":
            host = check_host(blob, trusted=trusted, now=now, principals=vector["principals"])
            return {
                "agent_id": host.agent_id and str(host.agent_id),
                "serial": host.serial,
                "principals": sorted(host.principals),
                "valid_after": host.valid_after,
                "valid_before": host.valid_before,
            }
        login = vector["login"] and LoginName(vector["login"])
        user = check_user(
            blob, trusted=trusted, now=now, login=login, source_address=vector["source_address"]
        )
        return {
            "user": str(user.user),
            "serial": user.serial,
            "principals": sorted(user.principals),
            "valid_after": user.valid_after,
            "valid_before": user.valid_before,
            "extensions": sorted(user.extensions),
        }

    def test_certificates(self) -> None:
        """Each certificate is accepted as it says, or refused with its sentence."""
        for vector in self.vectors["vectors"]:
            try:
                answer = {"accepted": self.answer(vector)}
            except CertificateRefused as error:
                answer = {"refused": str(error)}
            expected = {key: vector[key] for key in ("accepted", "refused") if key in vector}
            self.assertEqual(answer, expected, vector["what"])


class X509VectorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.vectors = load("identity-x509.json")

    def test_pin(self) -> None:
        """The authority's pin is over its public key."""
        certificate = x509.load_pem_x509_certificate(self.vectors["authority"].encode())
        self.assertEqual(pin_of(certificate), self.vectors["pin"])

    def test_certificates(self) -> None:
        """Each certificate names whom it says."""
        authority = x509.load_pem_x509_certificate(self.vectors["authority"].encode())
        for vector in self.vectors["certificates"]:
            certificate = x509.load_pem_x509_certificate(vector["certificate"].encode())
            certificate.verify_directly_issued_by(authority)
            if vector["uri"] is None:
                self.assertRaises(BadCertificate, identity_of, certificate)
            else:
                self.assertEqual(identity_of(certificate).uri, vector["uri"], vector["what"])

    def test_names(self) -> None:
        """Each set of names and use names one identity, or nobody."""
        for vector in self.vectors["names"]:
            names = [x509.UniformResourceIdentifier(vector["uri"])]
            names += map(x509.DNSName, vector["dns"])
            usage = {"clientAuth": CLIENT, "serverAuth": SERVER}[vector["usage"]]
            found: dict[str, str] | None
            try:
                match identity_of(signed(names, [usage])):
                    case NodeIdentity(cluster, agent_id, node):
                        found = {"kind": "node", "agent_id": str(agent_id), "node": str(node)}
                    case UserIdentity(cluster, user):
                        found = {"kind": "user", "user": str(user)}
                    case HubIdentity(cluster):
                        found = {"kind": "hub"}
                found["cluster"] = str(cluster)
            except BadCertificate:
                found = None
            self.assertEqual(found, vector["identity"], vector)


class RuleVectorTests(SynchronousTestCase):
    def test_decisions(self) -> None:
        """Each wish for access is answered as it says, with its sentence."""
        for vector in load("identity-rules.json")["decisions"]:
            rights = vector["user"] and UserRights(
                user=UserName("ada"),
                logins=frozenset(map(LoginName, vector["user"]["logins"])),
                node_labels=LabelSelector.parse(vector["user"]["node_labels"]),
            )
            login = vector["login"] and LoginName(vector["login"])
            decision = decide(rights, node_labels=vector["node"], login=login)
            self.assertEqual(decision.allowed, vector["allowed"], vector)
            self.assertEqual(decision.reason, vector["reason"])

    def test_tokens(self) -> None:
        """Each token is stored as its SHA-256, and listed by the beginning of that."""
        for vector in load("identity-rules.json")["tokens"]:
            self.assertEqual(hash_token(vector["text"]).hex(), vector["sha256"])
            self.assertEqual(token_id(hash_token(vector["text"])), vector["id"])
