"""Texts and rows from files, packages and the Hub into blocks of tokens."""
