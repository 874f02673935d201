"""
Who somebody is: authorities, certificates, tokens and the rule that decides (pure).
"""
