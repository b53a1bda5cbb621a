"""The validation report that training attaches to a version, as canonical JSON."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from control_plane.training import metrics

_encoder = msgspec.json.Encoder(order="sorted")


def validation_report(fitted: Any, built: Any) -> bytes:
    """Figures, calibration and curves of the held-out rows, bound to package and snapshot.

    Args:
        fitted: the fitted recipe with its rows; the parity gate proved that the package answers
            as its pipeline does.
        built: the package.
    """
    loaded, split = fitted.loaded, fitted.split
    document: dict[str, Any] = {
        "format": "interlock/validation/v1",
        "package": built.digest,
        "snapshot": fitted.order.snapshot,
        "rows": "held out from training",
        "metrics": built.manifest.metrics,
    }
    output = loaded.manifest.output
    if output.task == "classification":
        positive = loaded.manifest.positive or output.classes[-1]
        proba = np.asarray(fitted.pipeline.predict_proba(loaded.matrix[split.test]), np.float64)
        score = proba[:, output.classes.index(positive)]
        answer = loaded.target[split.test] == positive
        document["calibration"] = metrics.calibration(score, answer)
        document["roc"] = metrics.roc_points(score, answer)
    return _encoder.encode(document)
