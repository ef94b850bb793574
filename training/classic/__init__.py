"""The protocol that tutorials teach, as they teach it, so that ours can be judged beside it."""
