"""What the fuzz tests count, for the record of `make fuzz`."""

from collections import Counter

import pytest


@pytest.fixture
def outcomes(record_property):
    """How many examples were used and how many refused."""
    counts = Counter()
    yield counts
    assert counts["used"]
    for name, count in counts.items():
        record_property(name, count)
