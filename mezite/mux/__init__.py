"""
Many streams on one connection: yamux, as docs/protocols/tunnel.rst specifies it.
"""
