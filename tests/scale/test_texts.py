"""Texts of parquet shards become embedding shards, row for row, ready to be pruned."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from secateur.cli import app
from secateur.errors import DataError, SecateurError, WrongData
from secateur.scale import Clustering, prune
from secateur.scale.texts import embed_texts
from secateur.training.texts import text_embedder

WORDS = ["a", "cat", "dog", "sat", "on", "the", "mat", "ran"]
HERE = "tests.scale.test_texts"
ASKED: list[list[str]] = []


def lengths():
    """An embedder that a reader can check: how many letters, words, and one."""

    def of(texts):
        ASKED.append(texts)
        return np.array([[len(t), len(t.split()), 1.0] for t in texts])

    return of


def flat():
    return lambda texts: np.zeros(len(texts))


def far():
    return lambda texts: np.full((len(texts), 2), 1e6)


def nothing():
    return None


def shard(path, texts, **columns):
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"caption": pa.array(texts, pa.string()), **columns}), path)


@pytest.fixture
def shards(tmp_path):
    """Two shards with ids of their own and a score, and an empty one between."""
    shard(tmp_path / "in" / "0.parquet", ["a cat", "the dog sat", "ran"], id=["x", "y", "z"], score=[1, 2, 3])
    shard(tmp_path / "in" / "1.parquet", [], id=pa.array([], pa.string()), score=pa.array([], pa.int64()))
    shard(tmp_path / "in" / "2.parquet", ["on the mat", "cat"], id=["u", "v"], score=[4, 5])
    ASKED.clear()
    return tmp_path / "in"


def embedded(shards, out, **options):
    made = embed_texts(str(shards), text="caption", out=str(out), quiet=True, **{"by": f"{HERE}:lengths"} | options)
    return pa.concat_tables([pq.read_table(place.url) for place in made if pq.read_metadata(place.url).num_rows])


def test_each_row_keeps_its_id_and_columns_and_gains_the_embedding_of_its_text(shards, tmp_path):
    found = embedded(shards, tmp_path / "out", batch=2)
    assert found.column_names == ["caption", "id", "score", "embedding"]
    assert found["id"].to_pylist() == ["x", "y", "z", "u", "v"]
    assert found["score"].to_pylist() == [1, 2, 3, 4, 5]
    assert found["embedding"].to_pylist() == [[5, 2, 1], [11, 3, 1], [3, 1, 1], [10, 3, 1], [3, 1, 1]]
    assert found.schema.field("embedding").type.value_type == pa.float16()
    assert [len(texts) for texts in ASKED] == [2, 1, 2]


def test_rows_without_ids_are_numbered_through_all_shards_those_left_out_counted_too(tmp_path):
    shard(tmp_path / "in" / "0.parquet", ["a", None, "cat"])
    shard(tmp_path / "in" / "1.parquet", ["  ", "dog"])
    found = embedded(tmp_path / "in", tmp_path / "out", on_bad="skip")
    assert found["id"].to_pylist() == [0, 2, 4]
    assert found["caption"].to_pylist() == ["a", "cat", "dog"]
    assert found["embedding"].to_pylist() == [[1, 1, 1], [3, 1, 1], [3, 1, 1]]


def test_many_rows_are_asked_in_the_batches_that_were_asked_for_and_stay_in_order(tmp_path, monkeypatch):
    from secateur.scale import texts as module

    monkeypatch.setattr(module, "_ROWS", 7)
    texts = ["x" * (k + 1) for k in range(40)]
    shard(tmp_path / "in" / "0.parquet", texts)
    ASKED.clear()
    found = embedded(tmp_path / "in", tmp_path / "out", batch=3)
    assert [row[0] for row in found["embedding"].to_pylist()] == list(range(1, 41))
    assert [text for asked in ASKED for text in asked] == texts
    assert max(map(len, ASKED)) == 3


def test_a_stopped_run_goes_on_after_its_last_whole_shard(shards, tmp_path):
    whole = embedded(shards, tmp_path / "whole")
    embedded(shards, tmp_path / "out")
    (tmp_path / "out" / "part-000002.parquet").unlink()
    ASKED.clear()
    assert embedded(shards, tmp_path / "out").equals(whole)
    assert ASKED == [["on the mat", "cat"]]


def test_from_texts_to_what_is_kept_on_the_command_line(tmp_path):
    texts = [f"{WORDS[k % 8]} {'x' * (k % 30)} {k}" for k in range(60)]
    shard(tmp_path / "in" / "0.parquet", texts)
    words = ["scale", "embed", str(tmp_path / "in"), "--text", "caption", "--by", f"{HERE}:lengths"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "shards"), "--json"])
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.output)) == 1
    how = Clustering(clusters=2)
    found = prune(str(tmp_path / "shards"), keep=20, out=str(tmp_path / "o"), clustering=how, dedup=None, quiet=True)
    assert (found.rows, found.kept) == (60, 20)
    refused = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "other"), "--split", "train"])
    assert refused.exit_code
    assert "split: is of data sets; with --text, each shard gives one of its own" in refused.output
    assert not (tmp_path / "other").exists()


class TestBadInput:
    @pytest.mark.parametrize(
        ("columns", "said"),
        [
            ({"id": [1, 2]}, "shards: .*1.parquet has no column 'caption', only id; name one with --text"),
            ({"caption": [1, 2]}, "shards: column 'caption' of .*1.parquet holds int64; expected texts"),
            ({"caption": ["a", "b"], "embedding": [1, 2]}, "shards: .*1.parquet has a column embedding already"),
            ({"caption": ["a", "b"]}, "shards: .*1.parquet has no column 'id', but others have"),
            ({"caption": ["a", None], "id": ["x", "y"]}, "texts: row 1 of .*1.parquet has none.*--on-bad skip"),
            ({"caption": ["a", " \n"], "id": ["x", "y"]}, "texts: row 1 of .*1.parquet has none"),
        ],
    )
    def test_shards_that_do_not_fit(self, tmp_path, columns, said):
        shard(tmp_path / "in" / "0.parquet", ["a cat"], id=["w"])
        pq.write_table(pa.table(columns), tmp_path / "in" / "1.parquet")
        with pytest.raises(DataError, match=said):
            embedded(tmp_path / "in", tmp_path / "out")

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (
                {"by": f"{HERE}:flat"},
                r"embedder: .*flat must give floats of shape \(texts, dims\), got ndarray of shape",
            ),
            ({"by": f"{HERE}:nothing"}, "embedder: .*nothing must give what takes a list of texts, got NoneType"),
            ({"by": f"{HERE}:no"}, "embedder: .*no cannot be imported"),
            ({"by": f"{HERE}:far"}, "embedding: row 0 of .*0.parquet has a number that is nan or beyond float16"),
            ({"by": "word2vec"}, "embedder: expected one of .*transformers:NAME, got 'word2vec'"),
            ({"batch": 0}, "batch: expected 1 or more, got 0"),
            ({"on_bad": "drop"}, "on_bad: expected stop or skip, got 'drop'"),
        ],
    )
    def test_options_and_embedders_that_make_no_sense(self, shards, tmp_path, options, said):
        with pytest.raises(SecateurError, match=said):
            embedded(shards, tmp_path / "out", **options)

    def test_an_out_of_other_texts_or_of_something_else(self, shards, tmp_path):
        embedded(shards, tmp_path / "out")
        shard(shards / "2.parquet", ["on the rug", "cat"], id=["u", "v"], score=[4, 5])
        with pytest.raises(WrongData, match="contains other embeddings .fingerprint was"):
            embedded(shards, tmp_path / "out")
        assert embedded(shards, tmp_path / "out", force=True)["caption"].to_pylist()[-2] == "on the rug"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A tiny BERT and a tiny CLIP with random weights and a tokenizer of eight words, saved as one saves them."""
    import transformers
    from transformers import BertConfig, BertModel, BertTokenizerFast, CLIPConfig, CLIPModel

    transformers.logging.disable_progress_bar()
    root = tmp_path_factory.mktemp("language")
    (root / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    bert = BertModel(BertConfig(vocab_size=13, max_position_embeddings=8, **small))
    text = small | {
        "vocab_size": 13,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "pad_token_id": 0,
        "max_position_embeddings": 8,
    }
    seen = small | {"image_size": 16, "patch_size": 8}
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=seen, projection_dim=12))
    for name, model in (("bert", bert), ("clip", clip)):
        model.save_pretrained(root / name)
        BertTokenizerFast(vocab=str(root / "vocab.txt"), model_max_length=512).save_pretrained(root / name)
    return root, bert.eval(), clip.eval()


class TestTransformers:
    def tokens(self, text):
        """The numbers of the words, between those of [CLS] and [SEP]."""
        return torch.tensor([[2, *(5 + WORDS.index(word) for word in text.split()), 3]])

    def test_a_text_is_the_mean_of_its_last_states_whatever_stands_beside_it(self, models):
        root, bert, _ = models
        texts = ["a cat sat", "dog", "the cat sat on the mat"]
        found, cut = text_embedder(f"transformers:{root / 'bert'}", device=torch.device("cpu"))(texts)
        with torch.no_grad():
            alone = [bert(input_ids=self.tokens(text)).last_hidden_state[0].mean(0) for text in texts]
        torch.testing.assert_close(found, torch.stack(alone), atol=1e-5, rtol=1e-4)
        assert cut == 0

    def test_a_text_longer_than_the_model_takes_is_cut_and_counted(self, models):
        root, bert, _ = models
        texts = ["the cat sat on the mat and the dog ran", "dog"]
        found, cut = text_embedder(f"transformers:{root / 'bert'}", device=torch.device("cpu"))(texts)
        with torch.no_grad():
            short = bert(input_ids=self.tokens("the cat sat on the mat")).last_hidden_state[0].mean(0)
        torch.testing.assert_close(found[0], short, atol=1e-5, rtol=1e-4)
        assert cut == 1

    def test_a_model_of_images_and_text_gives_its_text_features(self, models):
        root, _, clip = models
        found, _ = text_embedder(f"transformers:{root / 'clip'}", device=torch.device("cpu"))(["a cat sat", "dog"])
        with torch.no_grad():
            out = clip.get_text_features(input_ids=self.tokens("a cat sat"))
        expected = out if isinstance(out, torch.Tensor) else out.pooler_output
        assert found.shape == (2, 12)
        torch.testing.assert_close(found[:1], expected, atol=1e-5, rtol=1e-4)

    def test_through_shards_and_what_was_cut_is_told(self, models, tmp_path, capfd):
        shard(tmp_path / "in" / "0.parquet", ["a cat", "the cat sat on the mat the dog ran"])
        by = f"transformers:{models[0] / 'bert'}"
        embed_texts(str(tmp_path / "in"), text="caption", by=by, out=str(tmp_path / "out"))
        assert "1 texts are longer than" in "".join(capfd.readouterr())

    def test_a_folder_without_a_model(self, tmp_path):
        with pytest.raises(SecateurError, match="could not be read as a model"):
            text_embedder(f"transformers:{tmp_path}", device=torch.device("cpu"))
