"""The experiment and the bench: test functions, engines side by side, reports."""
