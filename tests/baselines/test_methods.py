"""The folder of methods: listing, refusing, and identities between methods."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import (
    CASES,
    Case,
    built,
    distance,
    equal,
    run_of,
    tiny_llama,
    trained,
    weights,
)
from transformers import RobertaConfig, RobertaForSequenceClassification

import baselines
from baselines import Run, methods
from baselines._adamw import MasterAdamW

ROOT = Path(baselines.__file__).parents[1]


def test_listing_needs_nothing_installed() -> None:
    """`-S` leaves out site-packages: only Python's own library is there."""
    program = "import baselines; print(*baselines.methods())"
    listed = subprocess.run([sys.executable, "-S", "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.split() == list(methods())


def test_every_method_says_what_tables_need() -> None:
    for name, method in methods().items():
        assert method.TITLE and method.PAPER, name
        assert all(isinstance(note, str) and note.endswith(".") for note in method.NOTES), name
        assert method.RESUMES is True or isinstance(method.RESUMES, str), name
        own_keys = {"method", "lr", "grid"}  # of a method's settings in a config
        assert not own_keys & method.PARAMETERS.keys(), name
    titles = [method.TITLE for method in methods().values()]
    assert len(set(titles)) == len(titles)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A second folder in which methods are looked for."""
    monkeypatch.setattr(baselines, "__path__", [*baselines.__path__, str(tmp_path)])
    methods.cache_clear()
    yield tmp_path
    methods.cache_clear()


def test_a_file_that_lacks_a_name_is_refused(folder: Path) -> None:
    (folder / "half.py").write_text("TITLE = 'Half'\nPAPER = 'none'\nPARAMETERS = {}\n")
    with pytest.raises(AttributeError, match="half.py does not define REQUIRES, NOTES, RESUMES, supports"):
        methods()


def test_a_missing_package_is_named_and_the_method_still_listed(folder: Path) -> None:
    text = (ROOT / "baselines" / "none.py").read_text()
    (folder / "needy.py").write_text(text + "REQUIRES = ('no-such-package',)\n")
    assert baselines.missing_packages(methods()["needy"]) == ["no-such-package"]
    assert baselines.missing_packages(methods()["none"]) == []


def test_the_template_passes_the_conformance_test(tmp_path: Path) -> None:
    """`make new-baseline` in a copy of the checkout; nothing else there is changed."""
    for part in ("baselines", "workflow", "tests/baselines", "docs"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("Makefile", "tests/conftest.py"):
        shutil.copy(ROOT / file, tmp_path / file)

    def make(name: str) -> str:
        command = ["make", "new-baseline", f"NAME={name}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout

    assert "pytest --method mine" in make("mine")
    assert "there already" in make("mine")
    assert "small letters" in make("two-words")
    assert 'TITLE = "mine"' in (tmp_path / "baselines" / "mine.py").read_text()
    command = [sys.executable, "-m", "pytest", "--method", "mine", "-p", "no:cacheprovider", "-rs"]
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stdout
    assert "clipping leaves a gradient's sign" in outcome.stdout
    assert "no formula for mine: add its paper's" in outcome.stdout


def test_method_names_a_file_that_is_not_there() -> None:
    command = [sys.executable, "-m", "pytest", "--method", "nonesuch", "tests/baselines", "--collect-only"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert outcome.returncode != 0 and "is there a baselines/nonesuch.py?" in outcome.stdout + outcome.stderr


REFUSED = [
    ("galore", {"parameters": {"layerwise": True}, "accumulation": 2}, "micro-batch"),
    ("galore", {"parameters": {"layerwise": True}, "max_grad_norm": 1.0}, "max_grad_norm"),
    ("lomo", {"accumulation": 2}, "micro-batch"),
    ("lomo", {"precision": "float16"}, "bfloat16"),
    ("adalomo", {"accumulation": 2}, "micro-batch"),
    ("full", {"parameters": {"pure": True}}, "bfloat16"),
    ("apollo", {"parameters": {"scale_type": "row"}}, "scale_type"),
    ("hift", {"parameters": {"order": "sideways"}}, "order"),
]


@pytest.mark.parametrize(("method", "changes", "word"), REFUSED)
def test_what_cannot_run_is_refused_in_one_sentence(method: str, changes: dict[str, Any], word: str) -> None:
    parameters = {**methods()[method].PARAMETERS, **changes.get("parameters", {})}
    run = Run(
        **{"method": method, "lr": 1e-3, "steps": 1, "batch_size": 1, **changes, "parameters": parameters}
    )
    sentence = methods()[method].supports(run)
    assert word in sentence and "\n" not in sentence


def test_fp32_masters_are_torch_adamw_bit_for_bit() -> None:
    torch.manual_seed(0)
    start = torch.randn(64, 32).bfloat16()
    theirs = start.float().requires_grad_()
    ours = {dtype: start.to(dtype, copy=True).requires_grad_() for dtype in (torch.float32, torch.bfloat16)}
    reference = torch.optim.AdamW([theirs], lr=1e-2, weight_decay=0.1)
    optimizers = {dtype: MasterAdamW([w], lr=1e-2, weight_decay=0.1) for dtype, w in ours.items()}
    for _ in range(5):
        gradient = torch.randn(64, 32).bfloat16()
        theirs.grad = gradient.float()
        reference.step()
        for dtype, weight in ours.items():
            weight.grad = gradient.to(dtype)
            optimizers[dtype].step()
    half = ours[torch.bfloat16]
    assert torch.equal(ours[torch.float32], theirs)
    assert torch.equal(optimizers[torch.bfloat16].state[half]["master"], theirs)
    assert torch.equal(half, theirs.bfloat16())


def test_layerwise_galore_is_galore() -> None:
    plain, layerwise = CASES["galore"][0], CASES["galore"][2]
    assert equal(weights(trained(plain)), weights(trained(layerwise)))


@pytest.mark.parametrize("changes", [{}, {"tied": True}, {"max_grad_norm": 0.5}], ids=str)
def test_lomo_is_sgd(changes: dict[str, Any]) -> None:
    lomo, sgd = trained(Case("lomo", lr=0.1), **changes), trained(Case("sgd", lr=0.1), **changes)
    base, _ = built(Case("sgd"), **changes)
    assert distance(lomo, sgd) < 1e-5 * distance(sgd, base)


@pytest.mark.parametrize("tied", [False, True])
def test_badams_blocks_are_those_that_the_package_takes_for_llama(tied: bool) -> None:
    from badam import BlockOptimizer

    from baselines._badam import blocks

    model = tiny_llama(Run("badam", 1e-3, 1, 1), tied)
    names = [name for name, _ in model.named_parameters()]
    for all_of_it in (False, True):
        theirs = BlockOptimizer.infer_param_groups(None, names, all_of_it, all_of_it)
        ours = blocks(model, all_of_it)
        parts = [
            [[name for name in names if any(p in name for p in block)] for block in found]
            for found in (ours, theirs)
        ]
        assert parts[0] == parts[1]


@pytest.mark.parametrize("method", [name for name, file in methods().items() if baselines.trains(file)])
def test_every_method_trains_a_classifier_and_its_new_head(method: str) -> None:
    case = CASES[method][0]
    if method == "badam":  # without it the head is not trained
        case = replace(case, parameters={**case.parameters, "embedding_and_head": True})
    run = run_of(case)
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = RobertaConfig(vocab_size=128, max_position_embeddings=24, num_labels=2, **sizes)
    tuning = methods()[method].build(RobertaForSequenceClassification(config), run)
    tokens = torch.randint(4, 128, (16, 16), generator=torch.Generator().manual_seed(0))
    classes = (tokens[:, 1] > 64).long()
    losses = []
    for _ in range(30):
        for group in tuning.optimizer.param_groups:
            group["lr"] = run.lr
        loss = tuning.model(input_ids=tokens, labels=classes).loss
        losses.append(loss.item())
        tuning.backward(loss)
        tuning.optimizer.step()
        tuning.optimizer.zero_grad()
    torch.manual_seed(0)
    before = RobertaForSequenceClassification(config)
    after = methods()[method].export(tuning.model)
    assert type(after) is RobertaForSequenceClassification
    assert min(losses) < 0.9 * losses[0]
    assert not torch.equal(after.classifier.out_proj.weight, before.classifier.out_proj.weight)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_qlora_stores_half_a_byte_a_weight_and_exports_what_it_computes_with(precision: str) -> None:
    run = run_of(Case("qlora", precision=precision))
    method, base = methods()["qlora"], tiny_llama(run)
    tuned = method.build(tiny_llama(run), run).model
    stored = [p for p in tuned.parameters() if p.dtype == torch.uint8]
    linear = [m.weight for m in base.model.modules() if isinstance(m, torch.nn.Linear)]
    total = sum(weight.numel() for weight in linear)
    assert sum(p.numel() for p in stored) == total / 2
    scales = [b for name, b in tuned.named_buffers() if name.endswith(".scales")]
    assert sum(b.numel() * b.element_size() for b in scales) == total / 64
    plain = method.export(tuned).state_dict()
    for name, weight in base.state_dict().items():
        error = (plain[name].float() - weight.float()).norm() / weight.float().norm()
        # 4 bits leave about a tenth of a normal weight's size; what is not linear is not touched
        assert 0.03 < error < 0.15 if name.endswith("proj.weight") else error == 0, name


def test_checkpointing_lets_backward_stop_above_frozen_layers() -> None:
    model = tiny_llama(Run(method="none", lr=0.0, steps=1, batch_size=1))
    model.requires_grad_(False)
    baselines.checkpoint_activations(model)
    assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    assert not model.get_input_embeddings()(torch.tensor([0])).requires_grad
