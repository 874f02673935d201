"""Tests of the OpenAPI document."""

from __future__ import annotations

import json
from typing import Any

from openapi_spec_validator import validate

from mezite.hub.callers import Permission
from mezite.hub.web.openapi import document
from mezite.hub.web.operations import Operations
from mezite.hub.web.routes import PREFIX
from tests.hub.web.test_rest import RestTests


class DocumentTests(RestTests):
    def served(self) -> Any:
        answer = self.anybody.ask("GET", "/openapi.json")
        self.assertEqual(answer.status, 200)
        return answer.json

    def test_served(self) -> None:
        """What is served, to everybody, is what the routes and messages say now."""
        self.assertEqual(self.served(), json.loads(json.dumps(document(Operations()))))

    def test_valid(self) -> None:
        """It is an OpenAPI document."""
        validate(self.served())

    def test_every_operation(self) -> None:
        """Each operation is in it, with what it needs and with what it refuses."""
        paths = self.served()["paths"]
        for operation in Operations().all:
            route = operation.route
            described = paths[PREFIX + operation.shown_path][route.method.lower()]
            self.assertEqual(described["operationId"], route.rpc)
            if operation.permission is Permission.NOTHING:
                self.assertEqual(described["security"], [])
            else:
                bearer, cookie = described["security"]
                self.assertEqual(bearer, {"bearer": []})
                self.assertEqual("csrf" in cookie, route.changes)
            self.assertLessEqual({"400", "401", "403", "429"}, described["responses"].keys())

    def test_answers(self) -> None:
        """Tokens are not among what a login answers; requests allow nothing unknown."""
        served = self.served()
        login = served["paths"]["/v1/webapi/login"]["post"]
        answer = login["responses"]["200"]["content"]["application/json"]["schema"]
        self.assertNotIn("token", answer["properties"])
        self.assertIn("csrf_token", answer["required"])
        asked = login["requestBody"]["content"]["application/json"]["schema"]
        self.assertIs(asked["additionalProperties"], False)
        self.assertLessEqual({"user", "password"}, asked["properties"].keys())
        self.assertIs(served["components"]["schemas"]["TraitInput"]["additionalProperties"], False)
