"""Texts that are nearly the same, so that a split can keep them on one side."""

import re
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components


_WORD = re.compile(r"\w+")
# Shared words over all words of two texts (Jaccard 1912). QuaRTz falls apart into 1,838 pairs and few larger groups at 0.55; at 0.5
# chains of pairs begin to grow together.
SIMILARITY = 0.55


def groups_of(texts: Sequence[str]) -> list[str]:
    """For each text the first text of its group; texts of more than `SIMILARITY` are in one group, and so are their neighbours."""
    words = [sorted(set(_WORD.findall(text.lower()))) for text in texts]
    columns: dict[str, int] = {}
    indices = [columns.setdefault(word, len(columns)) for row in words for word in row]
    sizes = np.array([len(row) for row in words])
    ends = np.concatenate([[0], np.cumsum(sizes)])
    occurs = csr_matrix((np.ones(len(indices), dtype=np.int32), indices, ends), shape=(len(texts), len(columns)))
    shared = (occurs @ occurs.T).tocoo()
    similarity = shared.data / (sizes[shared.row] + sizes[shared.col] - shared.data)
    alike = similarity > SIMILARITY
    edges = csr_matrix((similarity[alike], (shared.row[alike], shared.col[alike])), shape=(len(texts), len(texts)))
    labels = connected_components(edges, directed=False)[1]
    first: dict[int, str] = {}
    return [first.setdefault(label, text) for label, text in zip(labels.tolist(), texts)]
