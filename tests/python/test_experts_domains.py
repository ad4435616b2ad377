"""Experts and domains: assignment and accuracy, teachers, dense models made into mixtures and back, pictures and displays."""
import io
import itertools

import numpy as np
import pytest

import tenon
from expert_models import batch, deepseek, llama, mixtral, rows
from tenon.experts import (DomainCounts, ExpertDistillationTrainer, RouterMonitor, active_parameters, assign_experts, count_domains, heat_map,
                           merge_experts, router_accuracy, training_flops_per_token, upcycle)
from training_data import arguments


def test_the_assignment_is_the_best_of_all():
    draw = np.random.default_rng(0)
    for domains, experts in ((1, 1), (2, 2), (3, 5), (4, 4), (5, 6)):
        for _ in range(20):
            counts = draw.integers(0, 6, (domains, experts))
            found = assign_experts(counts)
            assert len(set(found)) == domains
            best = max(sum(counts[d, e] for d, e in enumerate(p)) for p in itertools.permutations(range(experts), domains))
            assert sum(counts[d, e] for d, e in enumerate(found)) == best
    with pytest.raises(ValueError, match="counts"):
        assign_experts(np.ones((3, 2)))


def test_accuracy_assigns_on_training_data_and_scores_held_out_data():
    training, held = DomainCounts(2, 2, 3), DomainCounts(2, 2, 3)
    training.add([[2, 2, 2, 0], [0, 1, 2, 0]], 0)
    training.add([[1, 1, 1, 1], [0, 0, 0, 0]], 1)
    held.add([[2, 2, 0, 1], [0, 0, 0, 0]], 0)
    held.add([[1, 2, 2, 2], [0, 0, 0, 0]], 1)
    found = router_accuracy(training, held)
    assert (found.layer, found.experts) == (0, [2, 1])
    assert found.tokens == pytest.approx(3 / 8) and found.sequences == pytest.approx(1 / 2)
    assert found.sequences_by_domain == [1.0, 0.0] and len(found.tokens_by_layer) == 2
    with pytest.raises(ValueError, match="one shape"):
        router_accuracy(training, DomainCounts(1, 2, 3))


def test_counting_reads_the_text_and_not_the_padding():
    model = mixtral()
    data = rows(4, domains=2) + [{**rows(1)[0], "input_ids": rows(1)[0]["input_ids"][:5], "domain": 1}]
    counts = count_domains(model, data, 2, batch_size=3)
    assert counts.tokens.sum(2).tolist() == [[24, 29]] * 2 and counts.sequences.sum(2).tolist() == [[2, 3]] * 2
    assert model.training
    with pytest.raises(ValueError, match="domain"):
        count_domains(model, data, 1)
    with pytest.raises(TypeError, match="no experts"):
        count_domains(llama(), data, 2)
    with pytest.raises(ValueError, match="rows"):
        count_domains(model, [], 2)


def test_named_experts_learn_their_domains(tmp_path):
    model = mixtral(seed=3)
    trainer = ExpertDistillationTrainer(model, arguments(tmp_path, max_steps=60, learning_rate=1e-2, logging_steps=20), train_dataset=rows(64, domains=4),
                                        experts_of_domains={0: 6, 1: 1, 2: 3, 3: 0}, kl_weight=0.0, router_weight=1.0)
    trainer.train()
    log = [e["router_target_loss"] for e in trainer.state.log_history if "router_target_loss" in e]
    assert log[-1] < 0.5 * log[0]
    found = router_accuracy(count_domains(model, rows(64, domains=4), 4), count_domains(model, rows(32, seed=9, domains=4), 4))
    assert found.experts == [6, 1, 3, 0] and found.sequences > 0.9


def test_a_domain_may_own_several_experts(tmp_path):
    model = mixtral(seed=3)
    trainer = ExpertDistillationTrainer(model, arguments(tmp_path, max_steps=60, learning_rate=1e-2), train_dataset=rows(64, domains=4),
                                        experts_of_domains={d: (d, 7 - d) for d in range(3)}, kl_weight=0.0, router_weight=1.0)
    targets = np.asarray(trainer._targets({"input_ids": tenon.as_tensor(np.ones((3, 5), np.int64))}, np.array([1, 3, 0])))
    assert targets.tolist() == [[1, 1, 6, 1, 1], [-100] * 5, [0, 0, 7, 0, 0]]
    trainer.train()
    model.set_routing(report=True)
    loads = np.asarray(model.eval()(input_ids=[r["input_ids"] for r in rows(64, seed=9, domains=4) if r["domain"] == 1]).expert_loads)
    assert all(set(np.argsort(-row)[:2]) == {1, 6} for row in loads)


def test_a_model_is_its_own_dense_teacher(tmp_path):
    model = mixtral(seed=3)
    trainer = ExpertDistillationTrainer(model, arguments(tmp_path, max_steps=2), train_dataset=rows(8), kl_weight=1.0, hidden_weight=1.0)
    given = {**batch(), "labels": batch()["input_ids"]}
    given = {k: tenon.as_tensor(v) for k, v in given.items()}
    model.train()
    loss = trainer.compute_loss(model, given).item()
    plain = model(**given).loss.item()
    assert loss > plain + 1e-4 and model.num_active_experts == 2 and model.training
    with model.active_experts(8):
        assert trainer.compute_loss(model, given).item() == pytest.approx(model(**given).loss.item(), rel=1e-5)
    trainer.train()


def test_teachers_by_domain(tmp_path):
    teachers = {0: llama(1), 1: llama(2)}
    model = mixtral()
    trainer = ExpertDistillationTrainer(model, arguments(tmp_path, max_steps=2), train_dataset=rows(8, domains=2), teacher=teachers, kl_weight=1.0)
    trainer.train()
    ids = np.array([rows(2, domains=2)[i]["input_ids"] for i in range(2)])
    logits, _, _ = trainer._ask(model, {"input_ids": tenon.as_tensor(ids)}, np.array([1, 0]))
    assert np.allclose(np.asarray(logits)[0], np.asarray(teachers[1].eval()(input_ids=ids[:1]).logits)[0], atol=1e-5)
    with pytest.raises(ValueError, match="no teacher for domain 2"):
        ExpertDistillationTrainer(model, arguments(tmp_path, max_steps=9), train_dataset=rows(12, domains=3), teacher=teachers).train()
    with pytest.raises(ValueError, match='column "domain"'):
        ExpertDistillationTrainer(model, arguments(tmp_path, max_steps=1), train_dataset=rows(8), teacher=teachers).train()
    with pytest.raises(ValueError, match="vocabulary"):
        ExpertDistillationTrainer(model, arguments(tmp_path), train_dataset=rows(8), teacher=llama(vocab_size=65))
    with pytest.raises(ValueError, match="experts_of_domains"):
        ExpertDistillationTrainer(model, arguments(tmp_path), train_dataset=rows(8, domains=2), experts_of_domains={0: (1, 8)}, kl_weight=0.0)
    for other in (dict(hidden_size=32), dict(num_hidden_layers=3)):
        with pytest.raises(ValueError, match="as wide and as deep as the model, 24 with 2 layers"):
            ExpertDistillationTrainer(model, arguments(tmp_path), train_dataset=rows(8), teacher=llama(**other), hidden_weight=1.0)
    with pytest.raises(TypeError, match="no experts"):
        ExpertDistillationTrainer(llama(), arguments(tmp_path), train_dataset=rows(8))


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen3"])
def test_an_upcycled_model_computes_what_the_dense_one_did(kind, tmp_path):
    tenon.manual_seed(5)
    sizes = dict(vocab_size=64, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                 max_position_embeddings=64, initializer_range=0.2)
    if kind == "qwen3":
        sizes["head_dim"] = 12
    config = {"llama": tenon.LlamaConfig, "mistral": tenon.MistralConfig, "qwen3": tenon.Qwen3Config}[kind](**sizes)
    dense = {"llama": tenon.LlamaForCausalLM, "mistral": tenon.MistralForCausalLM, "qwen3": tenon.Qwen3ForCausalLM}[kind](config).eval()
    mixture = upcycle(dense, num_experts=4, num_experts_per_tok=2)
    given = batch()
    want = np.asarray(dense(**given).logits)
    assert np.abs(np.asarray(mixture(**given).logits) - want).max() < 1e-4 * np.abs(want).max()
    mixture.save_pretrained(tmp_path)
    again = tenon.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert np.abs(np.asarray(again(**given).logits) - want).max() < 1e-4 * np.abs(want).max()
    moved = upcycle(dense, num_experts=4, num_experts_per_tok=2, expert_noise=0.5)
    assert np.abs(np.asarray(moved(**given).logits) - want).max() > 1e-2
    # Merging copies of one expert gives it back.
    for method, keep in (("average", 1), ("concatenate", 3)):
        merged = merge_experts(mixture, method=method, keep=keep)
        assert np.abs(np.asarray(merged(**given).logits) - want).max() < 1e-4 * np.abs(want).max()
        assert merged.config.intermediate_size == 40 * keep


def test_what_cannot_be_converted():
    with pytest.raises(TypeError, match="upcycle"):
        upcycle(mixtral())
    with pytest.raises(ValueError, match="num_experts_per_tok"):
        upcycle(llama(), num_experts=2, num_experts_per_tok=3)
    with pytest.raises(TypeError, match="merge_experts"):
        merge_experts(deepseek())
    with pytest.raises(ValueError, match="loads"):
        merge_experts(mixtral(), loads=np.ones((2, 7)))
    with pytest.raises(ValueError, match="method"):
        merge_experts(mixtral(), method="other")
    with pytest.raises(ValueError, match="keep"):
        merge_experts(mixtral(), method="concatenate", keep=9)


def test_a_merged_model_learns_from_its_mixture(tmp_path):
    teacher = mixtral(seed=3)
    student = merge_experts(teacher, loads=np.ones((2, 8)), method="concatenate", keep=2)
    trainer = tenon.DistillationTrainer(student, arguments(tmp_path, max_steps=20, logging_steps=10), train_dataset=rows(16), teacher=teacher)
    trainer.train()
    losses = [e["loss"] for e in trainer.state.log_history if "loss" in e]
    assert losses[-1] < losses[0]


def test_the_monitor_writes_and_keeps_what_it_saw(tmp_path):
    text = io.StringIO()
    monitor = RouterMonitor(file=text)
    trainer = tenon.Trainer(mixtral(), arguments(tmp_path, max_steps=4, logging_steps=2), train_dataset=rows(16), callbacks=[monitor])
    trainer.train()
    lines = text.getvalue().splitlines()
    assert len(lines) == 6 and lines[0].startswith("step 2: 2 active") and lines[1].startswith("layer  0 |") and "entropy" in lines[1]
    assert [step for step, _ in monitor.history] == [2, 4] and monitor.history[0][1].shape == (2, 8)
    live = io.StringIO()
    trainer = tenon.Trainer(mixtral(), arguments(tmp_path, max_steps=4, logging_steps=2), train_dataset=rows(16),
                            callbacks=[RouterMonitor(file=live, in_place=True)])
    trainer.train()
    assert live.getvalue().count("\x1b[3A") == 1
    with pytest.raises(TypeError, match="no experts"):
        tenon.Trainer(llama(), arguments(tmp_path), train_dataset=rows(8), callbacks=[RouterMonitor()]).train()


def test_heat_maps(tmp_path):
    pytest.importorskip("matplotlib")
    counts = np.random.default_rng(0).integers(0, 9, (3, 5, 8))
    heat_map(counts, tmp_path / "map.png", domains=list("abcde"))
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
    heat_map(counts[:, 0], tmp_path / "loads.png")
    with pytest.raises(ValueError, match="domains"):
        heat_map(counts, tmp_path / "no.png", domains=["a"])
    with pytest.raises(ValueError, match="counts"):
        heat_map(np.ones(3), tmp_path / "no.png")


def test_sizes():
    model = mixtral()
    routed = 2 * 8 * 3 * 24 * 16
    whole = sum(p.numel() for n, p in model.named_parameters()) - 64 * 24
    assert active_parameters(model) == whole - routed + routed * 2 // 8
    assert active_parameters(model, 8) == whole
    assert training_flops_per_token(model, 10, 8) == 3 * (2 * whole + 2 * 2 * 10 * 24)
