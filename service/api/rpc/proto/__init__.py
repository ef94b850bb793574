"""The messages on the wire: `.proto` files, and what `messages.py` of the tests makes of them.

A field that the files do not name is skipped when it is read.
"""
