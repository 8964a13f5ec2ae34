"""The reader's own models: found, described, refused, and put in the chapters."""

import ast
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors.numpy import save_file
from small_chapters import small_chapter, small_text

from book.pipeline.build import prepare
from book.pipeline.chapters import NEEDS, BookError, Chapter, find_chapters
from book.pipeline.printing.ledger import ledger
from book.pipeline.results import Results
from book.pipeline.running.edition import (
    Edition,
    edition_of,
    fitting,
    left_out,
    note,
    output_folder,
)
from book.pipeline.running.fingerprint import python_of
from recsys_lib.compression.teacher import teacher_targets
from recsys_lib.data.movielens import load_movielens
from recsys_lib.embeddings import own as library
from recsys_lib.embeddings.encoder import load_encoder
from recsys_lib.embeddings.own import (
    OwnModel,
    book_encoder,
    find_model,
    find_models,
    shorter,
)
from recsys_lib.embeddings.tokens import load_tokenizer
from recsys_lib.serving import dataset_service

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["a film about a toy", "", "space opera"]


@pytest.fixture
def copied(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, in a folder with a space in its name."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "my model"))


def configure(folder: Path, **changes: object) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


def test_the_first_model_is_loaded_as_any_encoder(
    tiny_folder: Path, copied: Path
) -> None:
    encoder = book_encoder(f"{tiny_folder} '{copied}'", engine="torch")
    expected = load_encoder(tiny_folder, engine="torch", max_length=16)
    assert np.array_equal(encoder.encode(TEXTS), expected.encode(TEXTS))
    assert len(encoder.tokenize(["space " * 99]).ids[0]) == 16  # its positions


def test_a_model_says_how_it_is_read(tiny_folder: Path) -> None:
    model = find_model(str(tiny_folder))
    found = model.describe()
    n_parameters = load_encoder(tiny_folder, max_length=16).n_parameters
    assert (found.n_parameters, found.dim) == (n_parameters, 8)
    assert (found.pooling, found.max_length) == ("mean", 16)
    assert model.name == tiny_folder.name
    weights = model.sha256["model.safetensors"]
    assert model.revision == f"sha256 {weights[:16]}"
    assert model.is_bert


def test_a_download_has_the_name_and_the_commit_of_its_id(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "models--some-lab--small-model" / "snapshots" / "c0ffee"
    model = OwnModel(Path(shutil.copytree(tiny_folder, folder)))
    assert (model.name, model.revision) == ("some-lab/small-model", "c0ffee")
    assert Edition(models=(model,)).name == "with-some-lab--small-model"


def test_a_large_model_is_announced(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    find_models(str(tiny_folder), say=said.append)
    assert not said
    monkeypatch.setattr(library, "LARGE_BYTES", 500_000)
    find_models(str(tiny_folder), say=said.append)
    line, estimate = said
    assert re.search(r": at most about [\d,]+ ms for a short text$", estimate)
    n_parameters = load_encoder(tiny_folder, engine="torch", max_length=16).n_parameters
    assert line.startswith(f"{tiny_folder.name}: {n_parameters:,} parameters, 0.0 GB")
    assert "GB of disk are free" in line


@pytest.mark.parametrize(
    ("kind", "changes", "longest"),
    [
        ("bert", {"max_position_embeddings": 64}, 64),
        ("roberta", {"max_position_embeddings": 66, "pad_token_id": 1}, 64),
        ("bert", {"max_position_embeddings": 512}, 100),
    ],
)
def test_a_text_is_cut_where_the_model_ends(
    copied: Path, kind: str, changes: dict[str, int], longest: int
) -> None:
    configure(copied, model_type=kind, **changes)
    assert shorter(copied, 100) == longest
    assert shorter(None, 100) == 100
    (copied / "tokenizer_config.json").write_text('{"model_max_length": 32}')
    assert shorter(copied, 100) == 32


def test_openvino_is_asked_of_a_bert_only(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        library, "load_encoder", lambda _, *, engine, **__: asked.append(engine)
    )
    quoted = f"'{copied}'"
    book_encoder(quoted, engine="openvino")
    configure(copied, model_type="distilbert")
    book_encoder(quoted, engine="openvino")
    book_encoder(quoted, engine="torch")
    assert asked == ["openvino", "auto", "torch"]


def test_a_teacher_pools_as_it_was_trained(tiny_folder: Path) -> None:
    targets = teacher_targets(TEXTS, model=tiny_folder, max_length=64)
    encoder = load_encoder(tiny_folder, max_length=16)
    assert targets.vectors == pytest.approx(encoder.encode(TEXTS), abs=0.02)
    by_cls = replace(encoder, pooling="cls").encode(TEXTS)
    assert targets.cls_vectors == pytest.approx(by_cls, abs=0.02)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("/no/such/folder", "^there is no folder /no/such/folder$"),
        ("./none", r"^there is no folder \./none$"),
        ("{empty}", r"a folder with config.json.*empty, which holds a\.txt$"),
        ("{tiny} {tiny}", "^names of models must differ; got .* twice$"),
        ("'{tiny}", "^No closing quotation$"),
    ],
)
def test_what_is_no_model_is_refused_in_a_sentence(
    models: str, message: str, tiny_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/a.txt").touch()
    given = models.format(tiny=tiny_folder, empty=tmp_path / "empty")
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        find_models(given)
    with pytest.raises(BookError, match=r"^MODELS: "):
        edition_of({"models": given})


def test_a_damaged_configuration_is_refused(copied: Path) -> None:
    (copied / "config.json").write_text('{"model_type": "bert"')
    wanted = r"MODELS: file must be JSON; got .*config\.json"
    with pytest.raises(BookError, match=wanted):
        edition_of({"models": f"'{copied}'"})


def test_weights_that_fit_no_model_are_refused(copied: Path) -> None:
    configure(copied, num_hidden_layers=3)
    with pytest.raises(BookError, match="MODELS: my model cannot be loaded: weights"):
        Edition(models=(find_model(str(copied)),)).describe_models()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("no route"), "no folder a/b, and Hugging Face cannot be reached"),
        (
            RepositoryNotFoundError.__new__(RepositoryNotFoundError),
            "neither a folder a/b nor such a model on Hugging Face",
        ),
    ],
)
def test_an_id_needs_a_network_and_a_model(
    error: OSError, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreached(*_: object) -> Path:
        raise error

    monkeypatch.setattr(library, "_announce_download", unreached)
    monkeypatch.setattr(library, "model_folder", unreached)
    with pytest.raises(FileNotFoundError, match=message):
        find_models("a/b")


def test_the_service_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["serve", "--models", "/no/such/folder"])
    with pytest.raises(SystemExit, match="there is no folder /no/such/folder"):
        dataset_service.main()


AFTER = """\
```{code-cell} ipython3
:tags: [needs-bert]

heads = 4
```
"""
CHAPTER = small_text('models = ""', AFTER)


def test_an_edition_names_its_models(tiny_folder: Path, copied: Path) -> None:
    edition = edition_of({"models": f"{tiny_folder} '{copied}'"})
    assert edition
    assert edition.name == f"with-{tiny_folder.name}-with-my model"
    assert output_folder(Path("_build"), edition).parent == Path("_build/own")
    assert output_folder(Path("_build"), None) == Path("_build")
    assert edition.names == {"models": f"{tiny_folder.name} my model"}
    assert {"model my model config.json", "model my model model.safetensors"} <= set(
        edition.sha256
    )
    told = note(edition, [])
    assert f"on your models: {tiny_folder.name}, my model\n" in told
    n_parameters = edition.models[0].describe().n_parameters
    how = f"{n_parameters:,} parameters, vectors of 8 dimensions, mean pooling, texts"
    assumed = "no prompt (no modules.json: mean pooling and no prompt are assumed)"
    assert told.count(f"{how} of at most 16 tokens, {assumed}") == 2
    assert f'all-MiniLM-L6-v2: read "{tiny_folder.name}" for it' in told


def test_data_and_models_make_one_edition(tiny_folder: Path, tmp_path: Path) -> None:
    model = find_model(str(tiny_folder))
    both = Edition(load_movielens(), (model,))
    assert both.name == f"ml-100k-with-{tiny_folder.name}"
    assert set(both.names) == {"dataset", "models"}
    assert both.lacks == {"labels", "movielens", "queries", "reviews"}
    told = note(both, [])
    assert f"on your data: ml-100k and your model: {tiny_folder.name}" in told
    with pytest.raises(BookError, match="DATASET, MODELS: left out: chapter 1 takes"):
        fitting([small_chapter(tmp_path, CHAPTER)], both)


def test_parts_that_need_a_bert_are_left_out_of_others(
    copied: Path, tmp_path: Path
) -> None:
    chapters = [
        small_chapter(tmp_path, CHAPTER),
        small_chapter(tmp_path, small_text("x = 1", AFTER), 2),
    ]
    (kept,) = fitting(chapters, Edition(models=(find_model(str(copied)),)))
    assert len(kept.code) == 2
    edition = Edition(models=(find_model(str(configure(copied, model_type="t5"))),))
    (cut,) = fitting(chapters, edition)
    assert cut.code == ['models = ""']
    assert NEEDS["bert"] in cut.prose[-1][1]
    assert left_out(chapters, edition) == "left out: chapter 2 takes no other model"


def test_a_chapter_may_need_a_bert_as_a_whole(copied: Path, tmp_path: Path) -> None:
    text = CHAPTER.replace("[parameters]", "[parameters, needs-bert]")
    chapters = [small_chapter(tmp_path, x, i) for i, x in enumerate([CHAPTER, text], 1)]
    of_bert = Edition(models=(find_model(str(copied)),))
    assert [x.number for x in fitting(chapters, of_bert)] == ["01", "02"]
    other = Edition(models=(find_model(str(configure(copied, model_type="t5"))),))
    assert [x.number for x in fitting(chapters, other)] == ["01"]
    assert left_out(chapters, other).startswith("left out: chapter 2 needs a BERT")


def test_a_table_is_refused_in_a_sentence(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_folder / "tokenizer.json", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "model2vec"}')
    n_tokens = load_tokenizer(tiny_folder, 16).get_vocab_size()
    table = np.ones((n_tokens, 4), np.float32)
    save_file({"embeddings": table}, tmp_path / "model.safetensors")
    with pytest.raises(BookError, match=r"^MODELS: the first model must have layers"):
        prepare(f"'{tmp_path}'")


def test_the_ledger_names_the_models() -> None:
    facts = {"models": "tiny", "cpu": "fast", "cores": 2, "gpu": "", "profile": "smoke"}
    yours = Results({}, facts)
    assert yours.may_lack_records
    assert "numbers below are from your models, tiny." in ledger([], yours, {})
    yours = Results({}, facts | {"dataset": "shop"})
    assert "from your data, shop and your models, tiny." in ledger([], yours, {})


def bound(code: list[str]) -> set[str]:
    return {name for name, node in _names(code) if not isinstance(node, ast.Load)}


def used(code: list[str]) -> set[str]:
    return {name for name, node in _names(code) if isinstance(node, ast.Load)}


def _names(code: list[str]) -> Iterator[tuple[str, object]]:
    """Names in cells, each with how it is used; None for what a definition names."""
    for cell in code:
        for node in ast.walk(ast.parse(next(python_of(cell)))):
            match node:
                case ast.Name(id=name, ctx=context):
                    yield name, context
                case ast.FunctionDef(name=name) | ast.arg(arg=name):
                    yield name, None


@pytest.mark.parametrize("need", NEEDS)
def test_no_cell_uses_what_a_part_that_is_left_out_defines(need: str) -> None:
    for chapter in find_chapters(ROOT / "chapters"):
        kept = Chapter(chapter.path, frozenset({need})).code
        whole = Chapter(chapter.path, frozenset()).code
        gone = [cell for cell in whole if cell not in kept]
        assert not (bound(gone) - bound(kept)) & used(kept), chapter.stem
