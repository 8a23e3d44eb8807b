"""The metrics by name, by path and from a Space, with and without the package."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from support.clients import client, without_package
from support.clips import tone
from support.hub_server import HubServer
from support.needs import missing
from support.paths import ROOT
from teminal_hf.commands import cli
from teminal_hf.evaluation import zste

ITEMS = {"predictions": [[0.3, 0.1], [0.2, 0.4], [0.9, 0.1, 0.2]], "references": [[0], [0], [0]]}
ITEMS["tasks"] = ["3O", "3O", "3A"]
TRUTH = zste.score(**ITEMS)
COMPUTE = """
import json, evaluate
for load in json.loads({loads!r}):
    print(json.dumps(eval("evaluate." + load).compute(**json.loads({items!r}))))
"""


def code(*loads: str) -> str:
    return COMPUTE.format(loads=json.dumps(loads), items=json.dumps(ITEMS))


def results(said: str, n: int) -> list[dict]:
    return [json.loads(line) for line in said.splitlines()[-n:]]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    folder = tmp_path_factory.mktemp("metric")
    with HubServer() as hub:
        push = ["-m", "teminal_hf.commands.cli", "metric", "push", "--to", "teminal/zste"]
        assert f"{hub.url}/spaces/teminal/zste" in client(hub, folder, *push, cwd=folder)
        yield hub


def test_the_space_holds_the_metric_the_card_and_the_page(published: HubServer) -> None:
    files = published.repo("space", "teminal/zste").files
    assert set(files) == {"zste.py", "README.md", "app.py", "requirements.txt"}
    assert files["zste.py"] == (ROOT / "teminal_hf" / "evaluation" / "zste.py").read_bytes()
    assert files["README.md"] == (ROOT / "hub_cards" / "zste" / "README.md").read_bytes()


@pytest.fixture
def space(published: HubServer, tmp_path: Path) -> Path:
    """The Space's files in a folder, as a clone of it has them."""
    folder = tmp_path / "space" / "zste"
    folder.mkdir(parents=True)
    for name, content in published.repo("space", "teminal/zste").files.items():
        (folder / name).write_bytes(content)
    return folder


def test_without_the_package_from_the_space_and_by_path(published: HubServer, space: Path, tmp_path: Path) -> None:
    loads = ['load("teminal/zste")', 'combine(["teminal/zste"])', f"load({str(space)!r})"]
    assert results(without_package(published, tmp_path, code(*loads), cwd=tmp_path), 3) == [TRUTH] * 3
    asked = len(published.requests)  # what was downloaded once works offline
    offline = {"HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
    assert results(without_package(published, tmp_path, code(*loads), cwd=tmp_path, **offline), 3) == [TRUTH] * 3
    assert len(published.requests) == asked


def test_with_the_package_no_hub_is_asked(published: HubServer, tmp_path: Path) -> None:
    loads = ['load("zste")', 'load("teminal/zste")', 'combine(["zste"])']
    asked = len(published.requests)
    said = client(published, tmp_path, "-c", "import teminal_hf\n" + code(*loads), cwd=tmp_path)
    assert results(said, 3) == [TRUTH] * 3
    assert len(published.requests) == asked


def test_another_name_for_the_space_is_refused() -> None:
    with pytest.raises(SystemExit, match="NAME/zste or NAME/clap_order, not teminal/order"):
        cli.main(["metric", "push", "--to", "teminal/order"])


def test_clap_order_is_pushed_too_and_its_page_computes(published: HubServer, tmp_path: Path) -> None:
    push = ["-m", "teminal_hf.commands.cli", "metric", "push", "--to", "teminal/clap_order"]
    assert "/spaces/teminal/clap_order" in client(published, tmp_path, *push, cwd=tmp_path)
    files, cards = published.repo("space", "teminal/clap_order").files, ROOT / "hub_cards" / "clap_order"
    assert set(files) == {"clap_order.py", "README.md", "app.py", "requirements.txt"}
    assert files["clap_order.py"] == (ROOT / "teminal_hf" / "integrations" / "clap_order.py").read_bytes()
    assert all(files[name] == (cards / name).read_bytes() for name in ("README.md", "app.py", "requirements.txt"))
    if importlib.util.find_spec("gradio") is None:
        missing('the page needs gradio: pip install "teminal-hf[demo]"')
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    soundfile.write(tmp_path / "sound.wav", tone(300, 1, 16_000), 16_000)
    said = client(published, tmp_path, "-c", ORDER_PAGE, cwd=tmp_path)
    assert "there is no file none.wav" in said
    result, given = results(said, 2)
    assert result["n_order"] == 1 and given["n_order"] == 1 and result["margins"] != given["margins"]


ORDER_PAGE = """
import json, sys
sys.path.insert(0, ".")
import app, gradio
assert isinstance(app.page(), gradio.Blocks)
try:
    app.compute("none.wav", app.EXAMPLE, "", "clap-mini")
except gradio.Error as error:
    print(error)
print(json.dumps(app.compute("sound.wav", app.EXAMPLE, "", "clap-mini")))
print(json.dumps(app.compute("sound.wav", app.EXAMPLE, "wind", "clap-mini")))
"""
PAGE = """
import json, sys
sys.path.insert(0, {folder!r})
import app, gradio
assert isinstance(app.page(), gradio.Blocks)
try:
    app.compute(json.dumps(json.loads({items!r}) | {{"tasks": ["9", "3O", "3A"]}}))
except gradio.Error as error:
    print(error)
print(json.dumps(app.compute({items!r})))
"""


def test_the_page_computes(published: HubServer, space: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("gradio") is None:
        missing('the page needs gradio: pip install "teminal-hf[demo]"')
    page = PAGE.format(folder=str(space), items=json.dumps(ITEMS))
    said = without_package(published, tmp_path, page, cwd=tmp_path)
    assert "unknown task '9'" in said and results(said, 1) == [TRUTH]
