"""Faults of networks, machines and clocks, and what becomes of a real cluster in them."""
