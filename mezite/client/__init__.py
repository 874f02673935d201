"""
What a person's own machine does: logging in, dialing nodes, terminals.
"""
