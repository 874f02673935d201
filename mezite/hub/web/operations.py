"""
The operations of the REST API: routes, joined with the messages of their methods.

Owns how a request's path, query and body are put together into one message, and
which operation a path means. Pure: bytes and text in, messages out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from attrs import field as attribute
from attrs import frozen
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from mezite.error import BadInput, LocalError, NotFound
from mezite.hub.callers import PERMISSIONS, Permission
from mezite.hub.web.messages import described, fill, read_object, read_text, to_json
from mezite.hub.web.routes import ROUTES, Route
from mezite.rpc.httpstatus import MethodNotAllowed
from mezite.rpc.proto import auth_pb2 as pb

# More than all parameters of any list, each of its repeated ones some dozen times.
_PARAMETERS: Final = 100
_PARAMETER: Final = re.compile(r"\{([a-z_.]+)\}")
# Filled from the keys of a body that is one field of the request.
_MASK: Final = "update_mask"


@frozen(eq=False)
class Operation:
    """A route with what it means for its method's messages."""

    route: Route
    permission: Permission
    request_type: type[Message]
    response_type: type[Message]
    # Dotted names of the request's fields, in the order of the path.
    path_fields: tuple[str, ...]
    query_fields: Mapping[str, FieldDescriptor]
    body_fields: Mapping[str, FieldDescriptor]

    @property
    def segments(self) -> Sequence[str]:
        """The parts of the path."""
        return self.route.path.strip("/").split("/")

    @property
    def shown_path(self) -> str:
        """The path as documents show it: of a dotted name the last part."""
        return _PARAMETER.sub(lambda found: f"{{{last_part(found[1])}}}", self.route.path)

    def request(self, path: Sequence[str], query: str, body: bytes) -> Message:
        """
        The method's request.

        :param path: the values of the path's parameters, in order.
        :raises BadInput: with the name of what is wrong.
        """
        message = self.request_type()
        values = self._query(query)
        if self.route.has_body:
            values |= self._body(body)
        elif body:
            raise BadInput(f"{self.route.method} takes no body here")
        if missing := [name for name in self.route.required if name not in values]:
            raise BadInput(f"{missing[0]} is missing")
        if self.route.body:
            fill(getattr(message, self.route.body), values, self.body_fields)
            if hasattr(message, _MASK):
                message.update_mask.paths.extend(values)
        else:
            fill(message, values, {**self.query_fields, **self.body_fields})
        for name, value in zip(self.path_fields, path, strict=True):
            *outer, last = name.split(".")
            target: Any = message
            for each in outer:
                target = getattr(target, each)
            setattr(target, last, value)
        return message

    def answer(self, response: Message) -> Mapping[str, Any] | None:
        """What is answered in JSON; None for nothing."""
        if self.route.status == 204:
            return None
        if self.route.answer:
            return to_json(getattr(response, self.route.answer))
        return to_json(response, self.route.hidden)

    def _query(self, query: str) -> dict[str, Any]:
        try:
            pairs = parse_qsl(
                query, keep_blank_values=True, errors="strict", max_num_fields=_PARAMETERS
            )
        except ValueError:
            raise BadInput("the query is not understood") from None
        given: dict[str, list[str]] = {}
        for name, value in pairs:
            given.setdefault(name, []).append(value)
        values: dict[str, Any] = {}
        for name, texts in given.items():
            if name not in self.query_fields:
                known = ", ".join(self.query_fields) or "nothing"
                raise BadInput(f"the parameter {name[:60]!r} is not known; known is {known}")
            values[name] = read_text(self.query_fields[name], texts, name)
        return values

    def _body(self, body: bytes) -> dict[str, Any]:
        if body:
            return read_object(body)
        if self.body_fields:
            raise BadInput("a body is expected: an object of JSON")
        return {}


@frozen(eq=False)
class Match:
    """An operation that a request means, and the values of its path's parameters."""

    operation: Operation
    path: tuple[str, ...]


@frozen(eq=False)
class Operations:
    """All of them."""

    all: tuple[Operation, ...] = attribute(factory=lambda: tuple(map(operation, ROUTES)))

    def find(self, method: str, segments: Sequence[str]) -> Match:
        """
        What this method does with this path.

        :raises NotFound: there is no such path.
        :raises MethodNotAllowed: there is, and it takes other methods.
        """
        matches = [
            Match(each, values)
            for each in self.all
            if (values := _values_of(each.segments, segments)) is not None
        ]
        # What is written out means itself: /access/explain is no /access/{name}.
        fewest = min((len(match.path) for match in matches), default=0)
        matches = [match for match in matches if len(match.path) == fewest]
        if not matches:
            raise NotFound("there is nothing at this path")
        for match in matches:
            if match.operation.route.method == method:
                return match
        raise MethodNotAllowed(allowed_methods(match.operation for match in matches))


def last_part(name: str) -> str:
    """``name`` of ``user.name``."""
    return name.rpartition(".")[2]


def allowed_methods(operations: Iterable[Operation]) -> list[str]:
    """The methods of these operations of one path, for ``Allow``."""
    methods = sorted({each.route.method for each in operations})
    return sorted([*methods, "HEAD"]) if "GET" in methods else methods


def operation(route: Route) -> Operation:
    """
    A route, joined with its method.

    :raises LocalError: the route names what is not there.
    """
    request_type = getattr(pb, f"{route.rpc}Request")
    response_type = getattr(pb, f"{route.rpc}Response")
    path_fields = tuple(_PARAMETER.findall(route.path))
    rest = _without(request_type.DESCRIPTOR.fields_by_name, path_fields, "")
    if route.body:
        message = request_type.DESCRIPTOR.fields_by_name[route.body].message_type
        rest = _without(message.fields_by_name, path_fields, f"{route.body}.")
    unknown = [name for name in route.required if name not in rest]
    answered = described(response_type).fields_by_name
    unknown += [name for name in (*route.hidden, route.answer) if name and name not in answered]
    if unknown:
        raise LocalError(f"{route.rpc} has no {', '.join(unknown)}")
    if not route.has_body and any(each.message_type is not None for each in rest.values()):
        raise LocalError(f"{route.rpc} takes messages, which a query cannot carry")
    return Operation(
        route=route,
        permission=PERMISSIONS[route.rpc],
        request_type=request_type,
        response_type=response_type,
        path_fields=path_fields,
        query_fields={} if route.has_body else rest,
        body_fields=rest if route.has_body else {},
    )


def _without(
    fields: Mapping[str, FieldDescriptor], path_fields: Iterable[str], prefix: str
) -> dict[str, FieldDescriptor]:
    named = {name.removeprefix(prefix) for name in path_fields if name.startswith(prefix)}
    return {name: each for name, each in fields.items() if name not in named}


def _values_of(template: Sequence[str], segments: Sequence[str]) -> tuple[str, ...] | None:
    if len(template) != len(segments):
        return None
    values = []
    for part, segment in zip(template, segments, strict=True):
        if _PARAMETER.fullmatch(part):
            if not segment:
                return None
            values.append(segment)
        elif part != segment:
            return None
    return tuple(values)
