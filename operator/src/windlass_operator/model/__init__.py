"""Model: the versions that runs made, and the aliases that stand for them."""
