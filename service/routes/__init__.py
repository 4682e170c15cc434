"""The routes: one file holds a resource's paths."""
