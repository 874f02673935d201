"""
The lines that a person types to ``msh sftp``, as commands.

Quotes, backslashes, options and short names are those of OpenSSH's sftp. An
argument stays a pattern: what was quoted in it is escaped, so that
:mod:`mezite.client.globbing` takes it for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from mezite.client.globbing import escaped
from mezite.error import BadInput

# Longer than any command line; a path is 4096 bytes at most.
MAX_LINE: Final = 64 * 1024


@frozen
class Form:
    """What a command takes: its options, how many arguments, and how that is written."""

    flags: str
    least: int
    most: int
    usage: str
    meaning: str


_FORMS: Final[Mapping[str, Form]] = {
    "bye": Form("", 0, 0, "", "leave"),
    "cd": Form("", 0, 1, "[PATH]", "change the node's directory"),
    "chgrp": Form("h", 2, 2, "[-h] GROUP PATH", "change the group, by number"),
    "chmod": Form("h", 2, 2, "[-h] MODE PATH", "change the mode, in octal"),
    "chown": Form("h", 2, 2, "[-h] OWNER PATH", "change the owner, by number"),
    "df": Form("hi", 0, 1, "[-hi] [PATH]", "show how full the file system is"),
    "get": Form("aprRP", 1, 2, "[-apr] REMOTE [LOCAL]", "fetch files"),
    "help": Form("", 0, 0, "", "show this"),
    "lcd": Form("", 0, 1, "[PATH]", "change the directory here"),
    "lls": Form("", 0, 1, "[WORDS]", "list a directory here, with ls"),
    "lmkdir": Form("", 1, 1, "PATH", "make a directory here"),
    "ln": Form("s", 2, 2, "[-s] OLD NEW", "link a file on the node"),
    "lpwd": Form("", 0, 0, "", "show the directory here"),
    "ls": Form("1afhlnrSt", 0, 1, "[-1afhlnrSt] [PATH]", "list a directory of the node"),
    "mkdir": Form("", 1, 1, "PATH", "make a directory on the node"),
    "progress": Form("", 0, 0, "", "show progress, or not"),
    "put": Form("aprRP", 1, 2, "[-apr] LOCAL [REMOTE]", "send files"),
    "pwd": Form("", 0, 0, "", "show the node's directory"),
    "reget": Form("prRP", 1, 2, "[-pr] REMOTE [LOCAL]", "go on fetching"),
    "rename": Form("", 2, 2, "OLD NEW", "rename a file on the node"),
    "reput": Form("prRP", 1, 2, "[-pr] LOCAL [REMOTE]", "go on sending"),
    "rm": Form("", 1, 1, "PATH", "remove files on the node"),
    "rmdir": Form("", 1, 1, "PATH", "remove a directory on the node"),
    "symlink": Form("", 2, 2, "OLD NEW", "link by name on the node"),
    "version": Form("", 0, 0, "", "show the version of the protocol"),
}
_OTHER_NAMES: Final[Mapping[str, str]] = {
    "?": "help",
    "chdir": "cd",
    "dir": "ls",
    "exit": "bye",
    "mget": "get",
    "mput": "put",
    "quit": "bye",
}
NAMES: Final = tuple(sorted([*_FORMS, *_OTHER_NAMES]))
# Which arguments are names of the node; the others are names here.
REMOTE_FIRST: Final = frozenset(
    {"cd", "chgrp", "chmod", "chown", "df", "get", "ln", "ls", "mkdir", "reget"}
    | {"rename", "rm", "rmdir", "symlink"}
)
SHELL: Final = "!"


@frozen
class Command:
    """One line; ``arguments`` are patterns, and a shell's command as it was typed."""

    name: str
    flags: frozenset[str] = frozenset()
    arguments: tuple[str, ...] = ()
    # "-" before it: whoever reads a file of commands goes on when it fails.
    may_fail: bool = False
    # "@" before it: it is not echoed.
    is_silent: bool = False


def parse(line: str) -> Command | None:
    """
    The command of this line; None for one that is empty or a comment.

    :raises BadInput: with how the command is written.
    """
    text = line.strip(" \t\r\n")
    may_fail = is_silent = False
    while text[:1] in ("-", "@") and text:
        may_fail, is_silent = may_fail or text[0] == "-", is_silent or text[0] == "@"
        text = text[1:].lstrip(" \t")
    if not text or text[0] == "#":
        return None
    if text[0] == SHELL:
        command = text[1:].strip()
        return Command(SHELL, frozenset(), (command,) if command else (), may_fail, is_silent)
    if text == "lls" or text.startswith(("lls ", "lls\t")):
        # Its words are the local shell's to read.
        return Command("lls", frozenset(), (text[3:].strip(),), may_fail, is_silent)
    first, *rest = words(text)
    name = _OTHER_NAMES.get(first.lower(), first.lower())
    form = _FORMS.get(name)
    if form is None:
        raise BadInput(f"there is no command {first[:40]!r}; help shows those there are")
    flags, arguments = _split(name, form, rest)
    if not form.least <= len(arguments) <= form.most:
        raise BadInput(f"write: {name} {form.usage}".rstrip())
    return Command(name, flags, tuple(arguments), may_fail, is_silent)


def _split(name: str, form: Form, rest: list[str]) -> tuple[frozenset[str], list[str]]:
    flags: set[str] = set()
    at = 0
    while at < len(rest) and rest[at].startswith("-") and rest[at] != "-":
        word = rest[at]
        at += 1
        if word == "--":
            break
        for flag in word[1:]:
            if flag not in form.flags:
                raise BadInput(f"{name} has no option -{flag}; write: {name} {form.usage}".rstrip())
            flags.add({"R": "r", "P": "p"}.get(flag, flag) if name != "ls" else flag)
    return frozenset(flags), rest[at:]


def words(line: str) -> list[str]:
    """
    The words of a line, each a pattern.

    :raises BadInput: for a quote that does not end.
    """
    if len(line) > MAX_LINE:
        raise BadInput("the line is too long")
    found: list[str] = []
    word: list[str] | None = None
    quote = ""
    at = 0
    while at < len(line):
        character = line[at]
        following = line[at + 1 : at + 2]
        at += 1
        if quote:
            word = word if word is not None else []
            if character == quote:
                quote = ""
            elif character == "\\" and following == quote:
                word.append(following)
                at += 1
            else:
                word.append(escaped(character))
        elif character in " \t":
            if word is not None:
                found.append("".join(word))
            word = None
        elif character == "#" and word is None:
            break
        else:
            word = word if word is not None else []
            if character in "'\"":
                quote = character
            elif character == "\\" and following:
                word.append(escaped(following))
                at += 1
            else:
                word.append(character)
    if quote:
        raise BadInput("a quote does not end")
    if word is not None:
        found.append("".join(word))
    return found


def quoted(name: str) -> str:
    """A name as it can be typed, to mean just this."""
    return "".join(f"\\{each}" if each in " \t\\'\"#*?[" else each for each in name)


def help_text() -> str:
    """A line for each command."""
    rows = [(f"{name} {form.usage}".rstrip(), form.meaning) for name, form in _FORMS.items()]
    rows += [("!COMMAND", "run a command here"), ("!", "a shell here")]
    width = max(len(written) for written, _ in rows)
    lines = [f"{written:<{width}}  {meaning}" for written, meaning in rows]
    return "\n".join([*lines, "exit and quit leave too; mget and mput are get and put."])
