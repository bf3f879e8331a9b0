"""What a recipe may add to cross entropy: focal and Lovasz losses, averaged weights, a teacher."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from export.errors import NeurosegError, UsageError
from neuroseg.commands.training import evaluate_run, train_config
from neuroseg.config import Config, load_config
from neuroseg.metrics import VOID, class_map, confusion_matrix, miou
from neuroseg.models import build
from neuroseg.train import Task, dataset, load_run
from neuroseg.train.loss import imitation, lovasz_softmax, multi_scale_loss
from neuroseg.train.run_folder import save_run
from neuroseg.train.teacher import Teacher

SMALL = ("data.train_samples=16", "model.blocks=0")


def random_maps(classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (2, classes, 6, 6) and a mask with every class and some void."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.randint(0, classes, (2, 6, 6), generator=generator)
    mask[:, 0] = VOID
    return torch.randn(2, classes, 6, 6, generator=generator), mask


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.0, 3.0])])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_the_focal_loss_weighs_each_pixel_by_what_is_missing(gamma: float, weights: torch.Tensor | None) -> None:
    logits, mask = random_maps()
    total, share = 0.0, 0.0
    for n, y, x in (mask != VOID).nonzero().tolist():
        c = int(mask[n, y, x])
        p = float(logits[n, :, y, x].softmax(0)[c])
        own = 1.0 if weights is None else float(weights[c])
        total += own * (1 - p) ** gamma * -float(torch.tensor(p).log())
        share += own
    found = multi_scale_loss((logits,), mask, weights, focal_gamma=gamma)
    assert float(found) == pytest.approx(total / share, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_a_pixel_that_is_certain_gives_no_gradient_that_is_not_a_number(gamma: float) -> None:
    logits = torch.tensor([40.0, 0.0, 0.0, 0.5]).reshape(1, 2, 1, 2).requires_grad_()
    multi_scale_loss((logits,), torch.zeros(1, 1, 2, dtype=torch.long), focal_gamma=gamma).backward()
    assert logits.grad is not None and bool(logits.grad.isfinite().all()) and bool(logits.grad.any())


def jaccard_loss(wrong: set[int], own: set[int]) -> float:
    """1 - IoU of a class whose pixels are `own` when the pixels in `wrong` are on the other side."""
    together = own - wrong
    union = own | (wrong - own)
    return 1 - len(together) / len(union)


@pytest.mark.parametrize("seed", range(5))
def test_the_lovasz_loss_is_the_extension_of_the_jaccard_loss(seed: int) -> None:
    logits, mask = random_maps(seed=seed)
    there = mask != VOID
    shares, labels = logits.softmax(1).permute(0, 2, 3, 1)[there], mask[there]
    expected = []
    for c in labels.unique().tolist():
        own = set((labels == c).nonzero().flatten().tolist())
        errors = [1 - float(p) if i in own else float(p) for i, p in enumerate(shares[:, c])]
        order = sorted(range(len(errors)), key=lambda i: -errors[i])
        total, before = 0.0, 0.0
        for count, i in enumerate(order, 1):
            now = jaccard_loss(set(order[:count]), own)
            total += errors[i] * (now - before)
            before = now
        expected.append(total)
    assert float(lovasz_softmax(logits, mask)) == pytest.approx(sum(expected) / len(expected), rel=1e-4)


def test_of_hard_decisions_the_lovasz_loss_is_one_minus_miou() -> None:
    logits, mask = random_maps()
    hard = 1e4 * torch.nn.functional.one_hot(logits.argmax(1), 3).permute(0, 3, 1, 2).float()
    scored = miou(confusion_matrix(class_map(hard), mask, 3))
    assert float(lovasz_softmax(hard, mask)) == pytest.approx(1 - float(scored), abs=1e-6)


def test_nothing_but_void_has_no_loss_and_a_gradient_of_zero() -> None:
    logits, mask = random_maps()
    logits.requires_grad_()
    void = torch.full_like(mask, VOID)
    loss = multi_scale_loss((logits,), void, focal_gamma=2.0, lovasz_weight=1.0) + imitation(logits, logits, void, 2.0)
    loss.backward()
    assert float(loss) == 0 and logits.grad is not None and not logits.grad.any()


def test_imitation_is_zero_of_equal_shares_and_grows_away_from_them() -> None:
    logits, mask = random_maps()
    other = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(9))
    assert float(imitation(logits, logits + 3.0, mask, 2.0)) == pytest.approx(0, abs=1e-6)
    there = mask != VOID
    p, q = (x.permute(0, 2, 3, 1)[there].div(2.0).softmax(-1) for x in (other, logits))
    expected = 4 * float((p * (p / q).log()).sum(-1).mean())
    assert float(imitation(logits, other, mask, 2.0)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "changes", [("train.focal_gamma=2",), ("train.lovasz_weight=1",), ("train.ema_decay=0.9", "train.qat_epochs=1")]
)
def test_each_of_them_trains_and_scores_what_it_keeps(changes: tuple[str, ...], tmp_path: Path) -> None:
    metrics = train_config(load_config("mfs-tiny", [*SMALL, "train.epochs=3", *changes]), tmp_path)
    assert evaluate_run(tmp_path, "val")["miou"] == pytest.approx(metrics["best_val_miou"], abs=1e-6)


def test_what_is_kept_of_an_average_is_the_average(tmp_path: Path) -> None:
    decay, changes = 0.75, [*SMALL, "train.epochs=1", "train.batch_size=8"]  # two steps
    train_config(load_config("mfs-tiny", [*changes, f"train.ema_decay={decay}"]), tmp_path / "average")
    state = torch.load(tmp_path / "average" / "checkpoints" / "last.ckpt", weights_only=True)
    kept, last = load_file(tmp_path / "average" / "weights.safetensors"), state["current_model_state"]
    first = {}
    take = Task.on_train_batch_start

    def seen(task: Task, batch: object, index: int) -> None:
        if index == 1:
            first.update({name: value.clone() for name, value in task.model.state_dict().items()})
        take(task, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Task, "on_train_batch_start", seen)
        train_config(load_config("mfs-tiny", changes), tmp_path / "plain")
    moved = 0
    for name, value in kept.items():
        if value.is_floating_point():
            expected = decay * first[name] + (1 - decay) * last[f"model.{name}"]
            torch.testing.assert_close(value, expected)
            moved += not torch.equal(value, last[f"model.{name}"])
    assert moved


def test_a_training_with_averaged_weights_resumes_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Task.on_train_epoch_start
    config = load_config("mfs-tiny", [*SMALL, "train.epochs=4", "train.ema_decay=0.9", "train.qat_epochs=3"])

    def interrupted(task: Task) -> None:
        if task.current_epoch == 2:
            raise KeyboardInterrupt
        begin(task)

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_config(config, whole)
    monkeypatch.setattr(Task, "on_train_epoch_start", interrupted)
    with pytest.raises(NeurosegError, match="interrupted in epoch 3 of 4"):
        train_config(config, parts)
    monkeypatch.setattr(Task, "on_train_epoch_start", begin)
    train_config(config, parts, resume=True)
    assert (parts / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def ann(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ann")
    train_config(load_config("mfs-tiny", [*SMALL, "train.epochs=1", "model.neuron=relu", "model.steps=1"]), folder)
    return folder


def test_a_teacher_pulls_the_network_towards_its_class_map(ann: Path, tmp_path: Path) -> None:
    shared = [*SMALL, "train.epochs=6", "train.lr=1e-2"]

    def distance(*changes: str) -> float:
        folder = tmp_path / str(len(changes))
        config = load_config("mfs-tiny", [*shared, *changes])
        train_config(config, folder)
        teacher, model = Teacher(ann, config), load_run(folder)[1]
        data = dataset(config, "train")
        images, masks = (torch.stack(parts) for parts in zip(*(data[i] for i in range(len(data))), strict=True))
        return float(imitation(model(images)[0], teacher.logits(images), masks, 1.0))

    assert distance(f"train.teacher={ann}", "train.teacher_weight=20") < distance()
    names = set(load_file(tmp_path / "2" / "weights.safetensors"))
    assert names == set(load_file(tmp_path / "0" / "weights.safetensors"))  # the teacher is not kept


def test_a_teacher_of_another_size_sees_resized_images(ann: Path) -> None:
    config = load_config("mfs-tiny", [*SMALL, "data.size=[32,32]"])
    images = torch.rand(2, 3, 32, 32)
    assert Teacher(ann, config).logits(images).shape[-2:] == load_run(ann)[1](images[..., :16, :16])[0].shape[-2:]


def test_a_teacher_of_another_data_set_or_split_is_refused(ann: Path) -> None:
    with pytest.raises(
        UsageError, match=r"has data set digits, this network camvid \(data.protocol=segnet\): it cannot be"
    ):
        Teacher(ann, load_config("mfs-nano"))
    with pytest.raises(UsageError, match="does not exist"):
        Teacher(ann / "nothing", load_config("mfs-tiny"))


def test_a_teacher_that_trained_on_what_its_pupil_is_scored_on_is_refused(tmp_path: Path) -> None:
    config = load_config("mfs-nano", ["data.protocol=paper"])
    save_run(tmp_path, config, build(config), {"schema_version": 1})
    Teacher(tmp_path, config)
    with pytest.raises(
        UsageError, match=r"has data set camvid \(data.protocol=paper\), this network camvid \(data.protocol=segnet\)"
    ):
        Teacher(tmp_path, load_config("mfs-nano"))


@pytest.mark.parametrize("change", ["train.focal_gamma=2", "train.lovasz_weight=1", "train.teacher=runs/x"])
def test_a_denoiser_refuses_losses_of_class_maps(change: str) -> None:
    key = change.partition("=")[0]
    with pytest.raises(UsageError, match=rf"{key} = .* is for class maps, this data set is for denoising"):
        load_config("unet-denoise-grey", [change])


def test_recipes_are_kept_in_the_config() -> None:
    config: Config = load_config("mfs-tiny", ["train.focal_gamma=1.5", "train.ema_decay=0.99", "train.teacher=a"])
    assert (config.train.focal_gamma, config.train.ema_decay, config.train.teacher) == (1.5, 0.99, "a")
