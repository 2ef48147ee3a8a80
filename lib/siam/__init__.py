"""Smoothed inference for adversarially trained models: noise, attacks, votes, and records of what they gave.

The flow is one way: images -> classifier (+ noise) -> attack -> tally -> voting rule -> record -> report.
Modules that compute, `siam.studies` and `live.choose` among them, import torch; records, `siam.pages`, `siam.claims`, `explorer` and the
rest of `live` do not.
"""
