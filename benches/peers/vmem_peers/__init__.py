"""Replaying traces through the allocators that vmem is compared with.

A package, so that none of its modules stands in the way of an installed one: Python looks for
imports of every library beside the script first.
"""
