"""Online half of Gatecast: one request in, one forecast out. Never torch, never training."""
