"""Heat conduction in a rod: the smallest plugin of `sciml` that has everything."""
