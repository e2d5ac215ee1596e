"""What a file of JSON may hold, and what is said of one that holds something else."""

import pytest

from hf_gpt.checks.boundary import read_object
from hf_gpt.errors import InputError
from hf_gpt.run_folder.checkpoints import find_damage


# No JSON, no UTF-8, a number that Python will not convert, brackets beyond its stack.
BROKEN = [b"", b"{", b"\xff", b"9" * 5000, b'{"a": ' + b"9" * 5000 + b"}", b"[" * 100_000]


@pytest.mark.parametrize("content", BROKEN, ids=["empty", "cut", "bytes", "digits", "digits in it", "brackets"])
def test_a_file_that_is_no_json_is_named(content, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json is not JSON .*: save it again\.$"):
        read_object(tmp_path / "config.json", "save it again.")
    (tmp_path / "sha256.json").write_bytes(content)
    assert find_damage(tmp_path) == "is damaged: its sha256.json cannot be read"
