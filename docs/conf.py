"""Sphinx' settings for the documents of Mezite."""

from mezite import __version__

project = "Mezite"
copyright = "the Mezite authors"
release = version = __version__
extensions: list[str] = []
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Servers without an inbound port, through one TLS port"}
nitpicky = False
