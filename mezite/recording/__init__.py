"""
Recordings of sessions: their format, their chunks, and how they travel to the hub.
"""
