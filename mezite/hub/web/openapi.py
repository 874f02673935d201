"""
The OpenAPI document of the REST API, made of its routes and the messages' descriptors.

Nothing in it is written by hand but the routes' summaries: what the document
says of a request is what :mod:`mezite.hub.web.messages` accepts. What only a
method itself can tell (whether a name is one, or is taken) it does not say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from mezite import __version__
from mezite.hub.callers import Permission
from mezite.hub.web.cookies import COOKIE, CSRF_HEADER
from mezite.hub.web.messages import FLOATS, INTEGERS, described, is_map
from mezite.hub.web.operations import Operation, Operations, last_part
from mezite.hub.web.routes import PREFIX, SessionUse
from mezite.rpc.httpstatus import HTTP_OF, HTTP_OF_KIND

Schema = dict[str, Any]

_DESCRIPTION: Final = (
    "What mezctl and msh ask of a hub, for programs that speak HTTP. Times are POSIX seconds,"
    " 0 where there is none. Lists come in pages: page_token is empty for the first and else"
    " the next_page_token of the page before."
)
_SCHEMAS: Final = "#/components/schemas/"
_FORMATS: Final = {
    FieldDescriptor.CPPTYPE_INT32: "int32",
    FieldDescriptor.CPPTYPE_INT64: "int64",
    FieldDescriptor.CPPTYPE_UINT32: "int64",
    FieldDescriptor.CPPTYPE_UINT64: "int64",
}
# Every operation can be answered with these; what is not a body's own.
_ALWAYS: Final = (400, 404, 429, 500, 503, 504)
_WITH_BODY: Final = (413, 415)
_WHEN: Final = {
    400: "The request is not understood.",
    401: "The caller has not proved who they are.",
    403: "Understood, and refused.",
    404: "What was named does not exist.",
    405: "The path takes other methods.",
    409: "What was to be made is there already.",
    413: "The body is too large.",
    415: "The body does not say that it is JSON.",
    429: "A limit was reached; Retry-After says until when, where that is known.",
    500: "A bug; the hub's log says more.",
    501: "Not in this release.",
    503: "Not now; the call may be repeated.",
    504: "The call came to its deadline.",
}


class _Schemas:
    """The schemas of messages; each is described once, as it is asked for."""

    def __init__(self) -> None:
        self.all: dict[str, Schema] = {}

    def answered(self, message: Descriptor) -> Schema:
        """A message in an answer, where every field is."""
        name = message.name
        if name not in self.all:
            self.all[name] = {}  # so that a message within itself ends
            self.all[name] = self.object_of(message.fields_by_name, is_answer=True)
        return {"$ref": _SCHEMAS + name}

    def taken(self, message: Descriptor) -> Schema:
        """A message in a request, where every field may be."""
        name = f"{message.name}Input"
        if name not in self.all:
            self.all[name] = {}
            self.all[name] = self.object_of(message.fields_by_name, is_answer=False)
        return {"$ref": _SCHEMAS + name}

    def object_of(
        self,
        fields: Mapping[str, FieldDescriptor],
        *,
        is_answer: bool,
        required: Iterable[str] = (),
    ) -> Schema:
        names = (
            [name for name, each in fields.items() if each.is_repeated or not each.has_presence]
            if is_answer
            else list(required)
        )
        schema: Schema = {
            "type": "object",
            "properties": {
                name: self.value_of(each, is_answer=is_answer) for name, each in fields.items()
            },
        }
        if names:
            schema["required"] = names
        if not is_answer:
            # Answers get more fields in a later release; requests with more are refused.
            schema["additionalProperties"] = False
        return schema

    def value_of(self, field: FieldDescriptor, *, is_answer: bool) -> Schema:
        if is_map(field):
            assert field.message_type is not None
            item = field.message_type.fields_by_name["value"]
            return {
                "type": "object",
                "additionalProperties": self._single(item, is_answer=is_answer),
            }
        single = self._single(field, is_answer=is_answer)
        return {"type": "array", "items": single} if field.is_repeated else single

    def _single(self, field: FieldDescriptor, *, is_answer: bool) -> Schema:
        if field.message_type is not None:
            return (
                self.answered(field.message_type) if is_answer else self.taken(field.message_type)
            )
        if field.enum_type is not None:
            return {"type": "string", "enum": [each.name for each in field.enum_type.values]}
        if field.cpp_type in INTEGERS:
            least, most = INTEGERS[field.cpp_type]
            return {
                "type": "integer",
                "format": _FORMATS[field.cpp_type],
                "minimum": least,
                "maximum": most,
            }
        if field.cpp_type in FLOATS:
            return {"type": "number"}
        if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return {"type": "boolean"}
        if field.type == FieldDescriptor.TYPE_BYTES:
            return {"type": "string", "contentEncoding": "base64"}
        return {"type": "string"}


def document(operations: Operations) -> dict[str, Any]:
    """The document, as JSON has it."""
    schemas = _Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for each in operations.all:
        item = paths.setdefault(PREFIX + each.shown_path, {})
        item[each.route.method.lower()] = _operation(each, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Mezite", "version": __version__, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {**schemas.all, "Error": _error()},
            "responses": {
                f"Error{status}": _failure(status) for status in sorted(_statuses_of_errors())
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of a login, or an API token.",
                },
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
                "csrf": {
                    "type": "apiKey",
                    "in": "header",
                    "name": CSRF_HEADER,
                    "description": "With the cookie, for what changes something.",
                },
            },
        },
    }


def _operation(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    route = operation.route
    described: dict[str, Any] = {
        "operationId": route.rpc,
        "summary": route.summary,
        "description": f"Needs {operation.permission.value}.",
        "security": _security(operation),
        "responses": _responses(operation, schemas),
    }
    if parameters := _parameters(operation, schemas):
        described["parameters"] = parameters
    if operation.body_fields:
        schema = schemas.object_of(operation.body_fields, is_answer=False, required=route.required)
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return described


def _parameters(operation: Operation, schemas: _Schemas) -> list[Schema]:
    in_path = [
        {
            "name": last_part(name),
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
        }
        for name in operation.path_fields
    ]
    in_query = [
        {
            "name": name,
            "in": "query",
            "required": name in operation.route.required,
            "schema": schemas.value_of(each, is_answer=False),
        }
        for name, each in operation.query_fields.items()
    ]
    return [*in_path, *in_query]


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    if operation.permission is Permission.NOTHING:
        return []
    with_cookie: dict[str, list[str]] = {"session": []}
    if operation.route.changes:
        with_cookie["csrf"] = []
    return [{"bearer": []}, with_cookie]


def _responses(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    route = operation.route
    answered: dict[str, Any] = {"description": "Done."}
    if route.status != 204:
        answered["content"] = {"application/json": {"schema": _answer(operation, schemas)}}
    if route.session in (SessionUse.BEGIN, SessionUse.END):
        answered["headers"] = {
            "Set-Cookie": {
                "description": "The session's cookie, where one begins or ends.",
                "schema": {"type": "string"},
            }
        }
    failures = {*_ALWAYS, 401, 403, 409}
    if operation.body_fields or not route.has_body:
        # Also where no body is taken, one that is too large is not read.
        failures.update(_WITH_BODY)
    return {
        str(route.status): answered,
        **{
            str(status): {"$ref": f"#/components/responses/Error{status}"}
            for status in sorted(failures)
        },
    }


def _answer(operation: Operation, schemas: _Schemas) -> Schema:
    route = operation.route
    message = described(operation.response_type)
    if route.answer:
        field = message.fields_by_name[route.answer]
        assert field.message_type is not None
        return schemas.answered(field.message_type)
    if not route.hidden and route.session is SessionUse.NOTHING:
        return schemas.answered(message)
    fields = {n: each for n, each in message.fields_by_name.items() if n not in route.hidden}
    schema = schemas.object_of(fields, is_answer=True)
    if route.session in (SessionUse.BEGIN, SessionUse.SHOW):
        schema["properties"]["csrf_token"] = {"type": "string"}
        schema["required"] = [*schema.get("required", ()), "csrf_token"]
    return schema


def _statuses_of_errors() -> set[int]:
    return {status for status, _ in (*HTTP_OF.values(), *HTTP_OF_KIND.values())}


def _error() -> Schema:
    kinds = sorted({kind for _, kind in (*HTTP_OF.values(), *HTTP_OF_KIND.values())})
    return {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "kind": {"type": "string", "enum": kinds},
                    "message": {"type": "string"},
                },
                "required": ["kind", "message"],
            }
        },
        "required": ["error"],
    }


def _failure(status: int) -> Schema:
    failure: Schema = {
        "description": _WHEN[status],
        "content": {"application/json": {"schema": {"$ref": f"{_SCHEMAS}Error"}}},
    }
    if status in (429, 503):
        failure["headers"] = {
            "Retry-After": {
                "description": "Seconds until it may be tried again.",
                "schema": {"type": "integer", "minimum": 1},
            }
        }
    return failure
