"""Who may do what: API keys, their scopes and their rates; knows nothing of HTTP or gRPC."""
