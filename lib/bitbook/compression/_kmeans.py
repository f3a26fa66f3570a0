"""What users would pick: scikit-learn's k-means, layer by layer, with codebooks that are trained afterwards or not."""

from collections.abc import Mapping

import numpy as np

from bitbook.codes import Coded


def kmeans_layers(tensors: Mapping[str, np.ndarray], k: int | Mapping[str, int], *, seed: int = 0) -> Coded:
    """Return the codes that scikit-learn finds, layer by layer: the best of ten starts, drawn by the seed.

    tensors: float arrays by parameter name. k: one K for all layers, or one by name; fewer where weights are fewer.
    """
    from sklearn.cluster import KMeans

    layers = {}
    for name, tensor in tensors.items():
        clusters = min(k[name] if isinstance(k, Mapping) else k, len(np.unique(tensor)))
        found = KMeans(clusters, n_init=10, random_state=seed).fit(tensor.reshape(-1, 1).astype(np.float64))
        layers[name] = found.labels_.reshape(tensor.shape), found.cluster_centers_.ravel()
    return Coded.by_layer(layers)
