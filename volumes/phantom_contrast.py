"""HU of the phantom's tissues before contrast and what each contrast phase adds.

Typical clinical values: unenhanced organs 30-60 HU; arterial: aorta about 300, cortex bright, veins dark;
portal-venous: liver about 110, vessels about 160; late: everything evens out and the renal pelvis fills.
"""

from __future__ import annotations

import numpy as np

from volumes.errors import InputError

PHASES = ("non-contrast", "arterial", "portal-venous", "late")

# tissue: (unenhanced HU, added in the arterial, portal-venous, late phase)
TISSUES: dict[str, tuple[float, float, float, float]] = {
    "liver": (56, 10, 52, 38),
    "spleen": (48, 72, 70, 48),
    "cortex": (33, 140, 155, 115),
    "medulla": (30, 35, 120, 120),
    "pelvis": (6, 0, 8, 330),
    "pancreas": (40, 62, 50, 32),
    "aorta": (42, 270, 115, 75),
    "cava": (40, 45, 100, 74),
    "portal vein": (41, 75, 125, 78),
    "hepatic vein": (41, 12, 118, 76),
    "adrenal": (28, 45, 45, 28),
    "gallbladder": (8, 0, 0, 3),
    "gallbladder wall": (30, 20, 40, 30),
    "oesophagus": (36, 20, 28, 22),
    "gut wall": (38, 32, 48, 34),
    "muscle": (52, 4, 10, 10),
    "heart": (42, 150, 105, 72),
    "marrow": (170, 8, 15, 12),
    "disc": (82, 0, 4, 4),
    "skin": (5, 5, 10, 10),
    "cord": (28, 2, 4, 4),
}


def tissue_hu(rng: np.random.Generator, phase: str) -> dict[str, float]:
    """HU of every tissue for one patient: phase, strength of the bolus and each tissue's own variation.

    InputError for an unknown phase.
    """
    if phase not in PHASES:
        raise InputError(
            "phantom phase",
            found=repr(phase),
            expected=f"one of {', '.join(PHASES)}",
            fix="correct the phase",
        )
    column = PHASES.index(phase)
    bolus = rng.uniform(0.85, 1.15)
    fatty_liver = rng.choice([0.0, 0.0, 0.0, 0.0, rng.uniform(10, 35)])
    made = {}
    for name, values in TISSUES.items():
        base = values[0] + rng.normal(0, 2.0)
        taken_up = bolus * rng.uniform(0.95, 1.05)  # drawn in every phase: a patient's base stays the same
        added = 0.0 if column == 0 else values[column] * taken_up
        made[name] = base + added
    made["liver"] -= float(fatty_liver)
    made["fat"] = rng.uniform(-112, -96)
    made["lung"] = rng.uniform(-880, -820)
    made["bone"] = rng.uniform(380, 560)
    return made
