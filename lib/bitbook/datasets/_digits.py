"""The bundled digits: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, with a split that never changes."""

from pathlib import Path

import numpy as np

# What `write` made and the pipeline tracks: in the source tree, next to lib/.
BUNDLED = Path(__file__).parents[3] / "data" / "digits.npz"


def arrays() -> dict[str, np.ndarray]:
    """Return x_train (1437, 8, 8), y_train, x_test (360, 8, 8), y_test, all uint8; every fifth image is a test image.

    The grey values 0..16 of the source (UCI, optical recognition of handwritten digits) are stretched to 0..255.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8)
    labels = digits.target.astype(np.uint8)  # (1797,)
    test = np.arange(len(labels)) % 5 == 0
    return {"x_train": images[~test], "y_train": labels[~test], "x_test": images[test], "y_test": labels[test]}


def write(path: Path) -> None:
    """Write the digits as a canonical .npz file, the same bytes every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays())  # type: ignore[arg-type]  # numpy: any name may be that of an option
