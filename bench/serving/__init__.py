"""How fast the infer service is, beside what others have: see README.md."""
