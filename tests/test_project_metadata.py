"""Citation, archive and issue forms agree with pyproject.toml and with each other."""

import json
import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml

from book.pipeline.printing.describe import description
from book.pipeline.printing.settings import project_version, repository, settings

ROOT = Path(__file__).resolve().parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
ZENODO = json.loads((ROOT / ".zenodo.json").read_text())
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml"))


def test_the_version_stands_in_one_place_and_the_citation_repeats_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project_version(ROOT) == project["version"] == CITATION["version"]
    assert "version" not in ZENODO  # Zenodo takes that of the release
    config = settings(ROOT / "_config.yml")
    assert not {"version", "release"} & set(config["sphinx"]["config"])


def test_the_citation_has_what_its_format_requires() -> None:
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(CITATION)
    date.fromisoformat(CITATION["date-released"])
    assert all(isinstance(x, str) for x in CITATION["keywords"])


def test_the_archive_describes_the_same_work() -> None:
    assert ZENODO["title"] == CITATION["title"]
    assert ZENODO["keywords"] == CITATION["keywords"]
    assert ZENODO["license"] == CITATION["license"]
    names = [author["name"] for author in CITATION["authors"]]
    assert [creator["name"] for creator in ZENODO["creators"]] == names


@pytest.mark.parametrize("file", FORMS, ids=lambda x: x.stem)
def test_issue_forms_ask_for_what_helps(file: Path) -> None:
    form = yaml.safe_load(file.read_text())
    asked = {"fault": "make doctor", "verdict": "make record NAME="}[file.stem]
    assert asked in file.read_text()
    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))


def test_the_repository_is_one_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPOSITORY", raising=False)
    set_in_config = settings(ROOT / "_config.yml")["repository"]["url"]
    assert repository(ROOT / "_config.yml") == set_in_config
    monkeypatch.setenv("REPOSITORY", "https://github.com/o/r/")
    assert repository(ROOT / "_config.yml") == "https://github.com/o/r"


def test_the_commands_of_a_job_can_be_listed() -> None:
    command = [sys.executable, ".ci/commands", "ci", "book"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(
        r"^make test\nmake book PROFILE=smoke\nmake changed", done.stdout, re.M
    )
    assert "${{" not in done.stdout


def test_a_description_ends_with_a_sentence() -> None:
    text = description(["This sentence is of some forty characters long. " * 9])
    assert len(text) <= 180
    assert text.endswith("long.")
    assert description(["word " * 99]).endswith(" …")
    assert description(["x"]) == ""
