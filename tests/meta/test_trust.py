"""What a person checks before they trust a project: its version, how to cite it, licences of its data, and that it can be released."""

import re

import pytest
import yaml
from tests.conftest import ROOT

import hf_gpt
from hf_gpt.data.packages import PACKAGES


CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")}


def steps_of(workflow):
    return [step for job in WORKFLOWS[workflow]["jobs"].values() for step in job["steps"]]


def test_one_version_is_everywhere():
    newest, date = re.search(r"^## (\S+) \((\S+)\)$", CHANGELOG, flags=re.MULTILINE).groups()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert newest == hf_gpt.__version__ == citation["version"]
    assert date == citation["date-released"]


def test_the_records_name_the_code_that_runs():
    from hf_gpt.reports.records import versions

    assert versions()["hf-gpt"] == hf_gpt.__version__


def test_a_release_is_built_checked_tried_and_published():
    steps = steps_of("release")
    commands = [step["run"] for step in steps if "run" in step]
    order = ("hatchling version", "-m build", "twine check --strict", "hf-gpt --help")
    found = [next(index for index, command in enumerate(commands) if part in command) for part in order]
    assert found == sorted(found)
    assert WORKFLOWS["release"][True] == {"push": {"tags": ["v*"]}}
    assert WORKFLOWS["release"]["jobs"]["publish"]["permissions"] == {"id-token": "write"}
    assert any("pypi-publish" in step.get("uses", "") for step in steps)
    assert not any("password" in str(step) or "secrets." in str(step) for step in steps)


def test_what_the_workflows_run_is_there():
    for name in WORKFLOWS:
        for step in steps_of(name):
            for path in re.findall(r"(?:^|\s)((?:tests|\.ci)/[\w./]+)", step.get("run", "")):
                assert (ROOT / path).exists(), f"{name}: {path}"


@pytest.mark.parametrize("form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem)
def test_a_form_asks_for_something(form):
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(content)
    assert any(field.get("validations", {}).get("required") for field in content["body"])
    assert len({field["id"] for field in content["body"]}) == len(content["body"])


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes").rglob("*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_a_recipe_names_the_licence_of_its_text(path):
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"path: ([\w-]+)", text):
        if name in PACKAGES:
            assert f"# Licence: {PACKAGES[name].license} (docs/data.md)." in text
