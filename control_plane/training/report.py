"""The reports that training attaches to a version, as canonical JSON."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from compiler.models.host import host_class
from compiler.models.session import RUNTIME_VERSION
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


def cost_report(package: str, cost_us: float) -> bytes:
    """What one row takes, measured by the serving engine where the package was built.

    Args:
        package: digest.
        cost_us: a cautious figure, see :mod:`serving.cost`.
    """
    return _encoder.encode(
        {
            "format": "interlock/cost/v1",
            "package": package,
            "cost_us": round(cost_us, 2),
            "host": host_class(),
            "runtime": RUNTIME_VERSION,
        }
    )
