"""What a model has to beat: the held-out errors of the mean and of PCA, from moments alone.

A scaling is affine, x' = (x - shift) * factor, so the moments of scaled rows are those of raw ones times
factors, and the errors at every code size follow from one eigendecomposition, without another look at the
rows. Errors are summed over a row's features and averaged over held-out rows; the PCA is the training rows',
around their mean.
"""

from __future__ import annotations

import hashlib

import numpy as np

from autoencoders.data.arrays import Floats
from autoencoders.data.moments import Moments
from autoencoders.data.scaling import Affine

__all__ = ["Moments", "mean_error", "pca_error", "pca_errors"]


def mean_error(moments: Moments, affine: Affine) -> float:
    """The squared error, on held-out rows in scaled units, of answering the training mean to every row."""
    factor = affine.factor.astype(np.float64)
    return float(np.sum(factor**2 * moments.held_out_variance))


def pca_error(moments: Moments, affine: Affine, components: int) -> float | None:
    """The same of the training rows' best linear code of that size; None where no covariance was kept."""
    if moments.covariance is None:
        return None
    errors = pca_errors(moments, affine)
    return float(errors[min(components, len(errors) - 1)])


def pca_errors(moments: Moments, affine: Affine) -> Floats:
    """PCA's held-out errors at code sizes 0 to d, [d + 1]; the decomposition is kept with the moments.

    Writing C for the scaled training covariance with eigenvectors v_i (largest eigenvalue first) and H for
    the scaled held-out second moment, the error at k components is trace(H) - sum_{i<=k} v_i^T H v_i.
    """
    if moments.covariance is None or moments.held_out_second_moment is None:
        raise ValueError("these moments hold no covariance")
    factor = affine.factor.astype(np.float64)
    # A common factor turns no eigenvector: the raw decomposition serves `none`, `unit` and every other
    # uniform scaling.
    uniform = float(factor[0]) if np.all(factor == factor[0]) else 1.0
    relative = factor / uniform
    key = hashlib.sha256(relative.tobytes()).digest()
    if key not in moments.spectra:
        while len(moments.spectra) >= 8:
            moments.spectra.pop(next(iter(moments.spectra)))
        moments.spectra[key] = _errors(moments.covariance, moments.held_out_second_moment, relative)
    return uniform**2 * moments.spectra[key]


def _errors(covariance: Floats, second_moment: Floats, factor: Floats) -> Floats:
    _, vectors = np.linalg.eigh(covariance * factor[:, None] * factor)
    vectors = vectors[:, ::-1]
    held_out = second_moment * factor[:, None] * factor
    captured = np.einsum("ij,ij->j", vectors, held_out @ vectors)
    # Summed from the small end: errors near full size are not the difference of two large sums.
    left: Floats = np.append(np.cumsum(captured[::-1])[::-1], 0.0)
    return np.maximum(left, 0.0)
