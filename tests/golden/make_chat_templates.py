"""Records what Jinja makes of chat templates and of the language's corners: python tests/golden/make_chat_templates.py > chat_templates.json

Needs the package's Python files and jinja2 alone. Where Jinja refuses, "text" is null.
"""
import importlib.util
import json
import pathlib
import sys
import types

ROOT = pathlib.Path(__file__).parents[2] / "python" / "tenon"

# Whole templates, in the manners of well-known families.
CHATML = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step and message.role == "user" and message.content is string and not(message.content.startswith('<r>') and message.content.endswith('</r>')) %}
        {%- set ns.multi_step = false %}{%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}{%- set reasoning = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or (not loop.last and reasoning)) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}{{- '<|im_start|>' + message.role + '\\n' + content }}{%- endif %}
        {%- for tool_call in message.tool_calls or [] %}
            {%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
            {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
            {{- '<tool_call>\\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
            {%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<r>\\n' }}{{- content }}{{- '\\n</r>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
"""

HEADERS = """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|h|>system<|/h|>\\n\\n" }}
{%- if tools is not none %}{{- "Environment: ipython\\n" }}{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|h|>' + message['role'] + '<|/h|>\\n\\n'+ message['content'] | trim + '<|eot|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("one call at a time") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|h|>assistant<|/h|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|h|>ipython<|/h|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|h|>assistant<|/h|>\\n\\n' }}
{%- endif %}
"""

INST = """{%- if messages[0]["role"] == "system" %}{%- set system_message = messages[0]["content"] %}{%- set loop_messages = messages[1:] %}{%- else %}{%- set loop_messages = messages %}{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}{{- '"' + key + '": "' + val + '"' }}{%- else %}{{- '"' + key + '": ' + val|tojson }}{%- endif %}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}{{- raise_exception("an id of 9 characters") }}{%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}{%- set content = message.content.content %}{%- else %}{%- set content = message.content %}{%- endif %}
        {{- '[RESULTS] {"content": ' + content|string + ", " }}
        {{- '"call_id": "' + message.tool_call_id + '"}[/RESULTS]' }}
    {%- endif %}
{%- endfor %}
"""

MACROS = """{%- macro type_of(spec) %}
{%- set basic = {"string": "str", "number": "float", "integer": "int", "boolean": "bool"} %}
{%- if basic[spec.type] is defined %}{{- basic[spec.type] }}
{%- elif spec.type == "array" %}{{- "list[" + type_of(spec|items|first|last) + "]" }}
{%- elif spec.type is iterable and spec.type is not string %}
    {%- for t in spec.type %}{{- type_of({"type": t}) }}{%- if not loop.last %}{{- "," }}{%- endif %}{%- endfor %}
{%- else %}{{- "Any" }}{%- endif %}
{%- endmacro %}
{%- macro schema(s, depth=0) -%}
{%- for name, spec in s|dictsort %}
{{ "  " * depth }}{{ name }}: {{ spec.type if spec.type is string else spec.type|join("|") }}{% if spec.enum %} of {{ spec.enum|map("upper")|join(", ") }}{% endif %}
{%- if spec.properties %}{{ schema(spec.properties, depth + 1) }}{% endif %}
{%- endfor -%}
{%- endmacro -%}
{%- for tool in tools or [] %}
{{ tool.function.name }}({% for name, spec in tool.function.parameters.properties.items() %}{{ name }}: {{ type_of(spec) }}{{ ", " if not loop.last }}{% endfor %}){{ schema(tool.function.parameters.properties, depth=1) }}
{% endfor %}
{%- for m in messages %}
{%- if loop.previtem is defined and loop.previtem.role == m.role %}{{- "&" -}}{% endif %}
{{ loop.index }}/{{ loop.length }} {{ m.role|capitalize }}: {% if m.content is string %}{{ m.content|trim|replace("\\n", " ") }}{% elif m.content is not none and m.content is defined %}
{%- for part in m.content %}{% if part.type == "text" %}{{ part.text }}{% else %}<{{ part['type'] }}>{% endif %}{% endfor %}{% endif %}
{% endfor %}
"""

# Small templates: one corner each.
SMALL = """
a\\n  {% if true %}\\n  b\\n  {% endif %}\\n c
a\\n  {%+ if true %}\\n  b\\n  {% endif +%}\\n c
a  {%- if true -%}  b  {%- endif -%}  c
x {# comment #}\\n y {#- c -#} z\\n  {# alone #}\\n!
{{ 1 }}\\n{{ 2 }}\\n
{% raw %}{{ a }} {% b %}{% endraw %} {%- raw -%} c {%- endraw %}
  {% set x = 1 %}\\n  {{ x }}
{% for i in range(3) %}{{ i }}{% if not loop.last %},{% endif %}{% endfor %}
{% for i in range(10) if i is odd %}{{ loop.index }}:{{ i }} {% else %}none{% endfor %}
{% for i in [] %}{% else %}empty{% endfor %}
{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 4 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for a, b in [(1, 2), (3, 4)] %}{{ a + b }} {% endfor %}
{% for k, v in {'a': 1, 'b': [2]}.items() %}{{ k }}={{ v }};{% endfor %}
{% for x in [[1,[2]],[3]] recursive %}{{ x if x is number else '(' ~ loop(x) ~ ')' }}{% endfor %}
{% for i in [1,2,3] %}{{ loop.cycle('a','b') }}{{ loop.revindex }}{{ loop.first }}{{ loop.previtem }}{{ loop.nextitem }} {% endfor %}
{% set x = 1 %}{% for i in [1,2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}
{% set n = namespace(x=1, y='b') %}{% for i in [1,2] %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}{{ n.y }}
{% set a, b = 1, 'z' %}{{ a }}{{ b }}
{% set t %}in {{ 1 + 1 }} block{% endset %}[{{ t }}]{% set u | upper | trim %}  up {% endset %}[{{ u }}]
{% macro f(a, b='d', c=none) %}<{{ a }}{{ b }}{{ c }}{{ varargs }}{{ kwargs }}>{% endmacro %}{{ f(1) }}{{ f(1, 2, 3) }}{{ f(b=5, a=4) }}{{ f() }}
{% macro f(x) %}{{ x }}{{ caller(3) }}{% endmacro %}{% call(y) f(2) %}[{{ y }}]{% endcall %}
{% filter upper | replace('B', 'x') %}abc{{ 'b' }}{% endfilter %}
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}
{% generation %}x{{ 1 }}{% endgeneration %}
{{ 1 if false }}|{{ 1 if false else 2 }}|{{ 'a' if 1 else 'b' if 1 else 'c' }}
{{ not 1 == 2 }} {{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 in [1] }} {{ 'a' not in 'bcd' }} {{ 'k' in {'k': 1} }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2 ** 3 ** 2 }} {{ 7 / 2 }} {{ 4 / 2 }} {{ -2 ** 2 }} {{ 1e3 }} {{ 1.0 }} {{ 0.1 + 0.2 }} {{ 1e16 }} {{ 1.5e-7 }}
{{ 1 ~ 'a' ~ none ~ true ~ [1, 'b'] ~ {'c': 1.5} ~ (1,) ~ undefined_name }}
{{ 'it''s' }} {{ "a\\\\tb\\\\n" }} {{ '\\\\u00e9\\\\x41' }} {{ 'a' 'b' }} {{ "q\\\\"q" }}
{{ ['it\\'s', "q\\"", 'both\\'"', 'é', '\\\\n'] }}
{{ 'abc'[1] }}{{ 'abc'[-1] }}{{ 'abcdef'[1:4] }}{{ 'abcdef'[::-1] }}{{ 'abcdef'[-2:] }}{{ 'abcdef'[::2] }}{{ 'äöü'[1] }}{{ [1,2,3][:-1] }}{{ [1,2,3][5:] }}{{ 'abc'[9] }}
{{ {'a': {'b': 1}}.a.b }}{{ {'a': 1}['a'] }}{{ {'a': 1}.b }}{{ {'items': 5}['items'] }}
{{ none.x }}|{{ 'a'.x }}|{{ [1].x }}|{{ 5['x'] }}
{{ missing.attribute }}
{{ missing + 1 }}
{{ missing() }}
{{ missing }}{{ missing is defined }}{{ missing is none }}{{ missing|default('d') }}{{ ''|default('e', true) }}{{ none|d('f') }}{{ missing or 'g' }}
{{ missing|length }}{{ missing|join }}{{ missing|list }}{% for x in missing %}x{% endfor %}
{{ ' a b '|trim }}|{{ 'xxaxx'|trim('x') }}|{{ 'abc'|upper }}|{{ 'ABC É'|lower }}|{{ 'hello wORLD'|title }}|{{ 'hELLO'|capitalize }}
{{ [3,1,2]|sort }}{{ ['b','A','c']|sort }}{{ ['b','A','c']|sort(case_sensitive=true) }}{{ [3,1,2]|sort(reverse=true) }}{{ [{'a':2},{'a':1}]|sort(attribute='a') }}
{{ [1,2,3]|sum }}{{ [{'a':2},{'a':1.5}]|sum(attribute='a') }}{{ [1,5,2]|max }}{{ ['b','a']|min }}{{ [1,2,2,1]|unique|list }}{{ [1,2]|reverse|list }}{{ 'abc'|reverse }}
{{ [1,2,3,4]|select('odd')|list }}{{ [1,2,3]|reject('eq', 2)|list }}{{ [{'r':'u'},{'r':'s'}]|selectattr('r','equalto','u')|list }}{{ [{'r':'u'},{}]|rejectattr('r','defined')|list }}{{ [0,1,'']|select|list }}
{{ ['a','b']|map('upper')|join('-') }}{{ [{'a':1},{'a':2}]|map(attribute='a')|list }}{{ [{'a':1},{}]|map(attribute='a', default=0)|list }}{{ ['a b','c']|map('replace',' ','_')|list }}
{{ {'b':1,'a':2}|dictsort }}{{ {'b':1,'a':2}|dictsort(false,'value') }}{{ {'a':1}|items|list }}{{ {'a':1}|list }}{{ 'ab'|list }}
{{ 'a\\nb\\n\\nc'|indent }}|{{ 'a\\nb'|indent(2, true) }}|{{ 'a\\n\\nb'|indent('>', blank=true) }}
{{ 3.7|int }}{{ '42'|int }}{{ 'x'|int }}{{ 'x'|int(5) }}{{ ' 7 '|int }}{{ 'ff'|int(0, 16) }}{{ '1.5'|float }}{{ 2|float }}{{ 2.5|round }}{{ 3.14159|round(2) }}{{ 2.3|round(0, 'ceil') }}{{ -3|abs }}
{{ '%s is %d and %.2f %5s|%-5s|%05d%%'|format('x', 3, 2.5, 'r', 'l', 42) }}{{ '%s' % 'a' }}{{ '%s-%s' % (1, 2) }}
{{ 'a,b,c'.split(',') }}{{ 'a b  c'.split() }}{{ 'a,b,c'.split(',', 1) }}{{ 'a,b,c'.rsplit(',', 1) }}{{ 'x'.split(',') }}{{ ' a b c '.split(None, 1) }}
{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith(('x','c')) }}{{ ' x '.strip() }}{{ 'xxa'.lstrip('x') }}{{ 'axx'.rstrip('x') }}{{ 'abcabc'.replace('b','X',1) }}{{ 'abc'.find('c') }}{{ 'abcb'.count('b') }}{{ 'abc'.upper() }}{{ 'aBc'.title() }}{{ '-'.join(['a','b']) }}
{{ 'a{}b{}'.format(1, 'x') }}{{ '{1}{0}{n}'.format('a','b',n=3) }}{{ 'abc'.partition('b') }}{{ '7'.zfill(3) }}{{ 'ab'.center(5) }}|{{ 'ab'.ljust(4) }}|{{ 'ab'.rjust(4) }}{{ 'prefix-x'.removeprefix('prefix-') }}{{ 'a\\nb'.splitlines() }}
{{ 'ab1'.isalnum() }}{{ '12'.isdigit() }}{{ 'ab'.isalpha() }}{{ ' '.isspace() }}{{ 'AB'.isupper() }}{{ 'ab'.islower() }}{{ ''.isdigit() }}
{{ {'a':1}.get('a') }}{{ {'a':1}.get('b') }}{{ {'a':1}.get('b', 2) }}{{ {'a':1,'b':2}.keys()|list }}{{ {'a':1}.values()|list }}{{ dict(a=1, b=2) }}{{ dict([('a', 1)]) }}{{ [1,2,1].count(1) }}{{ [1,2].index(2) }}
{{ {'a':[1,2.0,none,true,'é<>&"\\\\n']}|tojson }}{{ {'b':1,'a':2}|tojson(sort_keys=true) }}{{ {'a':[1,{'b':[]}],'c':{}}|tojson(indent=2) }}{{ 'é😀'|tojson(ensure_ascii=true) }}{{ [1,2]|tojson(separators=(',',':')) }}
{{ 1 is number }}{{ 'a' is string }}{{ [] is iterable }}{{ {} is mapping }}{{ [] is sequence }}{{ none is none }}{{ true is boolean }}{{ 1.5 is float }}{{ 1 is integer }}{{ true is integer }}{{ 2 is even }}{{ 3 is divisibleby 3 }}{{ 3 is divisibleby(2) }}{{ 1 is not none }}{{ 'a' is in 'abc' }}{{ 1 is sameas true }}{{ range is callable }}{{ 'ab' is lower }}
{{ [1,2] + [3] }}{{ 'ab' * 2 }}{{ [0] * 3 }}{{ (1,2) + (3,) }}{{ 'a' + 1 }}
{{ 1 / 0 }}
{{ [1,2][0] }}{{ [[1]][0][0] }}{{ [1].0 }}{{ {'a':[5]}.a.0 }}
{{ range(3)|list }}{{ range(1, 7, 3)|list }}{{ range(3, 0, -1)|list }}
{{ raise_exception('stop: ' ~ 1) }}
{{ messages.append(1) }}
{% set messages[0] = 1 %}
{{ ''.__class__ }}
{{ messages.__class__ }}
{{ messages|attr('__class__') }}
{% set n = namespace(__class__=1) %}
{% include 'x' %}
{% for x in 5 %}{% endfor %}
{{ 'a' < 1 }}
{% if %}x{% endif %}
{% if true %}x
{{ 'unclosed }}
{{ (1 }}
{{ 1 | nosuchfilter }}
{{ 1 is nosuchtest }}
{% break %}
{{ 1 +* 2 }}
{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}
{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}
{% macro a() %}{% set z = 1 %}{{ z }}{% endmacro %}{{ a() }}{{ z }}
{{ loop }}{{ true }}{{ False }}{{ None }}{{ [True, None] }}
{{- '  a' -}}   {{- 'b  ' -}}  \\n c
{{ "}}" }}{{ "%}" }}{{ {'a': {'b': 1}}}}
{{ messages|length }}{{ messages[0].role }}{{ messages[-1]['content'] }}{{ messages[1:]|length }}{{ messages|map(attribute='role')|join(',') }}
{{ messages == messages }}{{ messages[0] in messages }}{{ messages[0] is mapping }}{{ messages[0].content|length }}
{{ bos_token }}{{ eos_token }}{{ unk_token is defined }}{{ tools is none }}{{ add_generation_prompt }}
{{ 'ß'|upper }}{{ 'ÄÖ'|lower }}{{ 'straße é'|title }}{{ 'Σας'|lower }}
{{ 1_000 + 1 }}{{ 'a' if messages else 'b' }}{{ [] or {} or 0 or none }}{{ 1 and 2 }}{{ '' and 2 }}|{{ not none }}
{{ -1|abs }}{{ (-1)|abs }}{{ 2 - 1|abs }}{{ 'a' ~ 1 + 2 }}{{ 1 + 2 ~ 'a' }}{{ 'x' in 'xy' and true }}
{{ 'abc'|first }}{{ [1,2]|last }}{{ []|first }}|{{ 'a b c'|wordcount }}{{ '<a&"'|e }}{{ 'x'|string|safe }}
""".strip().split("\n")

TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Tells the weather <now>.", "parameters": {
    "type": "object", "required": ["city"], "properties": {
        "city": {"type": "string", "description": "The city's name"}, "unit": {"type": "string", "enum": ["c", "f"]},
        "days": {"type": ["integer", "null"], "default": 3}, "where": {"type": "object", "properties": {"lat": {"type": "number"}}}}}}}
USER = {"role": "user", "content": "Grüß dich, how's the weather?"}
ANSWER = {"role": "assistant", "content": "<think>\nlet me see\n</think>\n\nFine. "}
SYSTEM = {"role": "system", "content": "  You are helpful.\n"}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"id": "call12345", "type": "function", "function": {
    "name": "get_weather", "arguments": {"city": "Köln", "days": 3, "x": 1.5, "b": True, "z": None}}}]}
CALLS = {"role": "assistant", "content": None, "tool_calls": [
    {"id": "call12345", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Bonn\"}"}},
    {"id": "2", "type": "function", "function": {"name": "get_weather", "arguments": {}}}]}
RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "call12345", "content": "21 C"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "image"}, {"type": "text", "text": "two"}]}
REASONED = {"role": "assistant", "content": "ok", "reasoning_content": "hmm\n"}
CONVERSATIONS = [[USER], [SYSTEM, USER], [USER, ANSWER, USER], [SYSTEM, USER, ANSWER, USER, ANSWER], [SYSTEM, USER, CALL, RESULT, ANSWER, USER],
                 [USER, CALLS, RESULT, RESULT, REASONED], [PARTS], [SYSTEM, PARTS, ANSWER, USER], [USER, REASONED, USER], [ANSWER], [RESULT], [USER, USER],
                 [{"role": "user"}]]
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def renderer():
    package = types.ModuleType("tenon")
    package.__path__ = [str(ROOT)]
    sys.modules.update({"tenon": package, "tenon.hub": types.ModuleType("tenon.hub")})
    spec = importlib.util.spec_from_file_location("tenon.chat_template", ROOT / "chat_template.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["tenon.chat_template"] = module
    spec.loader.exec_module(module)
    return module.render


def main():
    render = renderer()
    cases = [{"template": source.replace("\\n", "\n").replace("\\\\", "\\"), "messages": [SYSTEM, USER]} for source in SMALL]
    for template in (CHATML, HEADERS, INST, MACROS):
        for messages in CONVERSATIONS:
            cases.append({"template": template, "messages": messages})
            cases.append({"template": template, "messages": messages, "tools": [TOOL, TOOL], "add_generation_prompt": True,
                          "variables": {"enable_thinking": False}})
    for case in cases:
        options = {"tools": case.get("tools"), "add_generation_prompt": case.get("add_generation_prompt", False)}
        try:
            case["text"] = render([case["messages"]], case["template"], **options, **SPECIAL, **case.get("variables", {}))[0][0]
        except Exception:  # noqa: BLE001  whatever Jinja raises
            case["text"] = None
    sources = sorted({case["template"] for case in cases}, key=[case["template"] for case in cases].index)
    for case in cases:
        case["template"] = sources.index(case["template"])
    json.dump({"special": SPECIAL, "templates": sources, "cases": cases}, sys.stdout, ensure_ascii=False, indent=0)
    print()


if __name__ == "__main__":
    main()
