"""The documents agree with each other and with the code: links, names, pictures, tables, and the site that is built."""

import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import teminal_hf
from support.documents import PAGES, blocks, languages, prose, read
from support.needs import missing
from support.paths import ROOT, TESTS
from teminal_hf.evaluation.zste import CITATION, TASKS
from test_rooms import ROOMS

DOCS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md"))
FOLDERS = ("benchmarks", "recipes", "recipes/esc50_base")
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *DOCS, *(f"{folder}/README.md" for folder in FOLDERS)]
ON_GITHUB = re.compile(r"https://github\.com/teminal/teminal_hf/(?:blob|tree)/main/")
CONSTRAINTS = dict(line.split("==") for line in read("constraints.txt").splitlines() if "==" in line and line[0] != "#")


def anchors(page: str) -> set[str]:
    """What links can point to, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", DOCUMENTS)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = ON_GITHUB.sub("/", link).partition("#")
        if path.startswith(("http:", "https:")):
            continue
        target = ROOT / path.lstrip("/") if path.startswith("/") else (ROOT / page).parent / path
        target = target if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.resolve().relative_to(ROOT).as_posix()), link


@pytest.mark.parametrize("page", ["README.md", *DOCS])
def test_code_is_run_or_is_marked_as_text(page: str) -> None:
    allowed = {"bash", "python", "text"} if page in PAGES else {"text"}
    assert languages(page) <= allowed


@pytest.mark.parametrize("page", DOCUMENTS)
def test_targets_of_make_are_there(page: str) -> None:
    named = set(re.findall(r"`make ([\w-]+)`", read(page))) | set(re.findall(r"^make ([\w-]+)", read(page), re.M))
    assert named <= set(re.findall(r"^([\w-]+):", read("Makefile"), re.M))


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", *DOCS])
def test_files_and_tests_that_are_named_are_there(page: str) -> None:
    for name in re.findall(r"`([\w.-]+/[\w./-]+\.(?:py|jinja|ya?ml))`", prose(page)):
        assert (ROOT / name).is_file() or (ROOT / "teminal_hf" / name).is_file(), name
    tests = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", prose(page)):
        assert f"def {name}(" in tests, name


def test_the_picture_shows_the_rooms_in_their_order() -> None:
    picture = blocks("docs/architecture.md", "text")[0]
    assert re.findall(r"^(\w+)  ", picture, re.M) == ROOMS


def test_the_table_of_tasks_names_them_all() -> None:
    table = read("docs/evaluate.md").partition("## What ZSTE asks")[2].partition("\n## ")[0]
    assert re.findall(r"^\| ([\w@]+) \|", table, re.M)[1:] == list(TASKS)


def test_the_api_shows_every_public_name_where_it_is_defined() -> None:
    shown = set(re.findall(r"^::: (\S+)$", read("docs/api.md"), re.M))
    assert "teminal_hf.errors" in shown
    for name in set(teminal_hf.__all__) - {"TeminalError"}:
        assert f"{getattr(teminal_hf, name).__module__}.{name}" in shown


def test_the_citation_is_the_metrics() -> None:
    software = yaml.safe_load(read("CITATION.cff"))
    assert (software["version"], software["license"]) == (teminal_hf.__version__, "Apache-2.0")
    paper = software["preferred-citation"]
    authors = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    for value in (paper["title"], authors, paper["journal"], str(paper["year"])):
        assert f"{{{value}}}" in CITATION


def test_the_fast_tests_are_there() -> None:
    named = re.search(r"^FAST := ((?:.*\\\n)*.*)$", read("Makefile"), re.M)
    assert named
    files = named[1].replace("\\", "").split()
    assert len(files) == len(set(files)) > 20
    assert all((ROOT / file).is_file() for file in files)


def test_versions_are_those_that_are_tested_together() -> None:
    hooks = {repo["repo"].rpartition("/")[2]: repo for repo in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]}
    assert hooks["ruff-pre-commit"]["rev"] == f"v{CONSTRAINTS['ruff']}"
    extra = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]["docs"]
    assert {re.split(r"[\[<>=]", requirement)[0] for requirement in extra} <= set(CONSTRAINTS)


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    if find_spec("mkdocs") is None or find_spec("mkdocstrings") is None:
        missing("the site needs the extra docs, which is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "temporal_contrastive_loss" in (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
