"""The joining side: a component's settings, its key, its tunnel, and the application that it runs."""
