"""
Settings of hub and agent: defaults < file < environment < options.
"""
