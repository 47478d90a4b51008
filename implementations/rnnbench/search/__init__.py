"""Hyperparameter search over trainings, shared by any number of workers that may be killed.

plan     parameters, strategy and seed: slots 0 … N−1, one trial each
worker   takes slots until each has its result
results  a study as rows, and its record for the report
"""
