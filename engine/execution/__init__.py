"""Running protocols: executors and the whole chain."""
