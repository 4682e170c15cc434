"""Serving: from a request's bytes to a model's answer."""
