"""The Open Inference Protocol v2 over gRPC, with the standard health check."""
