"""What the service tells of itself: numbers of all workers, for Prometheus and for Triton's."""
