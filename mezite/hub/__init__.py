"""
The process at the port: routing, tunnels, the auth service and the web pages.
"""
