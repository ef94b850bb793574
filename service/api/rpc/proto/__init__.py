"""The messages on the wire: `.proto` files, and what `tests/service/rpc_messages.py` makes of them.

A field that the files do not name is skipped when it is read.
"""
