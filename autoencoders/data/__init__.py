"""Rows: uploads made into one canonical memory-mappable folder; its split, moments, scaling and samples.

Nothing here imports torch, so that a bounded child process can parse an upload in a fraction of a second.
"""

from autoencoders.data.baselines import mean_error, pca_error
from autoencoders.data.canonical import write_rows
from autoencoders.data.dataset import Dataset
from autoencoders.data.manifest import Column, Facts, Manifest, Statistics
from autoencoders.data.moments import FeatureStatistics, Moments
from autoencoders.data.options import After, Fraction, Group, Holdout, Limits, Other, ReadOptions
from autoencoders.data.order import Window, epoch_order
from autoencoders.data.readers import read
from autoencoders.data.samples import SampleRows, samples, write_sample
from autoencoders.data.scaling import Affine, fit_scaling, scaled_range, scalings

__all__ = [
    "Affine",
    "After",
    "Column",
    "Dataset",
    "Facts",
    "FeatureStatistics",
    "Fraction",
    "Group",
    "Holdout",
    "Limits",
    "Manifest",
    "Moments",
    "Other",
    "ReadOptions",
    "SampleRows",
    "Statistics",
    "Window",
    "epoch_order",
    "fit_scaling",
    "mean_error",
    "pca_error",
    "read",
    "samples",
    "scaled_range",
    "scalings",
    "write_rows",
    "write_sample",
]
