"""A Hub on loopback, for the real clients: the part of the Hub's HTTP API that huggingface_hub 2, datasets,
transformers and evaluate use to create, upload, list and download, kept in memory. It can be told to fail.

    with HubServer() as hub:
        subprocess.run([...], env={**os.environ, **hub.env(tmp_path)})   # clients read these when they are imported
        hub.fail("PUT", "/lfs/", status=500)                             # the next such request is answered by a 500
        hub.fail("POST", "/commit/", nth=2, times=1, cut=True)           # the second one is cut off
        hub.repo("model", "tester/name").files                           # {path: bytes} at the head
        hub.requests                                                     # ["POST /api/repos/create", ...]

Any token but "bad" is the user "tester"; without a token public repositories can be read. Repositories of the
organisations `teminal` and `evaluate-metric` can be written too. What is private is not found without a token.
"""

import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from support.hub_endpoints import TOKEN, Handler
from support.hub_state import Failure, Repo


class HubServer:
    """A running Hub; `url` is its address."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.blobs: dict[str, bytes] = {}  # uploaded over LFS, by sha256
        self.requests: list[str] = []
        self.failures: list[Failure] = []
        self.lock = threading.RLock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def env(self, home: Path | str, token: str | None = TOKEN) -> dict[str, str]:
        """What a client process needs: this Hub, caches of its own under `home`, no other network."""
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_DATASETS_CACHE": f"{home}/datasets"}
        own |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "0"}
        own["HF_UPDATE_DOWNLOAD_COUNTS"] = "0"  # evaluate would tell the real one
        own |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0" if token else "1"}
        return own | {"HF_TOKEN": token or "", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def repo(self, kind: str, name: str) -> Repo:
        return self.repos[kind, name]

    def fail(
        self, method: str, path: str, *, status: int | None = None, cut: bool = False, nth: int = 1, times: int = 1
    ) -> None:
        """Answer the n-th request from now on (and the `times` - 1 after it) whose path holds the pattern by `status`,
        or cut the connection after a part of it was read."""
        assert cut == (status is None)
        self.failures.append(Failure(method, path, nth, times, status))
