"""Tests of a hub of several processes."""
