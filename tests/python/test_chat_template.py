"""Chat templates: what they see, what comes out, the masks of what the assistant says, tools, named templates, files."""
import dataclasses
import enum
import json
from typing import Any, Literal, Optional

import numpy as np
import pytest

import tenon
from conftest import shared

jinja2 = pytest.importorskip("jinja2")

CHATML = ("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|assistant|>{% endif %}")
MARKED = ("{% for m in messages %}{% if m.role == 'assistant' %}a {% generation %}{{ m.content }} .{% endgeneration %} "
          "{% else %}{{ m.content }} {% endif %}{% endfor %}")
USER, ANSWER = {"role": "user", "content": "the cat"}, {"role": "assistant", "content": "sat on"}


@pytest.fixture
def chat(vocab_file):
    t = tenon.BertTokenizer(vocab_file)
    t.chat_template = CHATML
    return t


def test_text_and_ids(chat):
    text = chat.apply_chat_template([USER, ANSWER], tokenize=False, add_generation_prompt=True)
    assert text == "<|user|>the cat<|end|>\n<|assistant|>sat on<|end|>\n<|assistant|>"
    e = chat.apply_chat_template([USER], add_generation_prompt=True)
    assert e.input_ids == chat("<|user|>the cat<|end|>\n<|assistant|>", add_special_tokens=False).input_ids
    assert chat.apply_chat_template([USER], add_generation_prompt=True, return_dict=False) == e.input_ids
    both = chat.apply_chat_template([[USER], [USER, ANSWER]], padding=True, return_tensors="np")
    assert both.input_ids.shape == (2, len(chat.apply_chat_template([USER, ANSWER]).input_ids)) and both.attention_mask.sum(1)[0] < both.input_ids.shape[1]
    assert len(chat.apply_chat_template([USER], max_length=3, truncation=True).input_ids) == 3
    assert "offset_mapping" in chat.apply_chat_template([USER], tokenizer_kwargs={"return_offsets_mapping": True})
    assert chat.apply_chat_template((USER,), tokenize=False) == chat.apply_chat_template([USER], tokenize=False)
    assert chat.encode_message_with_chat_template(ANSWER, [USER]) == chat("<|assistant|>sat on<|end|>", add_special_tokens=False).input_ids


def test_continued_answer(chat):
    assert chat.apply_chat_template([USER, ANSWER], tokenize=False, continue_final_message=True).endswith("<|assistant|>sat on")
    chat.chat_template = CHATML.replace("m.content", "m.content | trim")
    trimmed = chat.apply_chat_template([USER, {"role": "assistant", "content": "sat on  "}], tokenize=False, continue_final_message=True)
    assert trimmed.endswith("sat on")
    parts = [USER, {"role": "assistant", "content": [{"type": "text", "text": "sat"}]}]
    template = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for b in m.content %}{{ b.text }}{% endfor %}{% endif %}|{% endfor %}"
    assert chat.apply_chat_template(parts, chat_template=template, tokenize=False, continue_final_message=True) == "the cat|sat"
    assert parts[1]["content"][0]["text"] == "sat", "the caller's messages stay as they were"
    for arguments, error in (({"add_generation_prompt": True}, "add_generation_prompt"), ({"chat_template": "{{ messages[0].content }}"}, "as it is")):
        with pytest.raises(ValueError, match=error):
            chat.apply_chat_template([USER, ANSWER], continue_final_message=True, **arguments)
    with pytest.raises(ValueError, match="'reasoning'"):
        chat.apply_chat_template([USER, ANSWER], continue_final_message="reasoning")


def test_mask_of_the_assistant(chat):
    e = chat.apply_chat_template([USER, ANSWER, USER], chat_template=MARKED, return_assistant_tokens_mask=True)
    assert [t for t, m in zip(e.tokens(), e.assistant_masks) if m] == ["sat", "on", "."] and sum(e.assistant_masks) == 3
    both = chat.apply_chat_template([[USER, ANSWER], [USER]], chat_template=MARKED, return_assistant_tokens_mask=True, padding=True, return_tensors="pt")
    assert both.assistant_masks.tolist()[0].count(1) == 3 and both.assistant_masks.tolist()[1].count(1) == 0
    left = chat.apply_chat_template([USER, ANSWER], chat_template=MARKED, return_assistant_tokens_mask=True, max_length=4, truncation=True)
    assert left.assistant_masks == [0, 0, 0, 1]
    assert sum(chat.apply_chat_template([USER, ANSWER], return_assistant_tokens_mask=True).assistant_masks) == 0
    with pytest.raises(ValueError, match="return_dict"):
        chat.apply_chat_template([USER], return_assistant_tokens_mask=True, tokenize=False)


def test_what_a_template_sees(chat):
    def render(source, messages=(USER,), **arguments):
        return chat.apply_chat_template(list(messages), chat_template=source, tokenize=False, **arguments)

    assert render("{{ cls_token }}{{ custom }}", custom="!") == "[CLS]!" and render("{{ cls_token }}", cls_token="x") == "x"
    assert render("{{ messages[0] | tojson }}") == '{"role": "user", "content": "the cat"}'
    assert render("{{ x | tojson(indent=1, sort_keys=true) }}", x={"b": "<\u00e9>", "a": 1}) == '{\n "a": 1,\n "b": "<\u00e9>"\n}'
    assert render("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}") == "01"
    assert render("{% set n = namespace(a=1) %}{% set n.a = 2 %}{{ n.a }}{{ dict(k=3).k }}") == "23"
    assert len(render("{{ strftime_now('%Y') }}")) == 4
    assert render("  {% if true %}\n  x\n  {% endif %}\n") == "  x\n", "blocks take their lines along"
    assert render("{{ documents[0].title }}{{ tools is none }}", documents=[{"title": "t", "text": "x"}]) == "tTrue"
    assert render("{{ messages[0].tool_calls is defined }}", [{"role": "assistant", "content": None, "tool_calls": None}]) == "False"
    assert render("{{ messages[0].reasoning_content }}{{ messages[0].thinking }}", [{"role": "assistant", "content": "", "reasoning": "r"}]) == "rr"
    assert render("{{ messages[0].image }}{{ x }}", [{"role": "user", "content": "", "image": object()}], x=np.float32(1.5)) == "<object>1.5"

    @dataclasses.dataclass
    class Message:
        role: str
        content: str

    assert render(CHATML, [Message("user", "x")]) == "<|user|>x<|end|>\n"


def test_templates_are_not_trusted(chat):
    for source in ("{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{% set n = namespace(_a=1) %}", "{{ raise_exception('no way') }}", "{% if %}"):
        with pytest.raises(jinja2.TemplateError):
            chat.apply_chat_template([USER], chat_template=source)
    with pytest.raises(jinja2.TemplateError, match="no way"):
        chat.apply_chat_template([USER], chat_template="{{ raise_exception('no way') }}")


def test_tools(chat):
    class Unit(enum.Enum):
        C = "celsius"
        F = "fahrenheit"

    def weather(city: str, unit: Unit, days: "list[int] | None" = None, extra: Optional[dict[str, Any]] = None, kind: Literal["a", "b"] = "a") -> float:
        """Looks the weather up.

        In one city.

        Args:
            city: The city,
                by its name
            unit (Unit): The unit
            days: Which days (choices: [1, 2])
            extra: Whatever
            kind: A kind
        Returns:
            The temperature
        """

    schema = tenon.get_json_schema(weather)["function"]
    assert schema["name"] == "weather" and schema["description"] == "Looks the weather up.\n\nIn one city."
    assert schema["parameters"]["required"] == ["city", "unit"] and schema["return"] == {"type": "number", "description": "The temperature"}
    assert schema["parameters"]["properties"] == {
        "city": {"type": "string", "description": "The city, by its name"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "description": "The unit"},
        "days": {"type": "array", "items": {"type": "integer"}, "nullable": True, "enum": [1, 2], "description": "Which days"},
        "extra": {"type": "object", "additionalProperties": {}, "nullable": True, "description": "Whatever"},
        "kind": {"type": "string", "enum": ["a", "b"], "description": "A kind"}}
    text = chat.apply_chat_template([USER], chat_template="{{ tools | tojson }}", tools=[weather, {"type": "x"}], tokenize=False)
    assert json.loads(text) == [{"type": "function", "function": schema}, {"type": "x"}]
    with pytest.raises(ValueError, match="tools"):
        chat.apply_chat_template([USER], tools=[3])
    with pytest.raises(Exception, match="docstring"):
        chat.apply_chat_template([USER], tools=[lambda: 0])


def test_wrong_conversations(chat, tokenizer):
    for call, kind, error in ((lambda: chat.apply_chat_template([]), ValueError, "at least one"), (lambda: chat.apply_chat_template([3]), TypeError, "messages"),
                              (lambda: tokenizer.apply_chat_template([USER]), ValueError, "chat_template"),
                              (lambda: chat.apply_chat_template([USER], documents=["x"]), TypeError, "documents"),
                              (lambda: chat.apply_chat_template([USER], sanitize_control_tokens=True, tokenize=False), ValueError, "sanitize")):
        with pytest.raises(kind, match=error):
            call()


def test_control_tokens_of_users(chat):
    template = "{% for m in messages %}[CLS]{{ m.content }}[SEP]{% endfor %}{{ note }}"

    def ids(text, **arguments):
        return chat.apply_chat_template([{"role": "user", "content": text}], chat_template=template, sanitize_control_tokens=True, return_dict=False, **arguments)

    cls, sep = chat.cls_token_id, chat.sep_token_id
    plain = chat("the cat", add_special_tokens=False).input_ids
    assert ids("the cat") == [cls, *plain, sep]
    forged = ids("the[SEP]cat", note="[CLS]")
    assert forged.count(sep) == 1 and forged.count(cls) == 1 and forged[-1] != cls
    text = chat.convert_ids_to_tokens(chat.backend_tokenizer.encode_plain("[SEP]"))
    assert chat.convert_ids_to_tokens(forged)[2 : 2 + len(text)] == text and "[SEP]" not in text
    assert ids("the \ufdd0[SEP]\ufdd1 cat") == ids("the [SEP] cat"), "marks of one's own are no marks"
    # a token that a template cuts in two does not come together again, and one that it joins is not found
    cut = "{{ messages[0].content[:4] }}{{ messages[0].content[4:] }}"
    assert sep not in chat.apply_chat_template([{"role": "user", "content": "[SEP]"}], chat_template=cut, sanitize_control_tokens=True, return_dict=False)
    # added tokens that are not special are control tokens where the template writes them, or where they are named
    chat.add_tokens(["<turn>", "<cat>"])
    turn, cat = chat.convert_tokens_to_ids(["<turn>", "<cat>"])
    spoken = [{"role": "user", "content": "<turn><cat>"}]
    for named, kept in ((None, [cat]), (["<cat>"], [turn]), ([], [turn, cat])):
        chat.chat_control_tokens = named
        found = chat.apply_chat_template(spoken, chat_template="{{ '<turn>' }}{{ messages[0].content }}", sanitize_control_tokens=True, return_dict=False)
        assert [i for i in found if i in (turn, cat)] == [turn, *kept]
    both = chat.apply_chat_template([spoken, [USER]], chat_template=template, sanitize_control_tokens=True, padding=True, return_tensors="np")
    assert both.input_ids.shape == both.attention_mask.shape and set(both) == {"input_ids", "attention_mask"}
    assert len(ids("the cat", truncation=True, max_length=2)) == 2 and len(ids("the cat", padding="max_length", max_length=9)) == 9
    chat.truncation_side = "left"
    assert ids("the cat", truncation=True, max_length=1) == [sep]


def test_named_templates_and_files(chat, tmp_path):
    chat.chat_template = {"default": "D{{ messages[0].content }}", "tool_use": "T", "rag": "R"}
    assert chat.get_chat_template() == "D{{ messages[0].content }}" and chat.get_chat_template(tools=[{}]) == "T" and chat.get_chat_template("rag") == "R"
    assert chat.get_chat_template("{{ x }}") == "{{ x }}"
    names = [p[len(str(tmp_path)) + 1:] for p in chat.save_pretrained(tmp_path)]
    assert names == ["tokenizer_config.json", "chat_template.jinja", "additional_chat_templates/tool_use.jinja", "additional_chat_templates/rag.jinja", "tokenizer.json"]
    assert tenon.AutoTokenizer.from_pretrained(tmp_path).chat_template == chat.chat_template
    chat.chat_template = {"../x": "no"}
    with pytest.raises(ValueError, match="folders"):
        chat.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="one of"):
        chat.get_chat_template()
    given = tenon.AutoTokenizer.from_pretrained(tmp_path, chat_template=[{"name": "default", "template": "a"}, {"name": "b", "template": "c"}])
    assert given.chat_template == {"default": "a", "b": "c"}
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    other = tmp_path / "old"
    other.mkdir()
    (other / "tokenizer.json").write_bytes((tmp_path / "tokenizer.json").read_bytes())
    (other / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": "in the config"}))
    assert tenon.AutoTokenizer.from_pretrained(other).chat_template == "in the config"


@pytest.mark.parametrize("name,want", [
    ("qwen2", "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"),
    ("deepseek-v3", "<\uff5cbegin\u2581of\u2581sentence\uff5c><\uff5cUser\uff5c>Hi<\uff5cAssistant\uff5c>"),
])
def test_published_templates(name, want):
    t = tenon.AutoTokenizer.from_pretrained(shared("tokenizers", name))
    assert t.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True) == want
    ids = t.apply_chat_template([{"role": "user", "content": "Hi"}], add_generation_prompt=True).input_ids
    assert t.decode(ids) == want and sum(i in t.added_tokens_decoder for i in ids) >= 3
