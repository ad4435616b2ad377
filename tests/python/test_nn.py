"""nn.Module and its layers, models as parts of modules, the training loop of PyTorch's tutorials, distillation."""
import copy

import numpy as np
import pytest

import tenon
import tenon as torch
from conftest import TINY
from tenon import nn, optim
from tenon.nn import functional as F

SMALL = {**TINY, "vocab_size": 60, "max_position_embeddings": 16, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
IDS = torch.tensor([[2, 5, 7, 3], [2, 8, 3, 0], [2, 9, 9, 3]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]])
LABELS = torch.tensor([1, 0, 2])


class Head(nn.Module):
    def __init__(self, width=4, classes=3):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, classes, bias=False)])
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("steps", torch.zeros(1))
        self.register_buffer("cache", torch.zeros(1), persistent=False)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        self.steps += 1
        return self.layers[1](self.drop(F.gelu(self.layers[0](self.norm(x))))) * self.scale


def test_modules_list_their_parts():
    head = Head()
    names = [n for n, _ in head.named_parameters()]
    assert names == ["scale", "norm.weight", "norm.bias", "layers.0.weight", "layers.0.bias", "layers.1.weight"]
    assert list(head.state_dict()) == ["scale", "steps", *names[1:]] and len(list(head.buffers())) == 2
    assert [n for n, _ in head.named_modules()] == ["", "norm", "layers", "layers.0", "layers.1", "drop"]
    assert isinstance(head.scale, nn.Parameter) and not isinstance(head.steps, nn.Parameter) and head.layers[-1].bias is None
    assert head.get_submodule("layers.0") is head.layers[0] and head.get_parameter("norm.weight") is head.norm.weight
    assert "Linear(in_features=4, out_features=3, bias=False)" in repr(head)
    head.eval()
    assert not head.drop.training and head.train().layers[0].training
    del head.drop
    head.drop = nn.Identity()
    with pytest.raises(TypeError, match="parameter 'scale'"):
        head.scale = torch.ones(1)
    with pytest.raises(AttributeError, match="nothing"):
        head.nothing
    with pytest.raises(AttributeError, match="super"):
        type("Bad", (nn.Module,), {"__init__": lambda self: setattr(self, "x", nn.Linear(1, 1))})()
    shared = nn.Sequential(head.layers[0], nn.ReLU(), head.layers[0])
    assert len(list(shared.parameters())) == 2 and len(shared[:2]) == 2


def test_state_of_modules():
    torch.manual_seed(1)
    a, b = Head(), Head()
    assert not torch.equal(a.layers[0].weight, b.layers[0].weight)
    kept = b.layers[0].weight
    assert b.load_state_dict(a.state_dict()) == ([], []) and torch.equal(a.layers[0].weight, kept) and b.layers[0].weight is kept
    c = copy.deepcopy(a)
    with torch.no_grad():
        c.scale.fill_(7)
    assert a.scale.item() == 1 and c.scale.requires_grad and isinstance(c.scale, nn.Parameter)
    state = a.state_dict()
    state["extra"] = state.pop("scale")
    with pytest.raises(RuntimeError, match="missing: .*scale.*unexpected: .*extra"):
        a.load_state_dict(state)
    with pytest.raises(RuntimeError, match="wrong shapes"):
        a.load_state_dict({**a.state_dict(), "scale": torch.ones(2)})
    assert a.double().scale.dtype == torch.float64 and a.float().scale is a.get_parameter("scale")
    a.apply(lambda m: nn.init.zeros_(m.weight) if isinstance(m, nn.Linear) else None)
    assert a.layers[0].weight.abs().sum().item() == 0


def test_initialisation_follows_the_seed():
    def weights():
        torch.manual_seed(3)
        return nn.Linear(100, 50).weight

    w = weights()
    assert torch.equal(w, weights()) and abs(w.detach().std().item() - 1 / np.sqrt(300)) < 0.005 and w.abs().max().item() <= 0.1
    for init, std in ((nn.init.xavier_uniform_, np.sqrt(2 / 150)), (nn.init.kaiming_normal_, np.sqrt(2 / 100)), (nn.init.normal_, 1)):
        assert abs(init(w).detach().std().item() / std - 1) < 0.05
    q = nn.init.orthogonal_(torch.zeros(6, 4))
    assert torch.allclose(q.t() @ q, torch.eye(4), atol=1e-5)
    assert nn.init.trunc_normal_(torch.zeros(1000), std=2.0).abs().max().item() <= 2
    assert nn.Embedding(5, 3, padding_idx=1).weight[1].abs().sum().item() == 0


def test_dropout():
    torch.manual_seed(2)
    x = torch.ones(100, 100, requires_grad=True)
    layer = nn.Dropout(0.25)
    y = layer(x)
    kept = (y != 0).float().mean().item()
    assert abs(kept - 0.75) < 0.02 and y.max().item() == pytest.approx(4 / 3)
    y.sum().backward()
    assert torch.equal(x.grad, y)
    assert layer.eval()(x) is x and F.dropout(x, 1.0).abs().sum().item() == 0
    with pytest.raises(ValueError, match="probability"):
        nn.Dropout(1.5)


def test_hooks_of_modules():
    layer = nn.Linear(2, 2)
    seen = []
    before = layer.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    after = layer.register_forward_hook(lambda m, args, y: seen.append(args[0].tolist()) or y + 1)
    x = torch.ones(1, 2)
    y = layer(x)
    before.remove(), after.remove()
    assert seen == [[[2, 2]]] and torch.allclose(y, layer(x * 2) + 1)


def test_losses_as_modules():
    torch.manual_seed(4)
    x, t = torch.randn(3, 4), torch.randn(3, 4)
    assert torch.equal(nn.CrossEntropyLoss(weight=torch.ones(4), ignore_index=1)(x, LABELS), F.cross_entropy(x, LABELS, torch.ones(4), ignore_index=1))
    assert torch.equal(nn.KLDivLoss(reduction="batchmean")(x, t.softmax(-1)), F.kl_div(x, t.softmax(-1), reduction="batchmean"))
    assert torch.equal(nn.MSELoss()(x, t), F.mse_loss(x, t)) and torch.equal(nn.BCEWithLogitsLoss()(x, t.sigmoid()), F.binary_cross_entropy_with_logits(x, t.sigmoid()))
    assert torch.equal(nn.CosineSimilarity(dim=1)(x, t), F.cosine_similarity(x, t)) and torch.equal(nn.GELU("tanh")(x), F.gelu(x, "tanh"))
    assert torch.equal(nn.TripletMarginLoss(margin=2.0)(x, t, x + t), F.triplet_margin_loss(x, t, x + t, 2.0))
    with pytest.raises(TypeError, match="reductio"):
        nn.MSELoss(reductio="sum")
    for wrong in (lambda: F.cross_entropy(x, torch.tensor([0, 4, 1])), lambda: F.cross_entropy(x, torch.tensor([0, 1])),
                  lambda: F.mse_loss(x, t, reduction="total"), lambda: F.binary_cross_entropy(x + 5, t), lambda: F.nll_loss(x, torch.tensor([0, -1, 0]))):
        with pytest.raises(ValueError):
            wrong()
    with pytest.warns(UserWarning, match="broadcast"):
        F.mse_loss(torch.ones(3, 1), torch.ones(3))
    assert np.isnan(F.cross_entropy(x, torch.tensor([-100, -100, -100])).item())


class Classifier(nn.Module):
    """The custom model of many tutorials: an encoder with a head of one's own."""

    def __init__(self):
        super().__init__()
        self.encoder = tenon.BertModel(tenon.BertConfig(**SMALL))
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(self.encoder.config.hidden_size, 3)

    def forward(self, input_ids, attention_mask):
        states = self.encoder(input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).float()
        return self.head(self.dropout((states * mask).sum(1) / mask.sum(1)))


def test_a_model_within_a_module_trains(tmp_path):
    torch.manual_seed(5)
    model = Classifier()
    names = [n for n, _ in model.named_parameters()]
    assert "encoder.embeddings.word_embeddings.weight" in names and names[-1] == "head.bias"
    optimizer = optim.AdamW(model.parameters(), lr=5e-3)
    scheduler = optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 20)
    criterion = nn.CrossEntropyLoss()
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = criterion(model(IDS, MASK), LABELS)
        loss.backward()
        assert nn.utils.clip_grad_norm_(model.parameters(), 1.0).item() > 0
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    model.eval()
    with torch.no_grad():
        logits = model(IDS, MASK)
    assert torch.equal(logits.argmax(-1), LABELS) and not logits.requires_grad
    torch.save(model.state_dict(), tmp_path / "model.bin")
    again = Classifier().eval()
    assert again.load_state_dict(torch.load(tmp_path / "model.bin")) == ([], [])
    with torch.no_grad():
        assert torch.allclose(again(IDS, MASK), logits, atol=1e-5)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.head.bias.add_(1)
        twin.encoder.get_parameter("pooler.dense.bias").add_(1)
        assert torch.allclose(model(IDS, MASK), logits, atol=1e-6)


def test_distillation():
    torch.manual_seed(6)
    teacher = tenon.BertForSequenceClassification(tenon.BertConfig(**SMALL, num_labels=3)).eval()
    student = tenon.DistilBertForSequenceClassification(tenon.DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=32, vocab_size=60, num_labels=3,
                                                                               max_position_embeddings=16, dropout=0.0, attention_dropout=0.0))
    T, alpha = 2.0, 0.5
    optimizer = optim.AdamW(student.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        with torch.no_grad():
            t = teacher(input_ids=IDS, attention_mask=MASK).logits
        s = student(input_ids=IDS, attention_mask=MASK).logits
        soft = F.kl_div(F.log_softmax(s / T, dim=-1), F.softmax(t / T, dim=-1), reduction="batchmean") * T * T
        loss = alpha * soft + (1 - alpha) * F.cross_entropy(s, LABELS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] and all(p.grad is None for p in teacher.parameters()) and all(p.grad is not None for p in student.parameters())
    with torch.no_grad():
        p, q = torch.softmax(t / T, -1).double().numpy(), torch.log_softmax(s / T, -1).double().numpy()
    assert soft.item() == pytest.approx((p * (np.log(p) - q)).sum() / 3 * T * T, rel=1e-4)


def test_parts_of_compiled_models():
    model = tenon.BertForSequenceClassification(tenon.BertConfig(**SMALL, num_labels=3))
    for p in model.bert.parameters():
        p.requires_grad = False
    for p in model.bert.encoder.layer[1].parameters():
        p.requires_grad = True
    assert len(model.bert.encoder.layer) == 2 and model.classifier.weight is model.get_parameter("classifier.weight")
    model(input_ids=IDS, labels=LABELS).loss.backward()
    assert {n.partition("layer.")[2][:1] or n for n, p in model.named_parameters() if p.grad is not None} == {"1", "classifier.weight", "classifier.bias"}
    with pytest.raises(RuntimeError, match="cannot be replaced"):
        model.classifier = nn.Linear(32, 5)
    with pytest.raises(NotImplementedError, match="not called on its own"):
        model.bert(IDS)
    with pytest.raises(AttributeError, match="nothing"):
        model.bert.nothing
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([100.0, 0.0, 0.0]))
    assert model.eval()(input_ids=IDS).logits.argmax(-1).tolist() == [0, 0, 0]


class Pair(tenon.BertPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.bert = tenon.BertModel(config)
        self.score = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def forward(self, input_ids, attention_mask=None):
        return self.score(self.bert(input_ids, attention_mask=attention_mask).pooler_output).squeeze(-1)


def test_own_classes_are_saved_and_opened(tmp_path):
    torch.manual_seed(8)
    model = Pair(tenon.BertConfig(**SMALL)).eval()
    with torch.no_grad():
        before = model(IDS, MASK)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.allclose(Pair.from_pretrained(tmp_path)(IDS, MASK), before, atol=1e-6)
    tenon.BertForSequenceClassification(tenon.BertConfig(**SMALL)).save_pretrained(tmp_path / "base")
    opened, info = Pair.from_pretrained(tmp_path / "base", output_loading_info=True)
    assert sorted(info["missing_keys"]) == ["score.bias", "score.weight"] and sorted(info["unexpected_keys"]) == ["classifier.bias", "classifier.weight"]
    opened(IDS).sum().backward()
    assert opened.score.weight.grad is not None


def test_autocast_and_scaler():
    torch.manual_seed(9)
    model = Classifier().eval()
    scaler = torch.amp.GradScaler(init_scale=8.0, growth_interval=1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    plain = F.cross_entropy(model(IDS, MASK), LABELS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.is_autocast_enabled()
        loss = F.cross_entropy(model(IDS, MASK), LABELS)
    assert not torch.is_autocast_enabled() and loss.item() == pytest.approx(plain.item(), rel=0.05)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1e9).item()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 16 and 0 < norm < 100
    model.head.weight.grad.fill_(float("inf"))
    before = model.head.weight.tolist()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 8 and model.head.weight.tolist() == before
    for other in (torch.float32, tenon.float8_e5m2):
        with pytest.raises(RuntimeError, match="bfloat16"):
            torch.autocast("cpu", dtype=other)


def test_autocast_rounds_factors():
    torch.manual_seed(10)
    x, w = torch.randn(16, 64, requires_grad=True), torch.randn(64, 8, requires_grad=True)
    for product in (lambda: x @ w, lambda: F.linear(x, w.t())):
        exact = product()
        with torch.autocast("cpu"):
            rounded = product()
        rounded.sum().backward()
        assert 0 < (exact - rounded).abs().max().item() < 0.02 * exact.abs().max().item() and rounded.dtype == torch.float32
    a, b = (t.detach().bfloat16().float() for t in (x, w))
    assert torch.allclose(rounded.detach(), a @ b, atol=1e-4)


def test_autocast_to_float8():
    torch.manual_seed(11)
    x, w = torch.randn(16, 200, requires_grad=True), torch.randn(8, 200, requires_grad=True)
    exact = F.linear(x, w)
    exact.square().sum().backward()
    wanted, x.grad, w.grad = [x.grad, w.grad], None, None
    with torch.autocast("cpu", dtype=torch.float8_e4m3fn):
        assert torch.get_autocast_dtype() is torch.float8_e4m3fn
        with torch.autocast("cpu", enabled=False):
            assert torch.equal(F.linear(x, w), exact)
        rounded = F.linear(x, w)
    rounded.square().sum().backward()
    assert 0 < (exact - rounded).abs().max().item() < 0.05 * exact.abs().max().item() and rounded.dtype == torch.float32
    for exactly, got in zip(wanted, (x.grad, w.grad)):
        assert 0 < (exactly - got).norm().item() < 0.1 * exactly.norm().item()
    with torch.autocast("cpu", dtype=torch.float8_e4m3fn, fp8_scaling="tensor"):
        whole, product = F.linear(x, w), x @ w.t()
    for y in (whole, product):
        assert (y - rounded).abs().max().item() > 0 and 0 < (y - exact).norm().item() < 0.06 * exact.norm().item()
    assert torch.get_autocast_dtype() is torch.bfloat16
    with pytest.raises(ValueError, match=r"\[autocast\] fp8_scaling: expected block or tensor, got 'row'"):
        torch.autocast("cpu", dtype=torch.float8_e4m3fn, fp8_scaling="row")


def test_clipping_and_vectors():
    a, b = torch.zeros(2, requires_grad=True), torch.zeros(2, 1, requires_grad=True)
    (a * torch.tensor([3.0, 0.0])).sum().backward()
    (b * 4).sum().backward()
    norm = nn.utils.clip_grad_norm_([a, b], 1.0)
    assert norm.item() == pytest.approx(np.sqrt(9 + 32), rel=1e-5)
    total = np.concatenate([a.grad.numpy(), b.grad.numpy().ravel()])
    assert np.linalg.norm(total) == pytest.approx(1, rel=1e-4)
    nn.utils.clip_grad_value_([a], 0.1)
    assert a.grad.max().item() == pytest.approx(0.1)
    a.grad.fill_(float("nan"))
    with pytest.raises(RuntimeError, match="nan"):
        nn.utils.clip_grad_norm_([a], 1.0, error_if_nonfinite=True)
    vector = nn.utils.parameters_to_vector([a, b]) + 1
    nn.utils.vector_to_parameters(vector, [a, b])
    assert a.tolist() == [1, 1] and b.tolist() == [[1], [1]]
    assert nn.utils.rnn.pad_sequence([torch.tensor([1, 2]), torch.tensor([3])], batch_first=True, padding_value=9).tolist() == [[1, 2], [3, 9]]


def test_transformer_encoders():
    torch.manual_seed(11)
    for norm_first in (False, True):
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True, norm_first=norm_first)
        encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8)).double()
        assert len(list(encoder.parameters())) == 2 * 12 + 2 and encoder.layers[0] is not encoder.layers[1]
        x = torch.randn(2, 4, 8).double().requires_grad_()
        causal, padding = torch.ones(4, 4).triu(1).bool(), torch.tensor([[False] * 4, [False, False, True, True]])

        def loss(given):
            return (encoder(given, mask=causal, src_key_padding_mask=padding) * torch.arange(8)).sum()

        loss(x).backward()
        step = torch.randn(2, 4, 8).double() * 1e-5
        with torch.no_grad():
            assert (x.grad * step).sum().item() == pytest.approx((loss(x + step) - loss(x - step)).item() / 2, rel=1e-5)
            before, moved = encoder(x, causal), x.detach().clone()
            moved[:, 2:] += torch.arange(8)
            assert torch.allclose(encoder(moved, causal)[:, :2], before[:, :2]) and not torch.allclose(encoder(moved, causal)[:, 2:], before[:, 2:])
            assert torch.allclose(encoder(moved, None, padding)[1, :2], encoder(x, None, padding)[1, :2])
    attention = nn.MultiheadAttention(8, 2)
    y, weights = attention(*[torch.randn(3, 2, 8)] * 3)
    assert y.shape == (3, 2, 8) and weights.shape == (2, 3, 3) and torch.allclose(weights.sum(-1), torch.ones(2, 3))
    with pytest.raises(ValueError, match="multiple of 3"):
        nn.MultiheadAttention(8, 3)
