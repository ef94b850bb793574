"""Named tensors of a request -> rows, for every dialect that speaks in tensors."""
