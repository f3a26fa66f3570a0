"""Any network: compressed, saved, loaded into a fresh one, which computes what the decoded weights say."""

from __future__ import annotations

import copy
from collections.abc import Callable

import bitbook
import numpy as np
import pytest
import torch
from bitbook import networks
from bitbook.compression import select
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune
from torch.nn.utils.rnn import pack_padded_sequence
from torchvision import models


class UNet(nn.Module):
    """Two levels, transposed convolutions, an instance norm with running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8), nn.ReLU())
        self.middle = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.norm = nn.InstanceNorm2d(16, eps=1e-3, affine=True, track_running_stats=True)
        self.up = nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1)
        self.last = nn.Conv2d(16, 5, 1)
        self.norm.running_var.fill_(1e-4)

    def forward(self, x):
        high = self.down(x)
        return self.last(torch.cat([high, self.up(self.norm(self.middle(high)))], 1))


class Words(nn.Module):
    """An LSTM classifier of words, whose embedding is also its decoder; returns a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 24)
        self.memory = nn.LSTM(24, 24, num_layers=2, bidirectional=True, batch_first=True)
        self.narrow = nn.Linear(48, 24)
        self.decoder = nn.Linear(24, 50)
        self.decoder.weight = self.words.weight
        self.classes = nn.Linear(24, 3)

    def forward(self, words, lengths=None):
        x = self.words(words)
        if lengths is not None:
            x = pack_padded_sequence(x, lengths, batch_first=True)
        _, (last, _) = self.memory(x)
        narrow = self.narrow(torch.cat([last[-2], last[-1]], 1))
        return self.classes(narrow), self.decoder(narrow)


class Answers(nn.Module):
    """Convolutions of one and three axes, attention called by keyword, a class token, weight norms; returns a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.sound = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 16, 3, padding=1))
        self.video = nn.Conv3d(1, 16, (2, 3, 3), padding="same", padding_mode="circular")
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 7)

    def forward(self, sound, video):
        heard = self.sound(sound).transpose(1, 2)
        x = torch.cat([self.token.expand(len(sound), 1, 16), heard, self.video(video).flatten(2).transpose(1, 2)], 1)
        x = self.block(x + self.attention(query=x, key=x, value=x, need_weights=False)[0])
        return {"logits": self.head(x[:, 0]), "features": x[:, 1]}


def image(size: int, count: int = 8) -> Callable:
    return lambda: torch.rand(count, 3, size, size)


FAST = {
    "u-net": (UNet, image(16)),
    "words": (Words, lambda: torch.randint(0, 50, (9, 11))),
    "answers": (Answers, lambda: [(torch.rand(6, 4, 5), torch.rand(6, 1, 2, 3, 3)) for _ in range(3)]),
}
SLOW = {
    "shufflenet_v2": (lambda: models.shufflenet_v2_x0_5(num_classes=10), image(64)),
    "mobilenet_v3_small": (lambda: models.mobilenet_v3_small(num_classes=10), image(32)),
    "resnet18": (lambda: models.resnet18(num_classes=10), image(32)),
    "efficientnet_b0": (lambda: models.efficientnet_b0(num_classes=10), image(64)),
    "densenet121": (lambda: models.densenet121(num_classes=10), image(64)),
    "vit_b_16": (lambda: models.vit_b_16(num_classes=10, image_size=32), image(32, 20)),
    "swin_t": (lambda: models.swin_t(num_classes=10), image(64)),
    "convnext_tiny": (lambda: models.convnext_tiny(num_classes=10), image(64)),
}
EVERY = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def made(name: str) -> tuple[nn.Module, nn.Module, object]:
    """A network with random weights and statistics, a fresh one of its kind, and calibration data."""
    build, data = {**FAST, **SLOW}[name]
    torch.manual_seed(1)
    fresh = build().eval()
    torch.manual_seed(0)
    network = build()
    for norm in networks.batch_norms(network).values():
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.1)
    for value in network.parameters():
        if value.ndim == 2 and not value.any():  # a head that starts at zero, whose outputs would tell nothing
            nn.init.normal_(value, std=0.1)
    return network, fresh, data()


def outputs(network: nn.Module, data: object) -> list[torch.Tensor]:
    first = data[0] if isinstance(data, list) else (data,)
    with torch.inference_mode():
        found = copy.deepcopy(network).eval()(*first)
    return list(found.values()) if isinstance(found, dict) else list(found) if isinstance(found, tuple) else [found]


@pytest.mark.parametrize("given", ["data", "nothing"])
@pytest.mark.parametrize("name", EVERY)
def test_the_loaded_network_computes_what_the_decoded_weights_say(name, given, tmp_path):
    network, fresh, data = made(name)
    before, mode = networks.checksum(network.state_dict()), network.training
    calibration = data if given == "data" else None
    compressed = bitbook.compress(network, calibration=calibration, ratio=6, progress=False)
    assert networks.checksum(network.state_dict()) == before and network.training == mode
    assert not any(module._forward_hooks for module in network.modules())
    assert 5.9 < compressed.ratio * (1 + 1e-9) >= 6

    compressed.save(tmp_path / "any.bitbook")
    loaded = bitbook.load(tmp_path / "any.bitbook")
    filled = loaded.to_module(into=fresh)
    # The oracle: plain weights written by hand into a copy of the network, whatever to_module does.
    oracle = networks.plain_copy(network)
    entries = oracle.state_dict()
    with torch.no_grad():
        for entry, values in loaded.decode().items():
            entries[entry].copy_(torch.from_numpy(values))
    for ours, expected, float_output in zip(*(outputs(n, data) for n in (filled, oracle, network)), strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)
        assert ours.isfinite().all() and not torch.equal(ours, float_output)


@pytest.mark.parametrize("name", ["words", "u-net", "answers"])
def test_what_is_left_dense_or_rounded_to_the_nearest_is_listed_with_the_reason(name):
    network, _, data = made(name)
    summary = bitbook.compress(network, calibration=data, ratio=4, progress=False).summary()
    lines = {line.split()[0]: line for line in summary.splitlines()}
    if name == "words":
        assert "nearest" in lines["memory.weight_hh_l0"] and "words.weight" not in lines  # coded as the decoder
    elif name == "u-net":
        assert "nearest" in lines["up.weight"] and "down.0.weight" not in lines
    else:
        assert "include=" in lines["token"] and "1x1x16" in lines["token"]
        assert "nearest" in lines["attention.out_proj.weight"] and "block.linear1.weight" not in lines


def test_shared_weights_are_stored_once_and_decoded_to_both():
    network, fresh, _ = made("words")
    untied = copy.deepcopy(network)
    untied.decoder.weight = nn.Parameter(untied.decoder.weight.detach().clone())
    codes = bitbook.compress(network, k=8, progress=False)
    assert "words.weight" in codes.codes and "decoder.weight" not in {**codes.codes, **codes.dense}
    assert len(codes.to_bytes()) < len(bitbook.compress(untied, k=8, include=["words.weight"]).to_bytes())
    filled = codes.to_module(into=fresh)
    assert filled.decoder.weight is filled.words.weight
    assert len(filled.decoder.weight.unique()) <= 8
    with pytest.raises(ValueError, match=r"decoder\.weight"):
        codes.to_module(into=untied)  # it has two weights, and the file only one


@pytest.mark.parametrize("kind", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_parametrised_weights_compute_with_codebook_values_alone(kind):
    network, fresh = (nn.Sequential(kind(nn.Linear(30, 20)), nn.ReLU(), nn.Linear(20, 3)) for _ in range(2))
    compressed = bitbook.compress(network, k=4)
    filled = compressed.to_module(into=fresh)
    assert set(filled[0].weight.unique().tolist()) <= set(compressed.codebooks["0.weight"].astype(float).tolist())
    filled.train()(torch.rand(2, 30))
    assert len(filled[0].weight.unique()) <= 4


@pytest.mark.parametrize(
    "wrap",
    [pytest.param(torch.compile, marks=pytest.mark.slow), nn.DataParallel, torch.optim.swa_utils.AveragedModel],
    ids=["compiled", "parallel", "averaged"],
)
def test_wrappers_are_taken_off(wrap):
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3)), torch.rand(40, 6)
    compressed = bitbook.compress(wrap(network), calibration=x, k=8)
    assert compressed.to_bytes() == bitbook.compress(network, calibration=x, k=8).to_bytes()
    fresh = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3))
    compressed.to_module(into=wrap(fresh))
    target = networks.unwrapped(wrap(fresh))
    assert wrap is torch.optim.swa_utils.AveragedModel or len(target[0].weight.unique()) <= 8
    inside = nn.Sequential(wrap(nn.Linear(6, 4)), nn.Linear(4, 2))
    file = bitbook.compress(inside, k=4)
    assert file.codes.keys() == {"0.weight", "1.weight"}
    again = file.to_module(into=nn.Sequential(nn.Linear(6, 4), wrap(nn.Linear(4, 2))))
    assert len(networks.unwrapped(again[1]).weight.unique()) <= 4


def test_batch_norms_are_folded_with_their_own_epsilon_and_foreign_norms_are_kept():
    from torchvision.ops import FrozenBatchNorm2d

    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))
            self.register_buffer("running_mean", torch.full((4,), 0.01))
            self.register_buffer("running_var", torch.full((4,), 2e-5))

        def forward(self, x):
            shape = (1, 4, 1, 1)
            scale = self.weight / (self.running_var + 1e-2).sqrt()
            return (x - self.running_mean.view(shape)) * scale.view(shape) + self.bias.view(shape)

    class BatchNormOfMine(nn.BatchNorm2d):
        def forward(self, x):
            return x * self.running_var.view(1, -1, 1, 1) + self.running_mean.view(1, -1, 1, 1)

    norms = [
        nn.BatchNorm2d(4, eps=1e-3),
        nn.BatchNorm2d(4, eps=1e-12),
        nn.BatchNorm2d(4, eps=0.5),
        nn.BatchNorm2d(4, affine=False, eps=1e-9),
        nn.InstanceNorm2d(4, eps=1e-3, affine=True, track_running_stats=True),
        FrozenBatchNorm2d(4, eps=1e-3),
        Mine(),
        BatchNormOfMine(4),
    ]
    torch.manual_seed(0)
    network = nn.Sequential(*(part for norm in norms for part in (nn.Conv2d(4, 4, 1), norm)))
    fresh = copy.deepcopy(network)
    for norm in norms:
        norm.running_var.uniform_(1e-8, 1e-3)
        norm.running_mean.normal_(std=0.3)
    x = torch.rand(5, 4, 6, 6)
    conv = {f"{2 * i}.weight" for i in range(len(norms))}
    assert select(network).tensors.keys() == conv
    # Only what coding does to norms is measured here: the first weight is coded with all its values, the others stay.
    compressed = bitbook.compress(network, k=64, exclude=[f"{2 * i}.weight" for i in range(1, len(norms))])
    assert compressed.batch_norm.keys() == {"1", "3", "5"}
    filled = compressed.to_module(into=fresh.eval()).double()
    exact = copy.deepcopy(network).eval().double()
    for layer in range(len(network)):  # each by itself, as errors of float16 would add up
        ours, expected = filled[layer](x.double()), exact[layer](x.double())
        scale = (expected - expected.mean()).abs().max()
        assert (ours - expected).abs().max() < 2e-3 * max(scale, expected.abs().max()), layer


def test_networks_of_half_precision_are_compressed_as_they_are():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)).half()
    fresh = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    pixels = torch.rand(20, 3, 4, 4).half()
    compressed = bitbook.compress(network, calibration=pixels, k=16)
    assert compressed.half_source and compressed.ratio_fp16 == compressed.ratio / 2
    assert compressed.to_module(into=fresh)(pixels.float()).isfinite().all()


def test_patterns_add_and_take_away():
    network, _, _ = made("answers")
    chosen = select(networks.plain_copy(network), include=["tok*"], exclude=["block.*"])
    assert "token" in chosen.tensors and not any(name.startswith("block.") for name in chosen.tensors)
    assert chosen.dense["block.linear1.weight"] == "excluded"
    with pytest.raises(ValueError, match=r"exclude: 'blokc\.\*' fits none"):
        select(networks.plain_copy(network), exclude=["blokc.*"])


def test_a_data_loader_gives_its_inputs_and_keeps_its_labels():
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), torch.rand(30, 3, 2, 2)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, torch.zeros(30)), batch_size=10)
    ours = bitbook.compress(network, calibration=loader, k=4)
    assert ours.to_bytes() == bitbook.compress(network, calibration=(part for part in x.split(10)), k=4).to_bytes()


def _with(value: float, where: str, places: int | slice = 1) -> nn.Module:
    network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    with torch.no_grad():
        dict(network.named_parameters())[where].view(-1)[places] = value
    return network


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (nn.Linear(4, 2), {}, "one of ratio=, budget="),
        (nn.Linear(4, 2), {"ratio": 4, "k": 2}, "one of ratio=, budget="),
        *(
            (nn.Linear(4, 2), {"ratio": bad}, "ratio must be a finite")
            for bad in (0, -1, float("nan"), float("inf"), "4")
        ),
        (nn.Linear(4, 2), {"budget": float("nan")}, "budget must be a finite"),
        (nn.Linear(4, 2), {"k": 0}, "k must be a finite"),
        (nn.Linear(4, 2), {"k": 2.5}, "k must be a whole"),
        (nn.Linear(4, 2), {"k": 10**9}, "k must be a whole"),
        (nn.Linear(4, 2), {"k": 2, "method": "grid"}, "'grid' takes ratio="),
        (nn.Linear(4, 2), {"k": 2, "method": "magic"}, "unknown method 'magic'"),
        (nn.Linear(4, 2), {"budget": 10}, "more than the budget of 10"),
        (nn.Linear(4, 2), {"k": 2, "calibration": torch.rand(5, 3)}, "first batch"),
        (nn.Linear(4, 2), {"k": 2, "calibration": torch.rand(0, 4)}, "empty"),
        (nn.Linear(4, 2), {"k": 2, "calibration": torch.full((5, 4), torch.nan)}, "NaN or infinity"),
        (nn.Linear(4, 2), {"k": 2, "calibration": [torch.full((5, 4), 1e30)]}, "weight: .* too large"),
        (_with(torch.nan, "1.weight"), {"k": 2}, r"1\.weight holds NaN"),
        (_with(torch.inf, "0.bias"), {"k": 2}, r"0\.bias holds NaN"),
        (nn.Sequential(nn.LazyLinear(3)), {"k": 2}, r"0\.weight: a lazy layer"),
        (nn.Linear(4, 2, dtype=torch.complex64), {"k": 2}, "complex"),
        (nn.ReLU(), {"k": 2}, "no weights"),
        (nn.Linear(4, 2), {"ratio": 10**400}, "ratio must be a finite"),
        (nn.Linear(4, 2), {"k": 2, "include": "bias"}, r"include is a list of patterns, such as \['bias'\]"),
        (nn.Linear(4, 2), {"k": 2, "calibration": 5}, "calibration is a tensor"),
        (nn.Linear(4, 2), {"k": 2, "calibration": torch.tensor(5.0)}, "calibration is a tensor"),
        (nn.Linear(4, 2), {"k": 2, "calibration": [torch.rand(5, 4), torch.rand(5, 3)]}, "all batches"),
        (nn.Linear(4, 2).state_dict(), {"k": 2}, "takes a torch module, not OrderedDict"),
        (nn.Linear, {"k": 2}, "takes a torch module, not Linear"),
        (nn.Linear(4, 2).to("meta"), {"k": 2}, "meta device"),
        (torch.jit.script(nn.Linear(4, 2)), {"k": 2}, "scripted or traced"),
        (_with(3e38, "1.weight"), {"ratio": 2}, r"1\.weight holds"),
        (_with(1e-42, "0.weight", slice(None)), {"ratio": 2}, r"0\.weight holds"),
    ],
)
def test_what_makes_no_sense_is_refused_before_work_starts(network, options, message):
    with pytest.raises(ValueError, match=message):
        bitbook.compress(network, **options)


def test_without_data_every_weight_has_the_nearest_value_of_the_grid():
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 9, 1)
    )
    file = bitbook.compress(network, ratio=5, progress=False)
    for name, value in file.decode().items():
        if name in file.codes:
            grid = np.unique(file.codebooks[file.codes[name].codebook].astype(np.float32))
            weights = dict(network.named_parameters())[name].detach().numpy()
            error = np.abs(weights[..., None] - grid).min(-1)
            np.testing.assert_allclose(np.abs(value - weights), error, atol=1e-4)


def test_large_images_unlike_those_of_training_leave_batch_norms_as_they_are():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.BatchNorm2d(8), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    ).eval()  # fmt: skip
    for norm in networks.batch_norms(network).values():
        nn.init.normal_(norm.running_mean, std=0.1)
        nn.init.uniform_(norm.running_var, 0.2, 0.5)
    x = torch.rand(12, 3, 96, 96)
    for options in ({"budget": 10**6}, {"k": 60_000}):
        file = bitbook.compress(network, calibration=x, progress=False, **options)
        ours, exact = (outputs(n, x)[0] for n in (file.to_module(into=copy.deepcopy(network)), network))
        assert (ours - exact).abs().max() < 0.02 * exact.std(), options


def test_tiny_weights_do_not_vanish():
    network, fresh = nn.Linear(200, 50), nn.Linear(200, 50)
    with torch.no_grad():
        network.weight.mul_(1e-8)
    for options in ({"k": 16}, {"ratio": 3}):
        filled = bitbook.compress(network, **options, progress=False).to_module(into=fresh)
        assert (filled.weight - network.weight).norm() < 0.2 * network.weight.norm()


class Standardised(nn.Conv2d):
    """A convolution whose weights are standardised when it runs."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, weight / weight.std((1, 2, 3), keepdim=True), self.bias)


class Scaled(nn.Linear):
    """A linear layer with a scale of its own."""

    def forward(self, x):
        return nn.functional.linear(x, 10 * self.weight, self.bias / 100)


def hooked() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 32), nn.Linear(32, 4))
    network[0].register_forward_hook(lambda layer, given, output: output - 1)
    network[3].register_forward_pre_hook(lambda layer, given: (2 * given[0],))
    return network


@pytest.mark.parametrize(
    "build",
    [lambda: nn.Sequential(Standardised(3, 16, 3), nn.ReLU(), nn.Flatten(), Scaled(576, 32), nn.Linear(32, 4)), hooked],
    ids=["own forward", "hooks"],
)  # fmt: skip
def test_layers_that_compute_something_else_are_not_taken_for_plain_ones(build):
    torch.manual_seed(0)
    network, images = build().eval(), torch.rand(300, 3, 8, 8)
    file = bitbook.compress(network, ratio=4, calibration=images, progress=False)
    expected, found = (x(images) for x in (network, file.to_module(into=copy.deepcopy(network))))
    assert (found - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("calibration", [None, torch.rand(64, 3, 8, 8)], ids=["nothing", "data"])
def test_batch_norms_that_share_numbers_or_are_looked_into_stay_as_they_are(calibration):
    class Domains(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)
            self.one, self.other, self.seen = (nn.BatchNorm2d(4) for _ in range(3))
            self.other.weight, self.other.bias = self.one.weight, self.one.bias
            self.seen.register_forward_hook(lambda norm, given, output: output * norm.running_var[:, None, None])

        def forward(self, x):
            return self.head(self.seen(self.one(self.conv(x)) + self.other(self.conv(3 * x))).mean((2, 3)))

    torch.manual_seed(0)
    network, images = Domains(), torch.rand(64, 3, 8, 8)
    nn.init.uniform_(network.one.weight)
    for _ in range(100):
        network.train()(images)
    network.eval()
    file = bitbook.compress(network, k=4096, calibration=calibration)
    assert not file.batch_norm
    expected, found = (x(images) for x in (network, file.to_module(into=copy.deepcopy(network))))
    assert (found - expected).norm() < (0.2 if calibration is not None else 0.01) * expected.norm()


class Read(nn.Module):
    """A network that uses its batch norm, and in `read` once more."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.other = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.other(self.read(self.norm(self.conv(x)))).mean((2, 3)))


class ReadsVariance(Read):
    def read(self, x):
        return x * self.norm.running_var[:, None, None]


class ReadsWeight(Read):
    def read(self, x):
        return x * self.norm.weight[:, None, None]


def by_hand(x, norm):
    return functional.batch_norm(x, norm.running_mean, norm.running_var)


class ReadsByFunction(Read):
    def read(self, x):
        return x + by_hand(x, self.norm)


class ReadsByName(Read):
    def read(self, x):
        return x * getattr(self.norm, "running_var")[:, None, None]  # noqa: B009


@pytest.mark.parametrize("calibration", [None, torch.rand(64, 3, 8, 8)], ids=["nothing", "data"])
@pytest.mark.parametrize("kind", [ReadsVariance, ReadsWeight, ReadsByFunction, ReadsByName])
def test_batch_norms_that_the_network_reads_elsewhere_stay_as_they_are(kind, calibration):
    torch.manual_seed(0)
    network, images = kind(), torch.rand(64, 3, 8, 8)
    for norm in (network.norm, network.other):
        for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(value.data, 0.5, 3)
    network.eval()
    file = bitbook.compress(network, k=4096, calibration=calibration)
    assert "norm" not in file.batch_norm
    if calibration is not None:
        assert "other" in file.batch_norm  # which nothing else reads
    expected, found = (x(images) for x in (network, file.to_module(into=copy.deepcopy(network))))
    assert (found - expected).norm() < 0.01 * expected.norm()


def test_pruned_layers_keep_their_zeros():
    def build():
        network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        prune.random_unstructured(network[0], "weight", amount=0.5)
        prune.l1_unstructured(network[0], "weight", amount=0.5)
        return network

    torch.manual_seed(0)
    network, x = build(), torch.rand(5, 8)
    file = bitbook.compress(network, k=256)
    found = file.to_module(into=build())
    assert file.original_parameters == 8 * 16 + 16 + 16 * 4 + 4
    assert ((found[0].weight == 0) == (network[0].weight_mask == 0)).all()
    torch.testing.assert_close(found(x), network(x), rtol=1e-2, atol=1e-3)


class Whole(nn.Module):
    """A layer called by keyword, in a network that takes batches of one size only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 3)

    def forward(self, x):
        return self.conv(input=x.view(64, 3, 8, 8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_networks_that_cannot_be_rounded_layer_after_layer_are_rounded_otherwise(dtype):
    torch.manual_seed(0)
    images = torch.rand(64, 3, 8, 8).to(dtype)
    for network in (Whole().to(dtype), nn.Sequential(nn.Conv2d(3, 64, 3)).to(dtype)):
        file = bitbook.compress(network, ratio=2, calibration=[(images,)] * 4, progress=False)
        expected, found = (x(images).float() for x in (network, file.to_module(into=copy.deepcopy(network))))
        assert (found - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("ratio", [2, 4, 8])
def test_a_small_network_uses_the_bytes_that_it_is_given(ratio):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(256, 32), nn.Linear(32, 4))
    prune.l1_unstructured(network[0], "weight", amount=0.5)
    file = bitbook.compress(network, ratio=ratio, progress=False)
    budget = 4 * file.original_parameters / ratio
    assert 0.8 * budget < len(file.to_bytes()) <= budget
    error = file.decode()["0.weight"] - network[0].weight.detach().numpy()
    assert np.abs(error).mean() < 0.1 * network[0].weight.abs().mean()


def test_a_layer_that_became_zero_is_told():
    network = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    with torch.no_grad():
        network[0].weight *= 1e-6
    assert "all of it became zero" in bitbook.compress(network, ratio=2, progress=False).summary()


class Counts(nn.Module):
    """Counts its calls in a buffer, and shrinks rows of its embedding where it runs."""

    def __init__(self):
        super().__init__()
        self.rows, self.out = nn.Embedding(20, 6, max_norm=0.5), nn.Linear(6, 3)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.calls += 1
        return self.out(self.rows(x).mean(1))


def test_a_network_that_changes_when_it_runs_is_left_as_it_is():
    network = Counts()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    bitbook.compress(network, calibration=torch.randint(0, 20, (40, 5)), k=4, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Odd(torch.Tensor):
    """A tensor that cannot be copied."""


def test_a_network_that_cannot_be_copied_is_refused_in_our_words():
    network = nn.Sequential(nn.Linear(6, 4))
    network[0].weight = nn.Parameter(network[0].weight.detach().as_subclass(Odd))
    with pytest.raises(ValueError, match=r"the network cannot be copied by copy\.deepcopy: "):
        bitbook.compress(network, calibration=torch.rand(8, 6), k=4)


class Own(nn.Module):
    """A class of one's own with an attribute that torch.compile has, too."""

    def __init__(self):
        super().__init__()
        self._orig_mod, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self._orig_mod(x))


def test_an_attribute_alone_is_no_wrapper():
    assert bitbook.compress(Own(), k=4).codes.keys() == {"_orig_mod.weight", "last.weight"}


def test_a_batch_norm_without_epsilon_keeps_its_statistics():
    network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8, eps=0.0), nn.Linear(8, 3)).eval()
    network[1].running_var.uniform_(0.5, 2)
    x = torch.rand(40, 6)
    again = bitbook.compress(network, calibration=x, k=48).to_module(into=copy.deepcopy(network))
    with torch.no_grad():
        torch.testing.assert_close(again(x), network(x), rtol=0, atol=5e-3)


def test_the_finest_grid_holds_what_rounding_in_turn_moves_beyond_the_weights():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.3, 2)
    norm.register_forward_pre_hook(lambda _, given: (3 * given[0],))
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    network.append(nn.Linear(32, 5))
    file = bitbook.compress(network, calibration=torch.randn(32, 3, 8, 8), ratio=1.5, progress=False)
    assert 1.5 <= file.ratio < 1.7
