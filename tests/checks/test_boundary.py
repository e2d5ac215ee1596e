"""What a file of JSON may hold, and what is said of one that holds something else."""

import pytest

from hf_gpt.checks.boundary import read_object
from hf_gpt.data.labels import read_literal
from hf_gpt.errors import InputError
from hf_gpt.reports.origin import origin_of
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


@pytest.mark.parametrize(
    "deep", ["[" * 5000 + "]" * 5000, '{"a": ' * 5000 + "1" + "}" * 5000, "[" * 200_000], ids=["lists", "objects", "cut"]
)
def test_what_is_nested_too_deeply_is_refused_wherever_it_is(deep, tmp_path):
    with pytest.raises(ValueError, match=r"^(\[\[|.\"a\")"):
        read_literal(deep)
    (tmp_path / "README.md").write_text(f"---\nlicense: {deep}\n---\n")
    with pytest.raises(InputError, match=r"README\.md has metadata that cannot be read"):
        origin_of(str(tmp_path))
