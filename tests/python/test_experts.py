"""Routers in training: losses against formulas, balance without a loss, growing numbers of experts, resumed runs, what is reported."""
import io
import json
import pathlib

import numpy as np
import pytest

import tenon
from expert_models import batch, deepseek, llama, mixtral, rows
from tenon.experts import LossFreeBalancing, ProgressiveExperts, RouterLog, RouterMonitor, router_statistics, update_correction_bias
from training_data import arguments, same, weights


def hf_loss(router_logits, experts, top_k, mask):
    """load_balancing_loss_func of Transformers by its formula, in float64."""
    logits = np.concatenate([np.asarray(t, np.float64) for t in router_logits])
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    chosen = np.argsort(-p, axis=1, kind="stable")[:, :top_k]
    w = np.tile(mask.reshape(-1), len(router_logits)).astype(np.float64)
    places = np.eye(experts)[chosen]  # (tokens, places, experts)
    f = (places * w[:, None, None]).sum(0) / w.sum()
    mean = (p * w[:, None]).sum(0) / w.sum()
    return (f * mean[None]).sum() * experts


def test_the_hf_kind_is_transformers_loss():
    model = mixtral().eval()
    model.set_routing(report=True, balance_kind="hf")
    given = batch()
    outputs = model(**given, output_router_logits=True)
    want = hf_loss(outputs.router_logits, 8, 2, given["attention_mask"])
    assert outputs.balance_loss.item() == pytest.approx(want, rel=1e-5)
    assert outputs.aux_loss.item() == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("experts, active", [(4, 1), (8, 2), (16, 8)])
@pytest.mark.parametrize("padded", [True, False])
def test_the_hf_kind_is_what_transformers_computes(experts, active, padded, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = mixtral(experts=experts, active=active)
    model.save_pretrained(tmp_path)
    theirs = transformers.MixtralForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    given = {k: v for k, v in batch(padded=padded).items() if padded or k == "input_ids"}
    want = theirs(**{k: torch.tensor(v) for k, v in given.items()}, output_router_logits=True)
    want.aux_loss.backward()
    model.set_routing(report=True, balance_kind="hf")
    outputs = model(**given, output_router_logits=True)
    assert outputs.balance_loss.item() == pytest.approx(want.aux_loss.item(), rel=1e-5) == outputs.aux_loss.item()
    outputs.balance_loss.backward()
    gates = {name: p.grad.numpy() for name, p in theirs.named_parameters() if name.endswith("gate.weight")}
    assert len(gates) == 2
    for layer, theirs_grad in zip(model.model.layers, gates.values()):
        grad = np.asarray(layer.block_sparse_moe.gate.weight.grad)
        assert np.abs(grad - theirs_grad).max() < 1e-5 * np.abs(theirs_grad).max()


def test_each_loss_is_an_output_and_has_its_weight_in_training_alone():
    model = mixtral()
    given = {**batch(), "labels": batch()["input_ids"], "router_targets": np.full((3, 10), 5)}
    names = {"balance": 0.5, "sequence_balance": 0.25, "device": 0.125, "communication": 0.3, "z": 0.01, "load_entropy": 0.2, "token_entropy": 0.1,
             "router_target": 0.7}
    plain = model(**given).loss.item()
    model.set_routing(**names, devices=4, devices_per_token=2)
    outputs = model(**given)
    expected = plain + sum(w * outputs[name + "_loss"].item() for name, w in names.items())
    assert outputs.loss.item() == pytest.approx(expected, rel=1e-5)
    assert np.asarray(outputs.expert_loads).sum() == 2 * 2 * 27  # layers, places, tokens
    outputs.z_loss.backward()
    assert np.abs(np.asarray(model.model.layers[0].block_sparse_moe.gate.weight.grad)).max() > 0
    model.eval()
    assert model(**given).loss.item() == pytest.approx(plain, rel=1e-5)


def test_sequences_count_alone_in_the_sequence_loss():
    model = deepseek().eval()
    model.set_routing(report=True)
    given = batch(padded=False)
    together = model(**given).sequence_balance_loss.item()
    alone = [model(input_ids=given["input_ids"][i : i + 1]).sequence_balance_loss.item() for i in range(3)]
    assert together == pytest.approx(np.mean(alone), rel=1e-5)


def test_router_noise_needs_training_and_a_seed():
    model = mixtral()
    given = batch()
    model.set_routing(noise=1.0)
    tenon.manual_seed(3)
    first = np.asarray(model(**given).logits)
    tenon.manual_seed(3)
    assert np.array_equal(np.asarray(model(**given).logits), first)
    assert not np.array_equal(np.asarray(model(**given).logits), first)
    model.eval()
    quiet = np.asarray(model(**given).logits)
    model.set_routing(noise=0.0)
    assert np.array_equal(np.asarray(model(**given).logits), quiet)


def test_any_number_of_experts_at_inference():
    model = mixtral().eval()
    given = batch()
    two = np.asarray(model(**given).logits)
    with model.active_experts(8):
        assert model.num_active_experts == 8
        eight = np.asarray(model(**given).logits)
        assert model.generate(given["input_ids"][:1], max_new_tokens=3, do_sample=False).shape[1] == 13
    assert np.array_equal(np.asarray(model(**given).logits), two) and np.abs(eight - two).max() > 1e-4
    # A newcomer of weight 0 changes nothing; one that grows does so without a jump.
    model.set_routing(active_experts=4, newcomers=2, newcomer_weight=0.0)
    assert np.allclose(np.asarray(model(**given).logits), two, atol=1e-5)
    model.set_routing(newcomer_weight=1e-3)
    assert 0 < np.abs(np.asarray(model(**given).logits) - two).max() < 0.05


def test_settings_that_do_not_fit_are_refused_and_change_nothing():
    model = mixtral()
    for wrong in ({"active_experts": 9}, {"active_experts": -1}, {"newcomers": 2}, {"newcomer_weight": 2.0}, {"devices": 3}, {"jitter": 1.0},
                  {"noise": -1.0}, {"z": -1.0}, {"balance_kind": "other"}, {"balance": float("nan")}):
        with pytest.raises(ValueError, match=r"\[(router|routing|set_routing)\]"):
            model.set_routing(**wrong)
    assert model.num_active_experts == 2 and model.routing["balance_kind"] == "megablocks"
    with pytest.raises(TypeError, match="active_experts: expected a whole number, got 2.5"):
        model.set_active_experts(2.5)
    with pytest.raises(TypeError, match="unknown setting"):
        model.set_routing(balanced=1)
    with pytest.raises(TypeError, match="no experts"):
        llama().set_routing(z=1.0)
    with pytest.raises(TypeError, match="router_targets"):
        llama()(input_ids=[[5, 6]], router_targets=[[0, 0]])
    with pytest.raises(ValueError, match="target"):
        model(input_ids=[[5, 6]], router_targets=[[0, 8]])
    with pytest.raises(ValueError, match="router_targets"):
        model(input_ids=[[5, 6]], router_targets=[[0]])


def test_statistics():
    assert router_statistics([4, 4, 4, 4]) == {"max_violation": 0.0, "dead_experts": 0, "load_entropy": pytest.approx(1.0)}
    assert router_statistics([[8, 0], [4, 4]]) == {"max_violation": 0.5, "dead_experts": 1, "load_entropy": pytest.approx(0.5)}
    with pytest.raises(ValueError, match="loads"):
        router_statistics([-1, 2])


def test_the_bias_follows_the_load_outside_of_the_optimiser(tmp_path):
    model = deepseek()
    names = [n for n, p in model.named_parameters() if n.endswith("e_score_correction_bias")]
    assert len(names) == 2 and not any(p.requires_grad for n, p in model.named_parameters() if n in names)
    trainer = tenon.Trainer(model, arguments(tmp_path, max_steps=1, weight_decay=0.5, gradient_accumulation_steps=2), train_dataset=rows(16),
                            callbacks=[LossFreeBalancing(gamma=0.25)])
    model.set_routing(report=True)
    before = {n: np.array(p.detach().numpy()) for n, p in model.named_parameters() if n in names}
    taken = []
    log = model.router_log
    original = log.take_step
    log.take_step = lambda: (taken.append(original()), taken[-1])[1]
    trainer.train()
    loads = next(t for t in reversed(taken) if t is not None)
    assert loads.sum() == 2 * 2 * 8 * 12  # layers, places, rows of both batches, tokens
    for row, name in zip(loads, names):
        after = dict(model.named_parameters())[name].detach().numpy()
        assert after.dtype == np.float32 and np.array_equal(after, before[name] + np.float32(0.25) * np.sign(row.mean() - row).astype(np.float32))
    model.save_pretrained(tmp_path / "saved")
    again = tenon.DeepseekV3ForCausalLM.from_pretrained(tmp_path / "saved")
    assert np.array_equal(dict(again.named_parameters())[names[0]].numpy(), dict(model.named_parameters())[names[0]].detach().numpy())


def test_the_bias_balances(tmp_path):
    data = rows(64)

    def run(callbacks, folder):
        model = deepseek(seed=4)
        model.set_routing(report=True)
        trainer = tenon.Trainer(model, arguments(folder, max_steps=60, logging_steps=10), train_dataset=data, callbacks=callbacks)
        trainer.train()
        return [e["max_violation"] for e in trainer.state.log_history if "max_violation" in e]

    without, with_bias = run([], tmp_path / "a"), run([LossFreeBalancing(gamma=0.02)], tmp_path / "b")
    assert with_bias[-1] < 0.5 * without[-1], (without, with_bias)


@pytest.mark.parametrize("per_sequence", [True, False])
def test_the_loss_that_a_config_asks_for(per_sequence):
    """aux_loss_alpha and seq_aux, as DeepSeek's own modeling code reads them: alpha E / (K T) sum f P of each layer, of each sequence or of all."""
    config = dict(aux_loss_alpha=0.25, seq_aux=per_sequence, scoring_func="softmax")
    model, plain = deepseek(**config), deepseek(scoring_func="softmax")
    assert model.routing["sequence_balance" if per_sequence else "balance"] == 0.25
    assert plain.routing["sequence_balance"] == plain.routing["balance"] == 0
    inputs = batch(padded=False)
    ids = tenon.tensor(inputs["input_ids"])
    model.train()
    with tenon.no_grad():
        out = model(input_ids=ids, labels=ids, output_router_logits=True)
        expected = plain.eval()(input_ids=ids, labels=ids).loss.item()
    B, T, E, K = *ids.shape, 8, 2
    for logits in out.router_logits:
        p = np.exp(logits.numpy().reshape(B, T, E).astype(np.float64))
        p /= p.sum(-1, keepdims=True)
        chosen = np.argsort(-p, -1, kind="stable")[..., :K]
        f = np.stack([(chosen == e).sum((-1, -2)) for e in range(E)], -1)  # (B,E)
        if per_sequence:
            expected += 0.25 * (f * E / (K * T) * p.mean(1)).sum(-1).mean()
        else:
            expected += 0.25 * (f.sum(0) * E / (K * B * T) * p.mean((0, 1))).sum()
    assert abs(out.loss.item() - expected) < 1e-5
    model.eval()
    with tenon.no_grad():
        assert abs(model(input_ids=ids, labels=ids).loss.item() - plain(input_ids=ids, labels=ids).loss.item()) < 1e-6


def test_bias_updates_need_a_bias():
    with pytest.raises(TypeError, match="e_score_correction_bias"):
        update_correction_bias(mixtral(), np.ones((2, 8)))
    with pytest.raises(ValueError, match="loads"):
        update_correction_bias(deepseek(), np.ones((3, 8)))
    with pytest.raises(ValueError, match="gamma"):
        LossFreeBalancing(gamma=-1)
    with pytest.raises(ValueError, match="until"):
        LossFreeBalancing(until=2)


def test_the_trainer_logs_every_loss_under_its_name(tmp_path):
    model = mixtral()
    model.set_routing(load_entropy=0.01, token_entropy=0.001, balance=0.01)
    trainer = tenon.Trainer(model, arguments(tmp_path, max_steps=4, logging_steps=2), train_dataset=rows(16))
    trainer.train()
    entries = [e for e in trainer.state.log_history if "loss" in e]
    assert len(entries) == 2
    for name in ("balance_loss", "z_loss", "load_entropy_loss", "token_entropy_loss", "max_violation", "dead_experts", "load_entropy",
                 "active_experts", "collapsed_layers"):
        assert all(name in e for e in entries), name
    assert "router_target_loss" not in entries[0]
    plain = tenon.Trainer(mixtral(), arguments(tmp_path, max_steps=2), train_dataset=rows(16))
    plain.train()
    assert not any("max_violation" in e for e in plain.state.log_history)


def test_a_collapsed_router_is_reported(tmp_path, caplog, capsys):
    model = mixtral(active=1)
    model.set_routing(report=True)
    with tenon.no_grad():
        for layer in model.model.layers:
            gate = layer.block_sparse_moe.gate.weight
            gate.copy_(tenon.zeros(*gate.shape))  # equal scores: the first expert is chosen by all
    trainer = tenon.Trainer(model, arguments(tmp_path, max_steps=1, learning_rate=0.0), train_dataset=rows(4))
    trainer.train()
    entry = trainer.state.log_history[0]
    assert entry["collapsed_layers"] == 2 and entry["dead_experts"] == 14 and entry["max_violation"] == pytest.approx(7)
    assert entry["load_entropy"] == pytest.approx(0)
    log = RouterLog()
    log.add({"expert_loads": [[4, 4, 0, 0], [4, 3, 1, 0], [2, 2, 2, 2]]}, places=2)
    assert log.collapsed_layers() == [0]  # an expert that all tokens share with others is none


def test_the_schedule_counts_up_and_starts_softly():
    schedule = ProgressiveExperts(start=2, end=8, begin=0.0, finish=0.7, soft_start=0.5)
    schedule.prepare(mixtral(experts=16, active=8), 100)
    seen = [schedule.active_at(step) for step in range(101)]
    assert [k for k, _, _ in seen] == [min(8, 2 + step // 10) for step in range(101)]
    assert seen[10] == (3, 1, 0.0) and seen[11][2] == pytest.approx(0.2) and seen[15] == (3, 0, 1.0) and seen[99] == (8, 0, 1.0)
    stages = ProgressiveExperts(stages=(2, 4, 8), begin=20, finish=80, soft_start=1.0)
    stages.prepare(mixtral(experts=16, active=8), 100)
    assert stages.active_at(0)[0] == 2 and stages.active_at(39)[0] == 2 and stages.active_at(40) == (4, 2, 0.0)
    assert stages.active_at(70)[:2] == (8, 4) and stages.active_at(100) == (8, 0, 1.0)


def test_schedules_that_do_not_fit(tmp_path):
    for wrong in (dict(start=0), dict(start=4, end=2), dict(stages=(2, 2)), dict(stages=()), dict(soft_start=2.0), dict(begin=-1), dict(finish=1.5),
                  dict(finish=float("nan"))):
        with pytest.raises(ValueError, match="ProgressiveExperts"):
            ProgressiveExperts(**wrong)

    def run(callback, model=None):
        tenon.Trainer(model or mixtral(active=4), arguments(tmp_path, max_steps=10), train_dataset=rows(8), callbacks=[callback]).train()

    with pytest.raises(ValueError, match="at most the model's 8 experts, got 9"):
        run(ProgressiveExperts(end=9))
    with pytest.raises(ValueError, match="after the end of training at step 10"):
        run(ProgressiveExperts(end=4, finish=11))
    with pytest.raises(ValueError, match="after its end"):
        run(ProgressiveExperts(end=4, begin=0.9, finish=0.5))
    with pytest.raises((AttributeError, TypeError)):
        run(ProgressiveExperts(end=4), llama())


def everything(folder, **more):
    """A run with all of it on."""
    model = deepseek(experts=8, active=4, attention_dropout=0.1)
    model.set_routing(balance=0.01, sequence_balance=1e-3, z=1e-3, load_entropy=0.01, token_entropy=1e-3, noise=0.1, jitter=0.01, devices=2)
    return tenon.Trainer(model, arguments(folder, max_steps=12, logging_steps=5, save_strategy="steps", save_steps=6, **more), train_dataset=rows(16),
                         callbacks=[LossFreeBalancing(0.01), ProgressiveExperts(start=1, end=4, finish=0.9, soft_start=0.5),
                                    RouterMonitor(file=io.StringIO())])


def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path):
    whole = everything(tmp_path / "run")
    whole.train()
    want = weights(whole.model)
    logs = [{k: v for k, v in e.items() if "runtime" not in k and "second" not in k} for e in whole.state.log_history]
    state = json.loads(pathlib.Path(tmp_path, "run", "checkpoint-6", "trainer_state.json").read_text())
    saved = state["stateful_callbacks"]["ProgressiveExperts"]
    assert saved["args"]["end"] == 4 and saved["attributes"]["changes"][0] == [0, 1]
    again = everything(tmp_path / "run")
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-6"))
    same(weights(again.model), want)
    later = [{k: v for k, v in e.items() if "runtime" not in k and "second" not in k} for e in again.state.log_history]
    assert [e for e in later if "loss" in e] == [e for e in logs if "loss" in e]
    assert again.model.num_active_experts == 4
    other = everything(tmp_path / "run")
    other.callback_handler.callbacks = [ProgressiveExperts(start=2, end=4) if isinstance(c, ProgressiveExperts) else c
                                        for c in other.callback_handler.callbacks]
    with pytest.raises(ValueError, match="resume"):
        other.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-6"))
