"""Templates that speak in channels: in Ollama's form, in the manner of its library's, and in Jinja."""

GO = """<|start|>system<|message|>Date: {{ currentDate }}
{{- if and .IsThinkSet .Think (ne .ThinkLevel "") }}
Reasoning: {{ .ThinkLevel }}
{{- else if or (not .IsThinkSet) (and .IsThinkSet .Think) }}
Reasoning: medium
{{- end }}
{{- $tools := false }}
{{- range .Tools }}{{ if not (eq .Function.Name "python") }}{{ $tools = true -}}{{ end }}{{ end -}}
<|end|>{{/* of what the system says */ -}}
{{- if or $tools .System -}}
<|start|>developer<|message|>{{- if $tools }}namespace functions {
{{- range .Tools }}
{{- if and .Function.Parameters.Properties (gt (len .Function.Parameters.Properties) 0) }}
type {{ .Function.Name }} = (_: { {{- range $name, $shape := .Function.Parameters.Properties }}
  {{ $name }}: {{ $shape | toTypeScriptType }},{{ end }}
}) => any;
{{- else }}
type {{ .Function.Name }} = () => any;
{{- end }}{{ end }}
}{{ end }}{{ .System }}<|end|>
{{- end -}}
{{- /* thoughts are told from the last question on */ -}}
{{- $asked := -1 }}{{ $begun := false }}
{{- range $i, $turn := .Messages }}
  {{- if eq $turn.Role "user" }}{{ $asked = $i }}{{ end -}}
  {{- if and (eq (len (slice $.Messages $i)) 1) (eq $turn.Role "assistant") (gt (len $turn.Content) 0) }}
  {{- $begun = true }}{{ end }}
{{- end -}}
{{- range $i, $turn := .Messages }}
  {{- if eq $turn.Role "tool" -}}
    <|start|>functions.{{ $turn.ToolName }} to=assistant<|message|>{{ $turn.Content }}<|end|>
  {{- else if eq $turn.Role "user" -}}
    <|start|>user<|message|>{{ $turn.Content }}<|end|>
  {{- else if eq $turn.Role "assistant" -}}
    {{- if and $turn.Thinking (gt $i $asked) -}}
    <|start|>assistant<|channel|>analysis<|message|>{{ $turn.Thinking }}<|end|>
    {{- end -}}
    {{- if gt (len $turn.Content) 0 -}}
    <|start|>assistant<|channel|>final<|message|>{{ $turn.Content }}{{ if not $begun }}<|end|>{{ end -}}
    {{- end -}}
    {{- range $turn.ToolCalls -}}
    <|start|>assistant<|channel|>commentary to=functions.{{ .Function.Name }} <|constrain|>json<|message|>
    {{- .Function.Arguments }}<|call|>
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if not $begun -}}
<|start|>assistant
{{- end -}}"""
JINJA = """
{{- "<|start|>system<|message|>Date: " + strftime_now("%Y-%m-%d") }}
{%- if reasoning_effort is not defined %}{% set reasoning_effort = "medium" %}{% endif %}
{{- "\\nReasoning: " + reasoning_effort + "<|end|>" }}
{%- if tools or messages[0].role == "system" %}
{{- "<|start|>developer<|message|>" }}
{%- for tool in tools or () %}{{ tool.function | tojson }}{% endfor %}
{%- if messages[0].role == "system" %}{{ messages[0].content }}{% endif %}
{{- "<|end|>" }}
{%- endif %}
{%- set last = namespace(name=none) %}
{%- for turn in messages if turn.role != "system" %}
{%- if turn.role == "tool" %}
{{- "<|start|>functions." + last.name + " to=assistant<|channel|>commentary<|message|>" + turn.content + "<|end|>" }}
{%- elif turn.role == "user" %}
{{- "<|start|>user<|message|>" + turn.content + "<|end|>" }}
{%- elif "tool_calls" in turn %}
{%- if turn.content and turn.thinking %}{{ raise_exception("content or thinking, not both") }}{% endif %}
{%- if turn.thinking %}{{ "<|start|>assistant<|channel|>analysis<|message|>" + turn.thinking + "<|end|>" }}{% endif %}
{%- set call = turn.tool_calls[0].function %}{% set last.name = call.name %}
{{- "<|start|>assistant to=functions." + call.name + "<|channel|>commentary json<|message|>" }}
{{- call.arguments | tojson + "<|call|>" }}
{%- else %}
{{- "<|start|>assistant<|channel|>final<|message|>" + turn.content }}
{{- "<|return|>" if loop.last and not add_generation_prompt else "<|end|>" }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ "<|start|>assistant" }}{% endif %}"""
