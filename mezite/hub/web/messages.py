"""
Between JSON from strangers and the messages of the auth service.

Owns the bounds on JSON, and one strict reading of it: a key that is not known,
comes twice or has a value of another kind is refused by its name, where
protobuf's own reading guesses. Names are snake_case, as in the proto file;
numbers are numbers, and not text as in protobuf's own mapping of int64.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from mezite.error import BadInput

Fields = Mapping[str, FieldDescriptor]

# The deepest message is a user with a trait with values: three below the body's object.
DEPTH: Final = 16
# A body of 64 KiB has no more, and a name in it is not for reading aloud.
_SHOWN: Final = 60

_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKETS: Final = re.compile(rb"[\[\]{}]")
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")

# Smallest and largest of each kind of integer.
INTEGERS: Final[Mapping[int, tuple[int, int]]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
FLOATS: Final = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


def described(message: Message | type[Message]) -> Descriptor:
    """A message's descriptor, under the one name that its two implementations share."""
    return cast(Descriptor, message.DESCRIPTOR)


def is_map(field: FieldDescriptor) -> bool:
    """Whether the field is a map, which protobuf keeps as a list of pairs."""
    return bool(
        field.is_repeated
        and field.message_type is not None
        and field.message_type.GetOptions().map_entry
    )


def read_object(body: bytes) -> dict[str, Any]:
    """
    The object that a body is.

    :raises BadInput: it is no JSON, no object, too deep, or has a key twice.
    """
    _check_depth(body)
    try:
        value = json.loads(
            body.decode(), object_pairs_hook=_no_key_twice, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        # UnicodeDecodeError and JSONDecodeError are ValueErrors, too.
        raise BadInput("the body is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise BadInput("the body is not an object of JSON")
    return value


def read_text(field: FieldDescriptor, values: list[str], name: str) -> Any:
    """
    What these values of a query's parameter are in JSON.

    :raises BadInput: there are several, or the value is of another kind.
    """
    if field.is_repeated:
        return [_scalar_of(field, value, name) for value in values]
    if len(values) != 1:
        raise BadInput(f"{name} is given {len(values)} times")
    return _scalar_of(field, values[0], name)


def fill(message: Message, values: Mapping[str, Any], fields: Fields | None = None) -> None:
    """
    Set the fields of a message, or those of them, to these values of JSON.

    :raises BadInput: a name or a value does not fit, said with its place.
    """
    known = described(message).fields_by_name if fields is None else fields
    checked = _object(known, values, "")
    try:
        json_format.ParseDict(checked, message)
    except json_format.ParseError as error:
        raise BadInput(f"the request is not understood: {str(error)[:200]}") from None


def to_json(message: Message, hidden: Iterable[str] = ()) -> dict[str, Any]:
    """A message as an object of JSON; of its own fields all but the hidden ones."""
    values = json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    for name in hidden:
        values.pop(name, None)
    return _with_numbers(described(message), values)


def _check_depth(body: bytes) -> None:
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEPTH:
            raise BadInput(f"the body is nested deeper than {DEPTH} levels")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise BadInput(f"the key {twice[:_SHOWN]!r} is there twice")
    return read


def _no_constant(name: str) -> Any:
    raise BadInput(f"{name} is not JSON")


def _scalar_of(field: FieldDescriptor, text: str, name: str) -> Any:
    if field.cpp_type in INTEGERS:
        if not _INTEGER.fullmatch(text):
            raise BadInput(f"{name} is not a whole number")
        return int(text)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if text not in ("true", "false"):
            raise BadInput(f"{name} is true or false")
        return text == "true"
    return text


def _object(fields: Fields, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for key, value in values.items():
        field = fields.get(key)
        place = f"{where}.{key}" if where else key
        if field is None:
            raise BadInput(f"{place[:_SHOWN]!r} is not known here; {_known(fields)}")
        checked[key] = _value(field, value, place)
    return checked


def _known(fields: Fields) -> str:
    return f"known is {', '.join(fields)}" if fields else "nothing is"


def _value(field: FieldDescriptor, value: Any, where: str) -> Any:
    if is_map(field):
        if not isinstance(value, dict):
            raise BadInput(f"{where} is not an object")
        assert field.message_type is not None
        item = field.message_type.fields_by_name["value"]
        return {
            _text(key, where): _single(item, each, f"{where}.{key[:_SHOWN]}")
            for key, each in value.items()
        }
    if field.is_repeated:
        if not isinstance(value, list):
            raise BadInput(f"{where} is not a list")
        return [_single(field, each, f"{where}[{at}]") for at, each in enumerate(value)]
    return _single(field, value, where)


def _single(field: FieldDescriptor, value: Any, where: str) -> Any:
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        if not isinstance(value, dict):
            raise BadInput(f"{where} is not an object")
        assert field.message_type is not None
        return _object(field.message_type.fields_by_name, value, where)
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return _name_of(field.enum_type, value, where)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            raise BadInput(f"{where} is not true or false")
        return value
    if field.cpp_type in INTEGERS:
        return _integer(field, value, where)
    if field.cpp_type in FLOATS:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadInput(f"{where} is not a number")
        return value
    text = _text(value, where)
    if field.type == FieldDescriptor.TYPE_BYTES:
        try:
            base64.b64decode(text, validate=True)
        except binascii.Error:
            raise BadInput(f"{where} is not base64") from None
    return text


def _integer(field: FieldDescriptor, value: Any, where: str) -> int:
    # In JSON Schema 1.0 is an integer, as in JavaScript.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadInput(f"{where} is not a whole number")
    least, most = INTEGERS[field.cpp_type]
    if not least <= value <= most:
        raise BadInput(f"{where} is not between {least} and {most}")
    return value


def _name_of(kind: EnumDescriptor | None, value: Any, where: str) -> str:
    assert kind is not None
    names = [each.name for each in kind.values]
    if not isinstance(value, str) or value not in names:
        raise BadInput(f"{where} is one of {', '.join(names)}")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise BadInput(f"{where} is not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadInput(f"{where} is not Unicode: it has half of a surrogate pair") from None
    return value


def _with_numbers(descriptor: Descriptor, values: dict[str, Any]) -> dict[str, Any]:
    """
    The same values in the order of the proto file, with integers of 64 bits as numbers.

    No time and no count of ours has more than the 53 bits that JavaScript keeps.
    """
    read: dict[str, Any] = {}
    for name, field in descriptor.fields_by_name.items():
        if name not in values:
            continue
        value = values[name]
        if is_map(field):
            assert field.message_type is not None
            item = field.message_type.fields_by_name["value"]
            read[name] = {key: _with_number(item, each) for key, each in value.items()}
        elif field.is_repeated:
            read[name] = [_with_number(field, each) for each in value]
        else:
            read[name] = _with_number(field, value)
    return read


def _with_number(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None and isinstance(value, dict):
        return _with_numbers(field.message_type, value)
    if field.cpp_type in INTEGERS:
        return int(value)
    return value
