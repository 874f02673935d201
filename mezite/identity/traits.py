"""
What an administrator notes of a user for roles to use: teams, cost centres.

A trait has a name and some values. The trait ``logins`` is not noted: it
stands for the user's own logins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from mezite.identity.error import BadTraits

OWN_LOGINS: Final = "logins"
# Nobody types more.
TRAITS_LIMIT: Final = 32
VALUES_LIMIT: Final = 64
VALUE_LENGTH: Final = 255
# All names and values of a user: a hundred users, a page of a list, with four bytes for each
# character are 3.3 MB, and stock gRPC clients take messages of 4 MiB.
TRAITS_LENGTH: Final = 8192

TRAIT: Final = r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}"
_TRAIT: Final = re.compile(TRAIT)

Traits = Mapping[str, tuple[str, ...]]


def check_traits(traits: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """
    These traits, once their number, names and values have been checked.

    A trait without values is none.

    :raises BadTraits:
    """
    checked = {name: tuple(dict.fromkeys(values)) for name, values in traits.items()}
    if len(checked) > TRAITS_LIMIT:
        raise BadTraits(f"a user has at most {TRAITS_LIMIT} traits")
    for name, values in checked.items():
        if not _TRAIT.fullmatch(name):
            raise BadTraits(
                f"{name[:80]!r} is not a trait's name: use 1 to 63 letters, digits and _ -"
            )
        if name == OWN_LOGINS:
            raise BadTraits("the trait logins stands for the user's logins: set those")
        if len(values) > VALUES_LIMIT:
            raise BadTraits(f"the trait {name} has more than {VALUES_LIMIT} values")
        for value in values:
            if not value or len(value) > VALUE_LENGTH or not value.isprintable():
                raise BadTraits(
                    f"a value of the trait {name} is empty, not printable,"
                    f" or longer than {VALUE_LENGTH} characters"
                )
    if sum(len(name) + sum(map(len, values)) for name, values in checked.items()) > TRAITS_LENGTH:
        raise BadTraits(f"all traits of a user have at most {TRAITS_LENGTH} characters")
    return {name: values for name, values in sorted(checked.items()) if values}


def parse_traits(pairs: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """
    Read ``name=value`` texts; several with one name are several values.

    :raises BadTraits:
    """
    traits: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise BadTraits(f"{pair[:80]!r} is not a trait: write NAME=VALUE")
        traits.setdefault(name, []).append(value)
    return check_traits(traits)
