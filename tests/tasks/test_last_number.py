"""Numbers as people and models write them: a right one is paid however it is written, and a wrong one is not."""

import time
from fractions import Fraction

import pytest

from hf_gpt.tasks.last_number import is_number, last_number
from hf_gpt.tasks.reinforcement import is_right


RIGHT = [
    ("3", "3.0"), ("3.0", "3"), ("It is 3.5", "3.5"), ("0.10", ".1"), ("1,000", "1000"), ("1000", "1,000.0"), ("7", "+7"),
    ("+7", "7"), ("1,234,567.50", "1234567.5"), ("1 000", "1000"), ("1\u202f000", "1000"), ("1'000", "1000"),
    ("1_000", "1000"), ("007", "7"), ("It is 42.", "#### 42"), ("so 6 * 7 = 42\n#### 42", "42"),
    ("42", "He has 6 * 7 = 42 eggs, 3 a day. #### 42"), ("It is 42!", "It is 42."), ("\u22125", "-5"), ("-5", "\u22125"),
    ("\u20135", "-5"), ("x = -5", "-5"), ("(-5)", "-5"), ("-$5", "-5"), ("$-5", "-5"), ("-0", "0"), ("$5", "5"),
    ("5 \u20ac", "5"), ("\u20ac5", "$5"), ("5%", "5"), ("12 %.", "12"), ("1e3", "1000"), ("1.5E+2", "150"), ("1e-1", "0.1"),
    ("3/5", "0.6"), ("0.6", "3/5"), ("3 / 5", "6/10"), ("1 1/2", "1.5"), ("-1 1/2", "-1.5"), ("\\frac{1}{2}", "0.5"),
    ("$\\boxed{42}$", "42"), ("\u0664\u0662", "42"), ("**42**", "42"), ("81 or 82", "82"), ("5kg", "5"), ("10 - 5", "5"),
    ("is it 5: yes", "5"), ("Paris", " Paris "), ("42 cm^2", "42"), ("42 m^{2}", "42"), ("42 m\xb2", "42"), ("-\u20a95", "-5"),
    ("of 3\n1/2", "0.5"), ("x^2 = 9", "9"), ("**42**, so", "42"),
]  # fmt: skip
WRONG = [
    ("The result is 0.5", "5"), ("2.5", "5"), (".5", "5"), ("3/5", "5"), ("3 / 5", "5"), ("\\frac{3}{5}", "5"),
    ("1 3/5", "3/5"), ("1e3", "3"), ("2,5", "5"), ("1,000", "0"), ("1,000", "1"), ("1 000", "0"), ("1,00", "100"),
    ("-5", "5"), ("\u22125", "5"), ("5", "-5"), ("81 or 82", "81"), ("10^5", "5"), ("10^5", "10"), ("5\xb2", "5"),
    ("2\xbd", "2"), ("v1.2.5", "5"), ("1.2.5", "2.5"), ("3/5/2025", "2025"), ("12:30", "30"), ("6/0", "0"), ("6/0", "6"),
    ("1e3333", "1"), ("1e3333", "3333"), ("", "0"), ("none", "0"), ("it is 5, not 6", "5"), ("x.5", "5"),
    ("Paris 5", "Paris"), ("0.3333", "1/3"), ("#### 42 and 5", "42"), ("1e999999999", "1"),
    ("10^{5}", "5"), ("10^-5", "-5"), ("10**5", "5"), ("10**5", "10"), ("42 cm^2", "2"), ("x**2", "2"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer"), RIGHT)
def test_the_same_number_is_right(text, answer):
    assert is_right(text, answer)


@pytest.mark.parametrize(("text", "answer"), WRONG)
def test_another_number_is_wrong(text, answer):
    assert not is_right(text, answer)


def test_numbers_are_exact_and_long_texts_are_read_in_no_time():
    assert last_number("0.1") == Fraction(1, 10)
    assert last_number("1" * 6000) == (10**6000 - 1) // 9
    assert last_number("9007199254740993") != last_number("9007199254740992")
    began = time.perf_counter()
    for part in ("1", "1,", "1/", "1 ", "1e", "-", ".", "123,456", r"\frac{", "0'"):
        last_number(part * 20_000)
    assert time.perf_counter() - began < 20


def test_what_is_a_number_and_no_more():
    assert all(map(is_number, ("5", "-1,000.5", "$5", "5%", "3/5", "1e3", "He has 42. #### 42", "42.")))
    assert not any(map(is_number, ("Apollo 11", "5 or 6", "1.2.5", "", "No 5")))
