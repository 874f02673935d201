"""
mezctl's commands about servers without an agent: adding one, and what its sshd needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mezite.cli import administration as admin
from mezite.cli import tables
from mezite.cli.nodecommands import nodes
from mezite.cli.options import format_option
from mezite.names import NodeName, parse_labels

if TYPE_CHECKING:
    from mezite.rpc.client import AuthClient
    from mezite.rpc.proto import auth_pb2 as pb

_KEY_FILE: Final = "/etc/ssh/mezite_user_ca.pub"
# A known_hosts file with an authority in it is a few lines.
_CA_FILE_LIMIT: Final = 64 * 1024
_SETUP: Final = f"""\
# 1. On each server: {_KEY_FILE}, root's, mode 0644, with these lines.
#    mezctl openssh setup --user-ca prints them alone.
{{lines}}

# 2. In /etc/ssh/sshd_config, before any Match:
TrustedUserCAKeys {_KEY_FILE}
#    The certificates are for one login each. Without AuthorizedPrincipalsFile and
#    AuthorizedPrincipalsCommand that is who may log in; where one of them is set, it
#    must list the login's own name for each login. For root: PermitRootLogin
#    prohibit-password, or yes.

# 3. sshd -t && systemctl reload ssh

# 4. The fingerprints of its host keys, on the server itself:
#    for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $key; done
#    and with them, here:
#    mezctl nodes add --openssh NAME --addr HOST:22 --host-key SHA256:...

# 5. To check: msh ssh LOGIN@NAME true. If it is refused, sshd's log says why, with the
#    key ID "mezite:USER:SESSION" where the certificate was read.
#
# While the user authority is rotated two lines are printed: put both into the file before
# mezctl ca rotate --type=user goes from prepare to rotate.
"""


@nodes.command(
    name="add",
    epilog="\b\nExamples:\n  mezctl nodes add --openssh db9 --addr 10.0.0.9:22"
    " --labels env=prod \\\n      --host-key SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDgtkIiPoX2..."
    "\n  mezctl nodes add --openssh web3 --addr web3.lan --host-ca /etc/ssh/host_ca.pub",
)
@click.option(
    "--openssh",
    "name",
    metavar="NAME",
    required=True,
    help="What people call the machine; its sshd needs no agent beside it.",
)
@click.option(
    "--addr", "address", metavar="HOST[:PORT]", required=True, help="Where the hub finds its sshd."
)
@click.option(
    "--labels", multiple=True, metavar="KEY=VALUE[,...]", help="Its labels, for the roles."
)
@click.option(
    "--host-key",
    "host_keys",
    multiple=True,
    metavar="SHA256:...",
    help="The fingerprint of its host key, or the key's line; again for each.",
)
@click.option(
    "--host-ca",
    "authorities",
    multiple=True,
    metavar="FILE|LINE",
    help="The public key of an authority that has signed its host key; again for each.",
)
@format_option
def add_node(
    name: str,
    address: str,
    labels: tuple[str, ...],
    host_keys: tuple[str, ...],
    authorities: tuple[str, ...],
    output_format: str,
) -> None:
    """
    Add a server that has an sshd and no agent.

    The hub ends the user's SSH, logs in there in their name, and records; what
    the sshd needs for that, mezctl openssh setup prints.
    """
    if not host_keys and not authorities:
        raise click.UsageError("give --host-key or --host-ca: what is the server known by?")
    node = NodeName.parse(name)
    given = parse_labels(part for each in labels for part in each.split(",") if part)
    signers = [line for each in authorities for line in _authority_lines(each)]
    added = admin.ask(
        lambda client: client.create_openssh_node(
            str(node), address, labels=given, host_keys=host_keys, host_authorities=signers
        )
    )
    row: admin.Row = {
        "hostname": added.hostname,
        "agent_id": added.agent_id,
        "kind": added.kind,
        "address": added.address,
        "labels": dict(added.labels),
        "host_keys": list(added.host_keys),
        "host_authorities": list(added.host_authorities),
    }
    if output_format == "json":
        tables.print_rows([row], list(row), "json")
        return
    click.echo(f"Server {added.hostname} at {added.address} was added.")


def _authority_lines(given: str) -> list[str]:
    """A line as it is, or those of a file."""
    if " " in given.strip():
        return [given]
    try:
        with Path(given).open("rb") as file:
            text = file.read(_CA_FILE_LIMIT).decode("utf-8", "replace")
    except OSError as error:
        raise click.UsageError(f"{given} cannot be read: {error.strerror}") from None
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise click.UsageError(f"{given} has no public key in it")
    return found


@click.group()
def openssh() -> None:
    """Servers with an sshd and no agent."""


@openssh.command(
    name="setup",
    epilog="\b\nExamples:\n  mezctl openssh setup"
    "\n  mezctl openssh setup --user-ca | ssh root@10.0.0.9"
    f" 'cat > {_KEY_FILE}'",
)
@click.option("--user-ca", "only_keys", is_flag=True, help="Only the lines of the user authority.")
@format_option
def show_setup(only_keys: bool, output_format: str) -> None:
    """Print what to put into the sshd_config of a server without an agent."""

    async def question(client: AuthClient) -> pb.GetOpenSshSetupResponse:
        return await client.get_openssh_setup()

    lines = list(admin.ask(question).user_ca_lines)
    if output_format == "json":
        row: admin.Row = {"user_ca_lines": lines, "trusted_user_ca_keys": _KEY_FILE}
        tables.print_rows([row], list(row), "json")
    elif only_keys:
        click.echo("\n".join(lines))
    else:
        click.echo(_SETUP.format(lines="\n".join(lines)), nl=False)
