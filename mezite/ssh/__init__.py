"""
What Conch lacks: certificates, and channels that hold no more than a window.
"""
