"""Writes the JSON Schemas of both specifications, by which editors check YAML files."""

from __future__ import annotations

import json
import sys

from pydantic import BaseModel

from araflow.core import resources
from araflow.core.spec import BuildSpec
from araflow.recognition.spec import ExperimentSpec


def json_schema(model: type[BaseModel]) -> str:
    """Return the JSON Schema of a specification, as text for editors to check YAML files with."""
    return json.dumps(model.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write both files, or with ``--check`` fail where one is out of date."""
    configs = resources.folder("configs")
    for file, model in ((configs / "schema.json", BuildSpec), (configs / "train" / "schema.json", ExperimentSpec)):
        if "--check" not in sys.argv:
            file.write_text(json_schema(model), encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != json_schema(model):
            sys.exit(f"{file} is out of date: run `make schema`")


if __name__ == "__main__":
    main()
