"""
What the hub remembers: users, nodes, tokens, and the authorities' keys.
"""
