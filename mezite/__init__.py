"""
Mezite: reach any server that has no inbound port, through one TLS port.

The packages stand on floors, described in ``docs/architecture.rst``; a module
imports only from the floors below its own.
"""

__version__ = "0.1.0"
