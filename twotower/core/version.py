"""The version of twotower."""

__version__ = "0.1.0"
