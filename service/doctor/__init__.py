"""`gatecast doctor`: what a service would find here, and what looks wrong."""
