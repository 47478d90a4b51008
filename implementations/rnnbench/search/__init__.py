"""Hyperparameter search over trainings, shared by any number of workers, killed at any moment.

plan     what is searched, how, and by which seed: slots 0 … N−1, one trial each
worker   takes slots until each has its result
results  a study as rows, and what is kept for the report
"""
