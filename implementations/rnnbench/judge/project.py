"""A project that asv measures, by its asv.conf.json."""

from __future__ import annotations

import json
import platform
from functools import cached_property
from pathlib import Path
from typing import Any

from rnnbench.errors import InputError
from rnnbench.files import atomic
from rnnbench.judge import suite


class Project:
    """A project by its asv.conf.json; asv takes all paths from the folder that the file lies in."""

    def __init__(self, config: Path) -> None:
        """Read the configuration; raises InputError for a file that asv can't read."""
        if not config.is_file():
            raise InputError(f"config {config} must be asv's configuration; there is no file")
        try:
            from asv.config import Config
            from asv.machine import Machine
            from asv.util import UserError
        except ImportError as error:
            raise InputError("asv is not installed: pip install 'rnnbench[bench]'") from error
        try:
            self.conf: Any = Config.load(str(config))
        except (UserError, ValueError) as error:
            raise InputError(f"config {config} can't be read by asv: {error}") from error
        known = {name: value for name, value in vars(self.conf).items() if value is not None}
        self.settings = known | {"version": Config.api_version}
        self.config = config.resolve()
        self.folder = self.config.parent
        self.results = self.folder / self.conf.results_dir
        self.html = self.folder / self.conf.html_dir
        self.host = Machine.get_unique_machine_name() or platform.node()

    @cached_property
    def suite(self) -> suite.Suite:
        """The benchmarks; raises InputError if benchmark_dir is no package."""
        folder = self.folder / self.conf.benchmark_dir
        if not (folder / "__init__.py").is_file():
            raise InputError(f"benchmark_dir must be a package of benchmarks; {folder} is none")
        return suite.load(folder, self.folder, self.settings)

    def write_variant(self, name: str, **changes: Any) -> None:
        """Write the configuration with some of its settings changed, beside the original."""
        atomic.write(self.folder / name, json.dumps(self.settings | changes))
