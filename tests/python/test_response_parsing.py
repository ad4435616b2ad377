"""Answers of chat models as messages: fields between marks, whole and in parts, values, tool calls, wrong templates."""
import json
import random

import pytest

import tenon
from tenon.response_parsing import ResponseParser, ResponseTemplate, parse_response
from tenon.response_values import parse_content

pytest.importorskip("regex")

QWEN = {"defaults": {"role": "assistant"}, "start_anchor": "<|im_start|>assistant\n", "fields": {
    "reasoning_content": {"open": "<think>", "close": "</think>"},
    "tool_calls": {"open_pattern": r"\s*<tool_call>", "close": "</tool_call>", "repeats": True, "content": "json",
                   "transform": {"type": "function", "function": "{content}"}},
    "content": {"close_pattern": r"\s*<\|im_end\|>"}}}
PROMPT = "<|im_start|>assistant\nOld answer<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
ANSWER = ("<think>\nTwo tools.\n</think>\n\nLet me look.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>\n"
          "<tool_call>{\"name\": \"time\", \"arguments\": {}}</tool_call><|im_end|>")
MESSAGE = {"role": "assistant", "reasoning_content": "Two tools.", "content": "Let me look.",
           "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}},
                          {"type": "function", "function": {"name": "time", "arguments": {}}}]}


def events_of(parser, parts):
    events = list(parser.initial_events)
    for part in parts:
        events += parser.feed(part)
    message, last = parser.finalize()
    return message, events + last


def test_message_of_an_answer():
    assert parse_response(ANSWER, QWEN, prefix=PROMPT) == MESSAGE
    assert parse_response(ANSWER, ResponseTemplate(QWEN), prefix="") == MESSAGE
    assert parse_response("Hello<|im_end|>", QWEN, prefix=PROMPT) == {"role": "assistant", "content": "Hello"}
    # what the prompt began is continued, and without the anchor all of it counts
    assert parse_response("b</think>c", QWEN, prefix=PROMPT + "<think>a") == {"role": "assistant", "reasoning_content": "ab", "content": "c"}
    assert parse_response("b", QWEN, prefix="<think>a") == {"role": "assistant", "reasoning_content": "ab"}
    assert parse_response("", QWEN, prefix=PROMPT) == {"role": "assistant"}


@pytest.mark.parametrize("seed", range(20))
def test_parts_make_no_difference(seed):
    r = random.Random(seed)
    cuts = sorted(r.randrange(len(ANSWER) + 1) for _ in range(r.randrange(40)))
    message, events = events_of(ResponseParser(QWEN, PROMPT), [ANSWER[a:b] for a, b in zip([0, *cuts], [*cuts, len(ANSWER)])])
    assert message == MESSAGE
    for name in ("reasoning_content", "content"):
        shown = "".join(e["text"] for e in events if e["type"] == "region_chunk" and e["field"] == name)
        assert shown.strip() == MESSAGE[name]
    assert [e["field"] for e in events if e["type"] == "region_open"] == [e["field"] for e in events if e["type"] == "region_close"]
    assert all(e["dirty"] == (e["field"] == "tool_calls") for e in events if e["type"] == "region_chunk")
    assert [e["value"] for e in events if e["type"] == "region_close" and e["field"] == "tool_calls"] == MESSAGE["tool_calls"]


def test_text_is_shown_as_soon_as_it_is_certain():
    parser = ResponseParser(QWEN, PROMPT + "<think>")
    assert parser.initial_events == [{"type": "region_open", "field": "reasoning_content"}]
    assert parser.feed("so </thi") == [{"type": "region_chunk", "field": "reasoning_content", "text": "so ", "dirty": False}]
    assert parser.feed("s") == [{"type": "region_chunk", "field": "reasoning_content", "text": "</this", "dirty": False}]
    assert parser.feed("</think>") == [{"type": "region_close", "field": "reasoning_content", "value": "so </this"}]
    assert parser.finalize() == ({"role": "assistant", "reasoning_content": "so </this"}, [])
    for call in (lambda: parser.feed("x"), parser.finalize):
        with pytest.raises(RuntimeError, match="finalize"):
            call()


def test_longer_marks_and_ends_of_the_text():
    template = {"start_anchor": "@", "fields": {"a": {"open": ["<t>", "<t>>"], "close": ["</t>"], "repeats": True, "join": "+"},
                                                "n": {"open": "#", "close_pattern": r"$|;", "content": "int"}, "rest": {}}}
    assert parse_response("<t>>x</t><t>y</t>#12;z", template, prefix="@") == {"a": "x+y", "n": 12, "rest": "z"}
    parser = ResponseParser(template, "@")
    assert parser.feed("<t>") == []  # a longer one may come
    assert parser.feed("x")[0] == {"type": "region_open", "field": "a"}
    message, _ = events_of(ResponseParser(template, "@"), ["#1", "2"])
    assert message == {"n": 12}
    two = {**template, "start_anchor": ["@", "%"]}
    assert parse_response("b", two, prefix="@ no % <t>a") == {"a": "ab"}


def test_captured_groups():
    template = {"start_anchor_pattern": "^", "fields": {"calls": {
        "open_pattern": r"<call:(?P<name>\w+)>", "close_pattern": r"</call(?P<how>!?)>", "repeats": True, "content": "kv-lines",
        "transform": {"name": "{name}", "how": "{how}", "arguments": "{content}", "first": "{content.a}", "kind": "call"}}}}
    assert parse_response("<call:f>a: 1\n b = c: 2\nx</call!>", template, prefix="") == {
        "calls": [{"name": "f", "how": "!", "arguments": {"a": "1", "b = c": "2"}, "first": "1", "kind": "call"}]}
    with pytest.raises(ValueError, match="'a'"):
        parse_response("<call:f>b: 1</call>", template, prefix="")
    template["fields"]["calls"]["transform"] = "{nothing}"
    with pytest.raises(KeyError, match="nothing"):
        parse_response("<call:f>b: 1</call>", template, prefix="")


def test_required_and_empty_fields():
    template = {"start_anchor": "@", "defaults": {"role": "assistant", "notes": []}, "fields": {"n": {"open": "#", "close": ";", "content": "int", "optional": False},
                                                                                               "b": {"open": "?", "close": ";", "content": "bool"}, "t": {}}}
    assert parse_response("  #0;?no;", template, prefix="@") == {"role": "assistant", "notes": [], "n": 0, "b": False}, "blank text goes, 0 and False stay"
    with pytest.raises(ValueError, match="expected n"):
        parse_response("text", template, prefix="@")
    with pytest.raises(ValueError, match="invalid literal"):
        parse_response("#x;", template, prefix="@")


@pytest.mark.parametrize("name,options,text,value", [
    ("text", {}, " a ", "a"), ("text", {"strip": False}, " a ", " a "), ("float", {}, " 1.5\n", 1.5), ("bool", {}, "TRUE", True), ("bool", {}, "yes", False),
    ("json", {}, " [1, null] ", [1, None]), ("json", {"allow_non_json": True}, " not json ", "not json"),
    ("json", {"unquoted_keys": True}, '{a: 1, "b": "{c: 2}", d : [3]}', {"a": 1, "b": "{c: 2}", "d": [3]}),
    ("json", {"unquoted_keys": True, "string_delims": [["<|", "|>"]]}, '{a:<|say "x", {y: 1}|>}', {"a": 'say "x", {y: 1}'}),
    ("xml-inline", {"tag_pattern": r"<(?P<key>\w+)>(?P<value>.*?)</\w+>"}, "<a>1</a> <b>\n</b><a>2</a>", {"a": "2", "b": "\n"}),
    ("xml-inline", {"tag_pattern": r"<(?P<key>\w+)>(?P<value>.*?)</\w+>", "merge_duplicates": True, "value_parser": {"name": "int"}},
     "<a>1</a><a>2</a><a>3</a><b>4</b>", {"a": [1, 2, 3], "b": 4}),
    ("kv-lines", {"kv_sep": "=", "line_sep": ";", "value_parser": {"name": "json", "args": {"allow_non_json": True}}}, "a = 1; b=x=y ;;c", {"a": 1, "b": "x=y"}),
    ("python-call-list", {}, "[]", []), ("python-call-list", {}, " [ f ( ) , g.h-i(a = -1.5e3, b=[True, None, 'x']) ] ",
     [{"name": "f", "arguments": {}}, {"name": "g.h-i", "arguments": {"a": -1500.0, "b": [True, None, "x"]}}]),
    ("python-call-list", {}, r"""[f(s="a\n\u00e9\ud83d\ude00'", d={'k': {"l": 0}})]""", [{"name": "f", "arguments": {"s": "a\n\u00e9\U0001f600'", "d": {"k": {"l": 0}}}}]),
])
def test_content_parsers(name, options, text, value):
    got = parse_content(text, name, options)
    assert got == value and json.dumps(got) == json.dumps(value)


@pytest.mark.parametrize("text", [
    "", "f()", "[f()", "[f()] x", "[f(),]", "[f(1)]", "[f(a=1, a=2)]", "[f(a={'k': 1, 'k': 2})]", "[f(a={k: 1})]", "[f(a='x)]", r"[f(a='\x41')]", r"[f(a='\ud83d')]",
    "[f(a='\ud83d')]", "[f(a=9007199254740992)]", "[f(a=" + "1" * 100000 + ")]", "[f(a=1e999)]", "[f(a=x)]", "[f(a=01)]", "[f(a=" + "[" * 101 + "]" * 101 + ")]",
    "[f(a=__import__('os'))]"])
def test_call_lists_that_are_none(text):
    with pytest.raises(ValueError, match="python-call-list"):
        parse_content(text, "python-call-list", {})


@pytest.mark.parametrize("name,options,text", [("json", {}, "{a: 1}"), ("json", {"string_delims": [["<", ">"]]}, "\x01<a>"), ("xml-inline", {}, "<a>"),
                                               ("xml-inline", {"tag_pattern": "<(?P<value>a)>"}, "<a>")])
def test_contents_that_do_not_fit(name, options, text):
    with pytest.raises(ValueError, match=name):
        parse_content(text, name, options)


def test_arguments_of_tools():
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {
        "i": {"type": "integer"}, "n": {"type": ["number", "null"]}, "b": {"type": "boolean"}, "s": {"type": "string"}, "o": {"anyOf": [{"type": "object"}, {"type": "array"}]},
        "u": {"type": "integer", "nullable": True}, "l": {"type": "integer"}}}}}]
    template = {"start_anchor": "@", "fields": {"tool_calls": {
        "open_pattern": r"<f=(?P<name>\w+)>", "close": "</f>", "content": "xml-inline", "repeats": True,
        "content_args": {"tag_pattern": r"<(?P<key>\w+)>(?P<value>.*?)</\w+>", "merge_duplicates": True},
        "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}}}}}

    def arguments(text, tools=tools):
        return parse_response(text, template, prefix="@", tools=tools)["tool_calls"][0]["function"]["arguments"]

    text = "<f=f><i>3.0</i><n>2</n><b>False</b><s>7</s><o>[1]</o><u>None</u><l>1</l><l>x</l><z>9</z></f>"
    assert arguments(text) == {"i": 3, "n": 2, "b": False, "s": "7", "o": [1], "u": None, "l": [1, "x"], "z": "9"}
    assert arguments("<f=f><i>3.5</i><n>nan</n><b>maybe</b><o>3</o><u>x</u></f>") == {"i": "3.5", "n": "nan", "b": "maybe", "o": "3", "u": "x"}
    assert arguments("<f=g><i>3</i></f>") == {"i": "3"} and arguments(text, None)["i"] == "3.0"

    def f(i: int):
        """A tool.

        Args:
            i: A number.
        """

    assert arguments("<f=f><i>3</i></f>", [f]) == {"i": 3}


@pytest.mark.parametrize("change,error", [
    ({"version": 2}, "version"), ({"more": 1}, "more"), ({"defaults": 3}, "defaults"), ({"fields": {}}, "fields"), ({"start_anchor": []}, "start_anchor"),
    ({"start_anchor": ""}, "start_anchor"), ({"start_anchor_pattern": "x"}, "both"), ({"fields": {"a": {}, "b": {}}}, "a, b"), ({"fields": {"a": 3}}, "dict"),
    ({"fields": {"a": {"opens": "x"}}}, "opens"), ({"fields": {"a": {"content": "yaml"}}}, "yaml"), ({"fields": {"a": {"open": "x", "open_pattern": "x"}}}, "both"),
    ({"fields": {"a": {"open_pattern": "("}}}, "pattern"), ({"fields": {"a": {"open": "x", "join": ","}}}, "join"), ({"fields": {"a": {"transform_each": True}}}, "transform_each"),
    ({"fields": {"a": {"transform": "x {content}"}}}, "placeholder"), ({"fields": {"a": {"open_pattern": "(?P<n>x)"}}}, "transform")])
def test_templates_that_are_none(change, error):
    with pytest.raises(ValueError, match=error):
        ResponseTemplate({**{"start_anchor": "@", "fields": {"a": {}}}, **change})


def test_templates_without_an_anchor():
    for template in ({"fields": {"a": {}}}, 3):
        with pytest.raises(ValueError, match="expected"):
            ResponseTemplate(template)


def test_tokenizers_read_answers(vocab_file, tmp_path):
    tokenizer = tenon.BertTokenizer(vocab_file)
    with pytest.raises(AttributeError, match="response_template"):
        tokenizer.parse_response("x", prefix="")
    template = {"start_anchor": "[CLS]", "fields": {"calls": {"open": "[SEP]", "close": "[SEP]", "repeats": True}, "content": {}}}
    tokenizer.response_template, tokenizer.chat_control_tokens = template, ["[SEP]"]
    with pytest.raises(ValueError, match="prefix"):
        tokenizer.parse_response("x")
    assert tokenizer.parse_response("a [SEP] b", prefix="") == {"calls": ["b"], "content": "a"}
    assert tokenizer.parse_response(["a", "b"], prefix="") == [{"content": "a"}, {"content": "b"}] and tokenizer.parse_response([], prefix=[]) == []
    assert tokenizer.parse_response(["a", "b"], prefix=["[SEP]", "x"]) == [{"calls": ["a"]}, {"content": "xb"}]
    with pytest.raises(ValueError, match="2 answers, got 1"):
        tokenizer.parse_response(["a", "b"], prefix=["x"])
    ids = tokenizer("the cat", add_special_tokens=False).input_ids
    assert tokenizer.parse_response(ids, prefix=tokenizer("sat").input_ids) == {"calls": ["the cat"], "content": "sat"}
    assert tokenizer.parse_response([ids, ids[:1]], prefix=[]) == [{"content": "the cat"}, {"content": "the"}]
    assert tokenizer.parse_response("a", {**template, "defaults": {"role": "x"}}, prefix="") == {"role": "x", "content": "a"}
    parser = tokenizer.get_response_parser(prefix=ids)
    assert events_of(parser, [" sat"])[0] == {"content": "the cat sat"}
    tokenizer.save_pretrained(tmp_path)
    again = tenon.AutoTokenizer.from_pretrained(tmp_path)
    assert again.response_template == template and again.chat_control_tokens == ["[SEP]"]
    again.response_template = None
    again.save_pretrained(tmp_path)
    assert tenon.AutoTokenizer.from_pretrained(tmp_path).response_template is None
    with pytest.raises(TypeError, match="chat_control_tokens"):
        tenon.AutoTokenizer.from_pretrained(tmp_path, chat_control_tokens="[SEP]")
