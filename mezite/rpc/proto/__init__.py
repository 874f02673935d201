"""
The messages of Mezite's gRPC services, and the code generated from them.

``tests/rpc/test_generated.py`` says how to generate it anew, and checks it.
"""
