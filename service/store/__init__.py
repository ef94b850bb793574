"""Models in an object store: a folder of this machine is kept as the store has it, and served."""
