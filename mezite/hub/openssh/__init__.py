"""Servers without an agent: the hub ends the user's SSH, dials their sshd, and records."""
