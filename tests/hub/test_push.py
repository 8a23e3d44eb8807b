"""Messages of pushes that fail: one clean line, and the command that tries again."""

from pathlib import Path
from typing import Any

import pytest

from teminal_hf.errors import ConfigError, DataError, PushError
from teminal_hf.hub import push
from teminal_hf.hub.push import push_folder
from teminal_hf.integrations.publishing import push_metric

PORTAL = "502 Bad Gateway for url: https://hub/api/x. <!DOCTYPE html><html><body>Sign in to the network</body></html>"
TWICE = "404 Client Error. (https://hub/api/x) Not found: https://hub/api/x."


@pytest.mark.parametrize("text, reason", [(PORTAL, "502 Bad Gateway for url: https://hub/api/x"), (TWICE, "")])
def test_a_reason_is_one_clean_line(text: str, reason: str) -> None:
    line = push._reason(RuntimeError(text))
    assert "<" not in line and "\n" not in line and line.count("https://hub/api/x") == 1
    assert not reason or line == reason


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> str:
        raise PushError("user/x cannot be pushed to (403 Forbidden). The token may not write there.")

    monkeypatch.setattr(push, "make_repo", refuse)


@pytest.mark.usefixtures("refusing")
def test_every_failure_names_the_retry(tmp_path: Path) -> None:
    with pytest.raises(PushError, match=r"Try again with: teminal metric push --to user/zste --private$"):
        push_metric("user/zste", private=True)
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(PushError, match=r"nothing is lost: .* again, please$"):
        push_folder(tmp_path, "user/x", "model", ["*.txt"], retry="again, please")


@pytest.mark.usefixtures("refusing")
def test_what_cannot_be_pushed_is_said_before_the_hub_is_asked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds nothing to push: none of \*\.txt"):
        push_folder(tmp_path, "user/x", "model", ["*.txt"], retry="")
    (tmp_path / "a.bin").touch()
    with pytest.raises(DataError, match=r"a\.bin: a pickle runs code"):
        push_folder(tmp_path, "user/x", "model", ["*"], retry="")
    with pytest.raises(ConfigError, match="Repo id must"):
        push_folder(tmp_path, "a/b/c", "model", ["*"], retry="")
