"""The processes of one service: a parent that accepts, and the workers that answer."""
