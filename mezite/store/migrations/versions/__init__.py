"""
One module per step, named by its number; a released one is never changed.
"""
