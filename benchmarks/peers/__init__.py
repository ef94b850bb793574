"""Other libraries doing the same work, each a script for an environment of its own."""
