"""
The process on each node: dials the hub and is the node's SSH server.
"""
