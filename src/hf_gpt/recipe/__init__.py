"""YAML into typed dataclasses, and what this machine makes of them."""
