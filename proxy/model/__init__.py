"""Nouns: frozen dataclasses, enums and errors. Standard library only; imports nothing of ours."""
