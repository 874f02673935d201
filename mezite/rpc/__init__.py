"""
gRPC, spoken on the reactor with python-hyper h2.
"""
