"""Embedders give one vector a row: those of others behind their own preparation, yours, or the rows themselves."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from secateur.data.source import open_data
from secateur.data.tensors import Tensors
from secateur.errors import MissingExtra, SecateurError
from secateur.training.embedders import Resized, embedder

CPU = torch.device("cpu")
COLOUR, GREY = (3, 8, 8), (1, 8, 8)


def images(shape, n=4, seed=0):
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


class TestInput:
    def test_images_are_flattened_over_255(self):
        rows = images(COLOUR)
        out = embedder("input", shape=COLOUR, device=CPU)(rows)
        assert out.dtype == torch.float32
        np.testing.assert_allclose(out[2], rows[2].numpy().reshape(-1) / 255, rtol=1e-6)

    def test_vectors_stay_as_they_are(self):
        rows = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(embedder("input", shape=(7,), device=CPU)(rows), rows, rtol=0, atol=0)

    def test_it_takes_the_batches_of_a_data_set(self):
        pixels = images(COLOUR).permute(0, 2, 3, 1).contiguous().numpy()
        data = Tensors(open_data(pixels).train, CPU)
        out = embedder("input", shape=data.shape, device=CPU)(data.sample(np.array([3, 1])))
        assert out.shape == (2, 192)
        np.testing.assert_allclose(out[0], np.moveaxis(pixels[3], -1, 0).reshape(-1) / 255, rtol=1e-6)


class Projected(torch.nn.Module):
    """A random projection, with what is different while training."""

    def __init__(self, shape):
        super().__init__()
        self.layer = torch.nn.Linear(torch.Size(shape).numel(), 3)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, rows):
        return self.drop(self.layer(rows.flatten(1).float())).double()


def no_net(shape):
    return shape


class Bad(torch.nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, rows):
        return self.answer(rows)


BAD = {
    "maps": (lambda rows: rows.float(), r"got torch.float32 of shape \(4, 3, 8, 8\) for 4 rows"),
    "numbers": (lambda rows: rows.float().flatten(1).sum(1), r"of shape \(4,\)"),
    "wholes": (lambda rows: rows.flatten(1), "got torch.uint8"),
    "one": (lambda rows: rows.float().flatten(1)[:1], r"of shape \(1, 192\) for 4 rows"),
    "tuple": (lambda rows: (rows, rows), "must give a tensor .*, got tuple"),
}


def bad(kind):
    return lambda shape: Bad(BAD[kind][0])


bad_maps, bad_numbers, bad_wholes, bad_one, bad_tuple = (bad(kind) for kind in BAD)
HERE = "tests.training.test_embedders"


class TestYourOwn:
    def test_it_is_called_with_the_shape_and_sees_the_raw_rows(self):
        embed = embedder(f"{HERE}:Projected", shape=COLOUR, device=CPU)
        rows = images(COLOUR)
        by_hand = rows.flatten(1).float() @ embed.net.layer.weight.T + embed.net.layer.bias
        torch.testing.assert_close(embed(rows), by_hand)

    def test_it_never_trains_and_keeps_no_gradients(self):
        embed = embedder(f"{HERE}:Projected", shape=COLOUR, device=CPU)
        out = embed(images(COLOUR))
        assert not embed.net.training
        assert not out.requires_grad
        torch.testing.assert_close(out, embed(images(COLOUR)), rtol=0, atol=0)

    def test_random_weights_are_the_same_each_time_and_leave_the_global_stream(self):
        before = torch.random.get_rng_state()
        one, two = (embedder(f"{HERE}:Projected", shape=COLOUR, device=CPU)(images(COLOUR)) for _ in range(2))
        torch.testing.assert_close(one, two, rtol=0, atol=0)
        torch.testing.assert_close(torch.random.get_rng_state(), before)


class TestResized:
    """What stands in front of timm's nets."""

    def resized(self, size, mode="bicubic"):
        mean, spread = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.5])
        return Resized(torch.nn.Identity(), size, mean, spread, mode)

    def test_images_of_its_size_are_only_normalised(self):
        rows = images(COLOUR)
        out = self.resized((8, 8))(rows)
        np.testing.assert_allclose(out[1, 2], (rows[1, 2].numpy() / 255 - 0.3) / 0.5, atol=1e-6)

    def test_grey_images_become_three_channels_alike(self):
        rows = images(GREY)
        out = self.resized((8, 8))(rows)
        np.testing.assert_allclose(out[1, 0], (rows[1, 0].numpy() / 255 - 0.5) / 0.2, atol=1e-6)
        np.testing.assert_allclose(out[1, 1], (rows[1, 0].numpy() / 255 - 0.4) / 0.25, atol=1e-6)

    @pytest.mark.parametrize("side", [5, 20], ids=["smaller", "larger"])
    @pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
    def test_resizing_is_that_of_pillow_up_to_its_rounding(self, side, mode):
        """Where nothing overshoots: Pillow cuts that off after the columns, and again after the rows."""
        rows = images((3, 12, 12)) // 2 + 64
        out = self.resized((side, side), mode)(rows)
        for k in range(3):
            image = Image.fromarray(rows[0, k].numpy()).resize((side, side), Image.Resampling[mode.upper()])
            mean, spread = (0.5, 0.4, 0.3)[k], (0.2, 0.25, 0.5)[k]
            np.testing.assert_allclose(out[0, k] * spread + mean, np.asarray(image) / 255, atol=2 / 255)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Tiny models with random weights, saved as one saves them: a ViT, one without its pooler, a CLIP, and others."""
    import transformers
    from transformers import (
        CLIPConfig,
        CLIPModel,
        ResNetConfig,
        ResNetModel,
        ViTConfig,
        ViTForImageClassification,
        ViTMAEConfig,
        ViTMAEModel,
        ViTModel,
    )

    root = tmp_path_factory.mktemp("models")
    transformers.logging.disable_progress_bar()
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    seen = {"image_size": 16, "patch_size": 8}
    text = {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    config = ViTConfig(**small, **seen)
    made = {
        "vit": ViTModel(config),
        "headed": ViTForImageClassification(config),
        "clip": CLIPModel(CLIPConfig(text_config=small | text, vision_config=small | seen, projection_dim=12)),
        "masked": ViTMAEModel(ViTMAEConfig(**small, **seen)),
        "resnet": ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 6], depths=[1, 1])),
    }
    prepare = {
        "image_processor_type": "ViTImageProcessor", "do_normalize": True, "do_rescale": True, "do_resize": True,
        "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.5], "rescale_factor": 1 / 255, "resample": 2,
        "size": {"height": 16, "width": 16},
    }  # fmt: skip
    for name, model in made.items():
        model.save_pretrained(root / name)
        (root / name / "preprocessor_config.json").write_text(json.dumps(prepare))
    return root, {name: model.eval() for name, model in made.items()}


class TestTransformers:
    SHAPE = (3, 16, 16)

    def by_hand(self, model, rows):
        """The model on rows of its own size, normalised here."""
        mean = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)
        spread = torch.tensor([0.2, 0.25, 0.5]).view(3, 1, 1)
        with torch.no_grad():
            return model(pixel_values=(rows / 255 - mean) / spread)

    def embed(self, root, name, rows):
        return embedder(f"transformers:{root / name}", shape=tuple(rows.shape[1:]), device=CPU)(rows)

    def test_the_pooled_output_behind_its_own_processor(self, models):
        root, made = models
        rows = images(self.SHAPE)
        out = self.embed(root, "vit", rows)
        assert out.shape == (4, 16)
        torch.testing.assert_close(out, self.by_hand(made["vit"], rows).pooler_output, atol=1e-5, rtol=1e-4)

    def test_grey_images_and_other_sizes_are_brought_to_its_own(self, models):
        root, _ = models
        rows = images((1, 8, 8))
        big = torch.stack([
            torch.from_numpy(np.array(Image.fromarray(r[0].numpy()).resize((16, 16), Image.Resampling.BILINEAR)))
            for r in rows
        ])[:, None]  # fmt: skip
        expected = self.embed(root, "vit", big.expand(-1, 3, -1, -1))
        torch.testing.assert_close(self.embed(root, "vit", rows), expected, atol=1e-5, rtol=1e-4)

    def test_a_checkpoint_without_pooler_gives_its_class_token(self, models):
        """Its pooler would be random weights."""
        root, made = models
        rows = images(self.SHAPE)
        expected = self.by_hand(made["headed"].vit, rows).last_hidden_state[:, 0]
        torch.testing.assert_close(self.embed(root, "headed", rows), expected, atol=1e-5, rtol=1e-4)

    def test_models_of_images_and_text_give_their_image_features(self, models):
        root, made = models
        rows = images(self.SHAPE)
        seen = self.by_hand(made["clip"].vision_model, rows).pooler_output
        with torch.no_grad():
            expected = made["clip"].visual_projection(seen)
        assert expected.shape == (4, 12)
        torch.testing.assert_close(self.embed(root, "clip", rows), expected, atol=1e-5, rtol=1e-4)

    def test_pooled_maps_are_vectors(self, models):
        root, _ = models
        assert self.embed(root, "resnet", images(self.SHAPE)).shape == (4, 6)

    def test_a_model_without_pooled_output_is_named(self, models):
        root, _ = models
        with pytest.raises(SecateurError, match=r"masked gives last_hidden_state, .* but no pooled output; write"):
            self.embed(root, "masked", images(self.SHAPE))

    def test_a_model_saved_without_some_weights(self, models):
        from safetensors.torch import load_file, save_file

        root, made = models
        made["vit"].save_pretrained(root / "part")
        (root / "part" / "preprocessor_config.json").write_text((root / "vit" / "preprocessor_config.json").read_text())
        weights = load_file(root / "part" / "model.safetensors")
        del weights["layernorm.weight"]
        save_file(weights, root / "part" / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(SecateurError, match=r"part was saved without 1 of its weights \(layernorm.weight\)"):
            self.embed(root, "part", images(self.SHAPE))

    def test_a_folder_that_holds_no_model(self, tmp_path):
        with pytest.raises(SecateurError, match=r"embedder: .* could not be read as a model \("):
            self.embed(tmp_path, ".", images(self.SHAPE))

    def test_a_hub_that_cannot_be_reached_is_one_sentence(self, monkeypatch):
        import huggingface_hub

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(SecateurError, match=r"embedder: no folder nobody/nothing, .* and the hub did not give"):
            embedder("transformers:nobody/nothing", shape=self.SHAPE, device=CPU)

    def test_the_global_stream_is_left(self, models):
        before = torch.random.get_rng_state()
        self.embed(models[0], "headed", images(self.SHAPE))
        torch.testing.assert_close(torch.random.get_rng_state(), before)


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    @pytest.mark.parametrize("package", ["timm", "transformers"])
    def test_without_the_package_the_command_to_type(self, package, monkeypatch):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(
            MissingExtra, match=rf'^embedder: {package} is not .*: pip install "secateur\[{package}\]"$'
        ):
            embedder(f"{package}:some", shape=COLOUR, device=CPU)

    def test_a_package_that_lacks_another(self, monkeypatch, tmp_path):
        (tmp_path / "timm.py").write_text("import torchvision_of_nowhere\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "timm", raising=False)
        with pytest.raises(MissingExtra, match="timm is there but cannot be imported .*torchvision_of_nowhere"):
            embedder("timm:resnet10t", shape=COLOUR, device=CPU)

    @pytest.mark.parametrize("spec", ["timm:resnet10t", "transformers:some/model"])
    def test_nets_of_images_refuse_vectors(self, spec):
        with pytest.raises(SecateurError, match=f"embedder: {spec} takes images, but the data are vectors of 7; use"):
            embedder(spec, shape=(7,), device=CPU)

    @pytest.mark.parametrize("spec", ["resnet9", "timm", "timm:", "input:2", "module:function", ""])
    def test_an_unknown_embedder_lists_the_kinds(self, spec):
        said = "embedder: expected one of an OUT folder, input, package.module:function, timm:NAME"
        with pytest.raises(SecateurError, match=said):
            embedder(spec, shape=COLOUR, device=CPU)

    def test_a_function_that_is_not_there_or_makes_no_net(self):
        with pytest.raises(SecateurError, match=f"embedder: {HERE}:nothing cannot be imported"):
            embedder(f"{HERE}:nothing", shape=COLOUR, device=CPU)
        with pytest.raises(SecateurError, match=f"embedder: {HERE}:no_net must return a torch.nn.Module, got tuple"):
            embedder(f"{HERE}:no_net", shape=COLOUR, device=CPU)

    @pytest.mark.parametrize("kind", BAD)
    def test_a_net_that_gives_no_vectors(self, kind):
        embed = embedder(f"{HERE}:bad_{kind}", shape=COLOUR, device=CPU)
        with pytest.raises(SecateurError, match=f"embedder: {HERE}:bad_{kind} .*{BAD[kind][1]}"):
            embed(images(COLOUR))
