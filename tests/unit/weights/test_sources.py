"""What a source says it has: listings that are refused, and mirrors."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.errors import SourceError, WeightsError
from paddock.matrix.records import Source
from paddock.weights.sources import Endpoints
from weight_sources import BadServer, Sets
from weights_directory import VLM, Fetch, visible

HF_LISTING = f"/api/models/PaddlePaddle/{VLM}?blobs=true"


@pytest.mark.parametrize(
    "answer",
    [[], {}, {"sha": 1, "siblings": []}, {"sha": "a", "siblings": []}, {"sha": "a", "siblings": [{}]}, "x"],
)
def test_an_answer_that_is_no_listing_is_refused(fetch: Fetch, server: BadServer, answer: object) -> None:
    server.serve_json(HF_LISTING, answer)
    with pytest.raises(SourceError, match="expected"):
        fetch(source=Source.HUGGINGFACE)


@pytest.mark.parametrize("name", ["../../evil", "/evil", "a/../../evil", "a\nb", ""])
def test_a_listing_cannot_write_outside(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path, tmp_path: Path, name: str
) -> None:
    server.serve_huggingface(VLM, {**sets.vlm_files, name: b"evil"})
    with pytest.raises(WeightsError, match="expected a path below"):
        fetch(source=Source.HUGGINGFACE)
    assert not list(tmp_path.rglob("evil"))
    assert visible(models_dir) == []


def test_a_listing_that_modelscope_cut_is_refused(fetch: Fetch, server: BadServer) -> None:
    files = [{"Path": f"f{n}", "Type": "blob", "Size": 1, "Sha256": "0" * 64} for n in range(3000)]
    path = f"/api/v1/models/PaddlePaddle/{VLM}/repo/files?Revision=master&Recursive=true"
    server.serve_json(path, {"Data": {"Files": files}})
    with pytest.raises(SourceError, match="3000 files"):
        fetch(source=Source.MODELSCOPE)


def test_mirrors_come_from_the_environment() -> None:
    assert Endpoints.of({}) == Endpoints()
    found = Endpoints.of(
        {"HF_ENDPOINT": "https://m/", "MODELSCOPE_ENDPOINT": " ", "PADDOCK_BOS_ENDPOINT": "http://b"}
    )
    assert found == Endpoints(huggingface="https://m", bos="http://b")
