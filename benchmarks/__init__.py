"""How fast, and how good? Speed and quality, kept with their results."""
