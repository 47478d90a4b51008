"""Fixtures: a published site of made-up results, and a browser whose network is cut off."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import comparing
import judgements
import pytest
import synthetic
from playwright.sync_api import Browser, Page, Route, sync_playwright


@pytest.fixture
def project(tmp_path: Path) -> synthetic.Project:
    """Two commits, nothing measured yet."""
    return synthetic.make_project(tmp_path / "project", ["First", "Second"])


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> synthetic.Project:
    """A published site with three commits, a failed parity, and markup in every name."""
    subjects = ["Begin", f"Say {synthetic.MARKUP}", f'End "&<b>{synthetic.MARKUP}']
    path = tmp_path_factory.mktemp("hostile") / "project"
    project = synthetic.make_project(path, subjects, branch=synthetic.MARKUP)
    wild = synthetic.benchmark(
        "speed.Wild.time_<b>&", "seconds", {**synthetic.AXES, "backend": ["native", '<i>"&']}
    )
    project.benchmarks[wild["name"]] = wild
    for commit in range(3):
        run = project.measure(commit, machine='bench"&<b>')
    synthetic.fail_parity(run, "speed.Inference.time_inference", 30)
    run.records[0]["machine"]["cpu"] = synthetic.MARKUP
    run.records[0]["identity"]["kernel"] = synthetic.MARKUP
    run.records[31].update(status="error", reason=synthetic.MARKUP)
    project.write()
    wrong = comparing.compared("lstm", "training", B=3)
    wrong["lines"][1] |= {"status": "wrong", "detail": synthetic.MARKUP, "median": None}
    wrong["lines"][1] |= {"gflops": None, "ratio_to_native": None}
    wrong["lines"][1] |= {"ratio_to_fastest_reference": None}
    wrong["versions"]["torch"] = synthetic.MARKUP
    wild = comparing.compared(B=5, speeds=comparing.COMPARED | {synthetic.MARKUP: 5.0})
    comparing.write_comparison(project.results, [*comparing.grid(), wrong, wild], 'bench"&<b>')
    comparing.write_roofline(project.results, comparing.roofline(), 'bench"&<b>')
    judgements.write_hostile(
        project.results, project.commits, 'bench"&<b>', synthetic.MARKUP + synthetic.UNFIT
    )
    project.run("-m", "asv", "publish", "--no-pull")
    return project


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        pytest.skip("no chromium on this machine: the pages were not looked at in a browser")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield started
        started.close()


@dataclass
class Visit:
    """A page, with all that must not happen on it."""

    page: Page
    base: str
    foreign: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def guard(self) -> None:
        """Cut off the network but for ``base``, and write down every complaint."""
        self.page.route("**/*", self._judge)
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error {error}"))
        self.page.on(
            "console",
            lambda message: (
                self.complaints.append(f"{message.type} {message.text}")
                if message.type in {"error", "warning"}
                else None
            ),
        )

    def _judge(self, route: Route) -> None:
        if route.request.url.startswith((self.base, "data:", "blob:")):
            route.continue_()
        else:
            self.foreign.append(route.request.url)
            route.abort()

    def is_clean(self) -> bool:
        """No request to another host, no error in the console; what was found is printed."""
        print(self.foreign, self.complaints)
        return not self.foreign and not self.complaints


@pytest.fixture
def served(hostile: synthetic.Project, browser: Browser) -> Iterator[Visit]:
    """The hostile site over loopback, a page to look at it, and what it did wrong."""
    handler = functools.partial(_Quiet, directory=str(hostile.html))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        visit = Visit(context.new_page(), f"http://127.0.0.1:{server.server_port}/")
        visit.guard()
        yield visit
        context.close()
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""
