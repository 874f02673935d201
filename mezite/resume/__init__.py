"""
A connection that outlives what carries it.

The bytes of an SSH connection between ``msh`` and an agent are numbered, and kept until
the other end has them. When what carried them is cut, another connection takes
up where it was (``docs/protocols/resumption.rst``).
"""
