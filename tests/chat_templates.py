"""Chat templates in the forms of well-known families, and such as mean no good. Written for these tests."""

from __future__ import annotations

# ChatML with a system message of its own where there is none, as SmolLM2's.
SMOLLM2 = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou assist.<|im_end|>\n{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# The assistant is the model, the system message stands in the first question.
GEMMA = """\
{{ bos_token }}
{%- set ns = namespace(before='') %}
{%- if messages[0].role == 'system' %}
    {%- set ns.before = messages[0].content + '\\n\\n' %}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == 'user') != (loop.index0 is even) %}
        {{- raise_exception('roles must take turns') }}
    {%- endif %}
    {{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' }}
    {{- (ns.before if loop.first else '') + (message.content | trim) + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""
# Refuses a system message.
GEMMA_2 = GEMMA.replace("{%- set ns.before", "{{- raise_exception('System role not supported') }}{%- set ns.before")
LLAMA_3 = """\
{{- bos_token }}
{%- set date = strftime_now('%d %b %Y') if strftime_now is defined else '26 Jul 2024' %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = '' %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' + date + '\\n\\n' + system + '<|eot_id|>' }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""
# The system message stands in the last question; sides must take turns; a loop that is broken off.
MISTRAL = """\
{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set loop_messages = messages[1:] %}
{%- else %}{% set loop_messages = messages %}{% endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('After the optional system message, roles must alternate user/assistant') }}
    {%- endif %}
    {%- if message.role == 'user' %}
        {{- '[INST] ' }}{% if loop.last and system is defined %}{{ system + '\\n\\n' }}{% endif %}
        {{- message.content + '[/INST]' }}
    {%- elif message.role == 'assistant' %}
        {{- ' ' + message.content | trim + eos_token }}
    {%- else %}{% break %}{% endif %}
{%- endfor %}"""
# Looks for thoughts in what was answered, and for what the user asked last.
QWEN_3 = """\
{%- if messages[0].role == 'system' %}{{ '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{% endif %}
{%- set ns = namespace(last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- if message.role == 'user' and not message.content.startswith('<tool_response>') %}
        {%- set ns.last = messages|length - 1 - loop.index0 %}{% break %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{% set content = message.content %}{% else %}{% set content = '' %}{% endif %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- if '</think>' in content %}{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}
        {{- '<|im_start|>assistant\\n' + content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""
# Begins every answer with thoughts.
REASONER = SMOLLM2.replace("{{ '<|im_start|>assistant\n' }}", "{{ '<|im_start|>assistant\n<think>\n' }}")

FAMILIES = {
    "smollm2": SMOLLM2,
    "gemma": GEMMA,
    "gemma-2": GEMMA_2,
    "llama-3": LLAMA_3,
    "mistral": MISTRAL,
    "qwen-3": QWEN_3,
    "reasoner": REASONER,
}

# What may be done in the sandbox, but ends in no form.
REFUSED = {
    "forgets the question": "{{ messages[0].content if messages | length > 9 }}",
    "says it twice": "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
    "turns them round": "{% for m in messages | reverse %}{{ m.content }}{% endfor %}",
    "changes it": "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
    "is no template": "{% for m in messages %}",
    "wants what is not there": "{{ tools[0].name }}",
    "recurs": "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    "writes much": "{% for i in range(99999) %}aaaaaaaaaaaaaaaa{% endfor %}",
    "counts far": "{% for i in range(10 ** 9) %}{% endfor %}",
    "reaches for attributes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "reaches by a filter": "{{ (messages | map(attribute='__class__') | list)[0].__bases__ }}",
    "reaches by format": "{{ '{0.__class__}'.format(messages) }}",
    "reaches for globals": "{{ raise_exception.__globals__['secrets'] }}{{ cycler.__init__.__globals__ }}",
    "writes into the messages": "{{ messages.append(1) }}",
    "imports": "{% include '/etc/passwd' %}",
}
# What only the end of its process stops.
ENDLESS = {
    "loops": "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}"
    "{% endfor %}",
    "fills the memory": "{{ 'a' * 10 ** 12 }}",
    "counts up": "{{ 9 ** (9 ** 9) }}",
}
