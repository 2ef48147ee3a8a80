"""Smoothed inference for adversarially trained models: noise, attacks, votes, records and reports."""
