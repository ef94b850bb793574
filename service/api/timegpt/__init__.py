"""TimeGPT's protocol, so that its client asks this service unchanged."""
