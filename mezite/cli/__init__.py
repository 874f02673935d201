"""
The programs msh and mezctl: options, tables, exit codes.
"""
