"""
A hub of several processes: workers hold connections and tunnels, control holds all else.
"""
