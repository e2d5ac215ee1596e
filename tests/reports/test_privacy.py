"""What must not be published is found, and what only looks like it is not."""

import pytest

from hf_gpt.errors import InputError
from hf_gpt.reports.privacy import check_public, without_secrets


PRIVATE = [
    "hf_" + "a1B2" * 9,
    "token: hf_" + "a1B2" * 9 + ", keep",
    "ghp_" + "a1B2" * 9,
    "-----BEGIN RSA PRIVATE KEY-----",
    "https://alice:pass@example.org/data",
    "see postgresql://alice:p%40ss@127.0.0.1:5432/x, please",
    "ftp://:secret@[::1]/x",
    "/home/alice/data",
    "file:///home/alice/data",
    "/Users/alice",
    "/root/corpus.txt",
    "C:\\Users\\alice\\data",
]
PUBLIC = [
    "modeling_hf_gpt.GPTForSequenceClassificationWithAVeryLongNameIndeed",
    "hf_gpt",
    "https://example.org/home/alice",
    "https://example.org:8080/a@b",
    "https://alice@example.org/x",
    "http://example.org/?mail=a:b@c.org",
    "at 10:30 alice@example.org",
    "https://{user}:{password}@host",
    "runs/home/alice",
    "/data/shared/corpus.txt",
    "/rooted/tree",
    "the home of alice",
]


@pytest.mark.parametrize("text", PRIVATE)
def test_private(text):
    with pytest.raises(InputError, match=r"record\.json: recipe\.files\[1\] holds"):
        check_public({"recipe": {"files": ["corpus.txt", text]}}, "record.json")
    with pytest.raises(InputError, match=r"the card holds"):
        check_public(f"A card with {text} in it", "the card")
    with pytest.raises(InputError, match=r"record\.json holds"):
        check_public({text: 1}, "record.json")


@pytest.mark.parametrize("text", PUBLIC)
def test_public(text):
    check_public({"recipe": {"files": [text], "rate": 0.1, "none": None}}, "record.json")


def test_the_token_in_use_and_this_home_are_found_whatever_they_look_like(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "unusual-token")
    monkeypatch.setenv("HOME", "/data/people/alice")
    with pytest.raises(InputError, match="holds an access token") as caught:
        check_public("with unusual-token in it", "the card")
    assert "unusual-token" not in str(caught.value)
    assert without_secrets("refused unusual-token and hf_" + "x" * 34) == "refused *** and ***"
    for text in ("/data/people/alice/run", "in /data/people/alice"):
        with pytest.raises(InputError, match="holds the folder '/data/people/alice'"):
            check_public({"samples": [text]}, "record.json", generated=("samples",))
    check_public({"samples": ["/data/people/alice2 and /home/user/x"]}, "record.json", generated=("samples",))


def test_the_password_of_an_address_is_taken_out_of_messages():
    assert without_secrets("no way to https://alice:pass@example.org/x") == "no way to https://***@example.org/x"


def test_a_secret_is_never_shown():
    secret = "hf_" + "S" * 34
    with pytest.raises(InputError) as caught:
        check_public({"a": secret}, "record.json")
    assert secret not in str(caught.value)
