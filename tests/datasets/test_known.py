"""c3dhash data list: facts on the known data sets that hold together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from paths import ROOT

from c3dhash.datasets.find import READERS
from c3dhash.datasets.known import KNOWN_SETS, describe_known_sets


def test_the_sets_of_the_field_are_known():
    assert [known.name for known in KNOWN_SETS] == ["UCF101", "HMDB51", "JHMDB", "Kinetics-400", "CCV"]


@pytest.mark.parametrize("known", KNOWN_SETS, ids=lambda known: known.name)
def test_facts(known):
    assert known.format in READERS
    assert known.url.startswith("http")
    assert json.loads(json.dumps(known.to_dict()))["num_classes"] == known.num_classes
    assert known.name in describe_known_sets()
    if known.script:
        assert (ROOT / known.script).is_file()
        assert f"bash {known.script}" in known.to_text()


def test_every_script_belongs_to_a_set():
    scripts = {path.name for path in (ROOT / "scripts").glob("download_*.sh")}
    assert scripts == {Path(known.script).name for known in KNOWN_SETS if known.script}


def test_the_readme_of_the_data_folder_names_them_all():
    text = (ROOT / "data" / "README.md").read_text()
    for known in KNOWN_SETS:
        assert known.name in text
        assert known.url in text
    for name in READERS:
        assert f"`{name}`" in text
