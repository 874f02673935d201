"""
Role documents in YAML, read with their lines and written again.

What can stand in one is :mod:`mezite.identity.rolesdoc`'s; this finds the line
for its complaints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from mezite.config.document import (
    FILE_SIZE,
    Items,
    Nothing,
    Section,
    Text,
    Value,
    parse,
    read_document,
)
from mezite.config.error import ConfigError
from mezite.identity.error import BadRole
from mezite.identity.rolesdoc import Role, parse_role, role_document

# What a document is called that came without a file.
_NO_FILE: Final = Path("role")


def read_role(path: Path) -> Role:
    """
    The role in a file.

    :raises ConfigError: naming file, line, key, and what is accepted there.
    """
    document = read_document(path)
    return _understood(document.root, path)


def parse_role_text(text: str, path: Path = _NO_FILE) -> Role:
    """
    The role in this text; ``path`` is for the sentences of errors.

    :raises ConfigError: as :func:`read_role`.
    """
    if len(text.encode(errors="replace")) > FILE_SIZE:
        raise ConfigError(f"{path}: the document is longer than {FILE_SIZE} bytes")
    return _understood(parse(text, path), path)


def role_text(role: Role) -> str:
    """The role as YAML, from which it is read again."""
    text: str = yaml.safe_dump(
        role_document(role), sort_keys=False, allow_unicode=True, default_flow_style=False
    )
    return text


def _understood(root: Section, path: Path) -> Role:
    try:
        return parse_role(_plain(root))
    except BadRole as error:
        raise ConfigError(f"{path}:{_line(root, error.where)}: {error}") from None


def _plain(value: Value) -> Any:
    match value:
        case Text():
            return value.text
        case Items():
            return [_plain(item) for item in value.items]
        case Section():
            return {key: _plain(entry.value) for key, entry in value.entries.items()}
        case Nothing():
            return None


def _line(value: Value, where: tuple[str | int, ...]) -> int:
    """The line of the nearest thing that is written, on the way to this place."""
    line = value.line
    for step in where:
        if isinstance(value, Section) and isinstance(step, str) and step in value.entries:
            line = value.entries[step].line
            value = value.entries[step].value
        elif isinstance(value, Items) and isinstance(step, int):
            return value.items[step].line
        else:
            break
    return line
