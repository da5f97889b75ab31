{{/* Writes TOML. Helm's own toToml makes floats of whole numbers, which the services refuse. */}}

{{- define "toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{ . }}{{- else -}}{{ toRawJson . }}{{- end -}}
{{- end }}

{{/* A value on one line. JSON's strings, numbers and booleans are TOML's. */}}
{{- define "toml.value" -}}
{{- if kindIs "map" . -}}
{{- $parts := list -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}{{- $parts = append $parts (printf "%s = %s" (include "toml.key" $key) (include "toml.value" $value)) -}}{{- end -}}
{{- end -}}
{ {{ join ", " $parts }} }
{{- else if kindIs "slice" . -}}
{{- $parts := list -}}
{{- range . -}}{{- $parts = append $parts (include "toml.value" .) -}}{{- end -}}
[{{ join ", " $parts }}]
{{- else -}}
{{ toRawJson . }}
{{- end -}}
{{- end }}

{{/* A table and the tables in it: (dict "path" "a.b" "table" {…}). */}}
{{- define "toml.table" -}}
{{- $path := .path -}}
{{- range $key, $value := .table -}}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ include "toml.key" $key }} = {{ include "toml.value" $value }}
{{- end -}}
{{- end -}}
{{- range $key, $value := .table -}}
{{- if kindIs "map" $value }}
{{- $at := ternary (include "toml.key" $key) (printf "%s.%s" $path (include "toml.key" $key)) (eq $path "") }}

[{{ $at }}]
{{- include "toml.table" (dict "path" $at "table" $value) }}
{{- end -}}
{{- end -}}
{{- end }}
