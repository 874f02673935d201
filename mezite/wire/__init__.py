"""
The TLS port: ALPN names, contexts, transports and the splice between two of them.
"""
