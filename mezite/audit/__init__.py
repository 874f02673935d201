"""
What is kept of everything that was done, and how a changed record is found.
"""
