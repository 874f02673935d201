"""
Logging in, joining, issuing certificates and deciding who may reach what.
"""
