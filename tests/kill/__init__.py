"""Whatever is killed, whenever: every accepted event has one decision, and nothing is forgotten."""
