"""The card that travels with a model's weights: what it is, what it saw, and how well it does."""

from __future__ import annotations

import json

from autoencoders.bundle import SCALING, BundleManifest

WEIGHTS_NAME = "model.safetensors"


def card(name: str, version: int, manifest: BundleManifest) -> str:
    """`README.md` for a model's weights, with the YAML head that model hubs read."""
    spec, facts = manifest.spec, manifest.facts
    architecture = spec["architecture"]
    return f"""---
library_name: hourglass
tags:
- autoencoder
- {architecture["name"]}
---

# {name}, version {version}

An autoencoder of {manifest.parameters:,} parameters: rows of shape {list(facts.shape)} to a
{architecture["code"]["name"]} code of {manifest.code_size} numbers and back.

| held-out squared error per row, in scaled units | |
| --- | --- |
| this model | {manifest.metrics.error:.6g} |
| PCA at this code size | {_number(manifest.baselines.get("pca"))} |
| the mean | {_number(manifest.baselines.get("mean"))} |

It explains {100 * manifest.metrics.explained_variance:.2f} % of the held-out rows' variance.

## Provenance

| | |
| --- | --- |
| weights (SHA-256) | `{manifest.weights_sha256}` |
| dataset (SHA-256) | `{manifest.dataset_sha256}` |
| rows | {facts.training_rows:,} trained on, {facts.held_out_rows:,} held out, {facts.dtype} |
| seed | {spec["training"]["seed"]} |
| space of its codes | `{manifest.space or "its own"}` |
| made with | {", ".join(f"{key} {value}" for key, value in sorted(manifest.versions.items()))} |

## Files

`{WEIGHTS_NAME}` holds the state dict, tensors alone. `{SCALING}` holds the scaling: a row goes in as
`(raw - shift) * factor` and comes out as `scaled / factor + shift`. `config.json` is the spec that follows.

```json
{json.dumps(spec, indent=1, sort_keys=True)}
```
"""


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"
